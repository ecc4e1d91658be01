"""What an op is: a formula, its axes, its role, its source and the kernel that computes it fast.

An elementary `Op` has one formula per output. Most are a `Template` over some axes: the matrices of
a model are all one linear op, its softmaxes and norms the same few steps. A `Composite` has a fused
kernel and the same computation as sub-steps, each an op of its own; it is the only kind of thing in
Glassformer that is written twice, and each has a parity test.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Container, Mapping
from dataclasses import dataclass
from typing import (
    Any,
    Concatenate,
    Generic,
    Literal,
    ParamSpec,
    Protocol,
    TypeVar,
    get_args,
    runtime_checkable,
)

from torch import Tensor

from glassformer.formula.template import NO_NUMBERS, Axes, expand, groups_of
from glassformer.formula.tree import Formula

Role = Literal[
    "value",  # a number that has no other role
    "stream",  # what the residual stream holds
    "score",  # how well something fits, of any size and sign
    "masked_score",  # a score, minus infinity where nothing may be looked at
    "probability",  # between 0 and 1
    "token",  # the id of a token
    "normalized",  # a vector brought to a standard length
    "copy",  # the same numbers under another name
    "intermediate",  # on the way between two values that are worth a look
    "change",  # by how much a weight moved
]
"""What an output is to a reader; viewers choose scales, pictures and order by it."""

ROLES: tuple[Role, ...] = get_args(Role)

Bind = Callable[..., tuple[Tensor | None, ...]]

P = ParamSpec("P")
"""The operands and parameters of a kernel, and so of every line that calls its op."""

R = TypeVar("R", bound=Tensor | tuple[Tensor, ...])
"""What a kernel gives: one value, or one for each of the op's names."""

Q = ParamSpec("Q")
S = TypeVar("S", bound=Tensor | tuple[Tensor, ...])

_CLAUSE = re.compile(r"\{(\w+):([^{}]*)\}")

Name = str | tuple[str, ...]
"""What a line's value is called; an op with several outputs has as many names."""


@runtime_checkable  # so that the tests can check annotations
class Tape(Protocol):
    """What the model writes on: `t(name, op, *operands, **params)` computes one named value.

    A line is typed by its op's kernel: a wrong operand, or one that is missing, is an error of the
    type checker.
    """

    def __call__(
        self,
        name: Name,
        op: Op[P, R] | Composite[P, R],
        /,
        *operands: P.args,
        **params: P.kwargs,
    ) -> R: ...

    def at(self, scope: str, /) -> Tape: ...

    def along(self, axes: Mapping[str, str], /) -> Tape:
        """The same tape, on which these axes of formulas and values have other names."""
        ...


@dataclass(frozen=True, eq=False)
class Op(Generic[P, R]):
    """One named operation.

    `outputs`: a formula per output; one output's formula may read another output (a dropout mask).
    `operands`: names of the kernel's tensor arguments, as the formulas use them. `bind` turns the
    kernel's arguments into those operands where they differ (fused queries, keys and values).
    `declaration`: the name under which its formula was declared: a template's, or its own.
    `summary`: a sentence; `{b: and adds its bias}` stands in it where there is an operand `b`.
    """

    name: str
    summary: str
    outputs: tuple[Formula, ...]
    operands: tuple[str, ...]
    kernel: Callable[P, R]
    source: str = ""
    bind: Bind | None = None
    role: Role = "value"
    declaration: str = ""

    def __post_init__(self) -> None:
        for operand, _ in _CLAUSE.findall(self.summary):
            if operand not in self.operands:
                raise ValueError(f"{self.name}: its summary speaks of {operand!r}, no operand")

    def __reduce__(self) -> tuple[Callable[[str], AnyOp], tuple[str]]:
        return by_name, (self.name,)  # an op is declared once, and copies of a model share it

    def said(self, arguments: Container[str] | None = None) -> str:
        """One plain sentence about what it does with the operands given; with all of them: None."""
        present = self.operands if arguments is None else arguments
        return _CLAUSE.sub(lambda clause: clause[2] if clause[1] in present else "", self.summary)


AS_DECLARED: Mapping[str, str] = {}


@dataclass(frozen=True, eq=False)
class Template(Generic[P, R]):
    """An op over any axes: ``y[*B, *O] = sum(*I, x[*B, *I] * W[*I, *O]) + b[*O]``.

    ``*B`` stands for any number of axes, a bare capital letter for one axis: `formula.template`.
    """

    name: str
    formula: str
    operands: tuple[str, ...]
    kernel: Callable[P, R]
    summary: str
    source: str
    role: Role
    bind: Bind | None = None

    def using(self, kernel: Callable[Q, S], bind: Bind | None = None) -> Template[Q, S]:
        """The same formula with another kernel, and what turns its arguments into operands."""
        return Template(
            self.name,
            self.formula,
            self.operands,
            kernel,
            self.summary,
            self.source,
            self.role,
            bind,
        )

    def over(
        self,
        name: str,
        output: str | tuple[str, ...],
        axes: Mapping[str, str] | tuple[Mapping[str, str], ...],
        operands: Mapping[str, str] | tuple[Mapping[str, str], ...] = AS_DECLARED,
        *,
        numbers: Mapping[str, str] = NO_NUMBERS,
        without: str = "",
        summary: str = "",
        source: str = "",
        role: Role | None = None,
    ) -> Op[P, R]:
        """The op `name` over `axes`: a group's name to its axes, separated by spaces.

        `output` names the result; `operands` gives the template's operands other names, and where
        their axes stand in another order, that order: ``{"W": "W_Q[head, d_model, d_head]"}``; what
        an index is read from, ``{"W": "W[ids[pos], d_model]"}``, is a further operand. An op with
        several outputs has a tuple of both, and of axes where they differ. What is not given is the
        template's.

        `numbers`: operands of the template that are no operand here but a number made of axes and
        parameters, ``{"row": "sqrt(d_head)"}``. `without`: its operands, separated by spaces, that
        fall away with their terms and factors.
        """
        names = (output,) if isinstance(output, str) else output
        renamed = (operands,) if isinstance(operands, Mapping) else operands
        absent = frozenset(without.split())
        along = (axes,) * len(names) if isinstance(axes, Mapping) else axes
        outputs = tuple(
            expand(self.formula, named, self._groups(name, named_axes), other, numbers).without(
                absent
            )
            for named, named_axes, other in zip(names, along, renamed, strict=True)
        )
        kept = [o for o in self.operands if o not in absent and o not in numbers]
        read = [other.get(o, o).partition("[")[0] for o in kept for other in renamed]
        read += [operand for formula in outputs for operand in formula.operands]
        return _register(
            Op(
                name,
                summary or self.summary,
                outputs,
                tuple(dict.fromkeys(read)),
                self.kernel,
                source or self.source,
                self.bind,
                role or self.role,
                self.name,
            )
        )

    def _groups(self, name: str, axes: Mapping[str, str]) -> Axes:
        if axes.keys() != groups_of(self.formula):
            raise ValueError(f"{name}: {self.formula} is over {sorted(groups_of(self.formula))}")
        return {group: tuple(text.split()) for group, text in axes.items()}


@dataclass(frozen=True, eq=False)
class Composite(Generic[P, R]):
    """A fused kernel, and `steps(t, name, *operands, **params)`, which records what is inside."""

    name: str
    summary: str
    kernel: Callable[P, R]
    steps: Callable[Concatenate[Tape, str, P], R]
    source: str = ""

    def __reduce__(self) -> tuple[Callable[[str], AnyOp], tuple[str]]:
        return by_name, (self.name,)

    def said(self, arguments: Container[str] | None = None) -> str:  # noqa: ARG002 (as an op's)
        """One plain sentence about what it does."""
        return self.summary


AnyOp = Op[..., Any] | Composite[..., Any]

REGISTRY: dict[str, AnyOp] = {}
TEMPLATES: dict[str, Template[..., Any]] = {}
Declared = TypeVar("Declared", bound=AnyOp)


def by_name(name: str) -> AnyOp:
    """The op that was declared under a name."""
    return REGISTRY[name]


def op(
    name: str,
    formula: str | tuple[str, ...],
    operands: str,
    kernel: Callable[P, R],
    summary: str,
    source: str = "",
    bind: Bind | None = None,
    role: Role = "value",
) -> Op[P, R]:
    """Declare an elementary op that has one use; `operands` are names separated by spaces."""
    texts = (formula,) if isinstance(formula, str) else formula
    outputs = tuple(Formula.parse(text) for text in texts)
    return _register(
        Op(name, summary, outputs, tuple(operands.split()), kernel, source, bind, role, name)
    )


def template(
    name: str,
    formula: str,
    operands: str,
    kernel: Callable[P, R],
    summary: str = "",
    source: str = "",
    role: Role = "value",
) -> Template[P, R]:
    """Declare an elementary op over any axes; `Template.over` makes ops of it."""
    if name in TEMPLATES:
        raise ValueError(f"template {name!r} is declared twice")
    declared = Template(name, formula, tuple(operands.split()), kernel, summary, source, role)
    TEMPLATES[name] = declared
    return declared


def composite(
    name: str,
    kernel: Callable[P, R],
    steps: Callable[Concatenate[Tape, str, P], R],
    summary: str,
    source: str = "",
) -> Composite[P, R]:
    """Declare a composite op."""
    return _register(Composite(name, summary, kernel, steps, source))


def _register(declared: Declared) -> Declared:
    if declared.name in REGISTRY:
        raise ValueError(f"op {declared.name!r} is declared twice")
    REGISTRY[declared.name] = declared
    return declared
