"""What an op is: a formula, its axes, its source and the kernel that computes it fast.

An elementary `Op` declares one formula per output. A `Composite` has a fused kernel and the same
computation as sub-steps, each an op of its own; it is the only kind of thing in Glassformer that is
written twice, and each has a parity test.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar, runtime_checkable

from torch import Tensor

from glassformer.ops.formula import Formula


@runtime_checkable  # so that the tests can check annotations
class Tape(Protocol):
    """What the model writes on: `t(name, op, *operands, **params)` computes one named value."""

    def __call__(self, name: Any, op: Any, /, *operands: Any, **params: Any) -> Any: ...

    def at(self, scope: str, /) -> Tape: ...


@dataclass(frozen=True, eq=False)
class Op:
    """One named operation.

    `outputs`: a formula per output; one output's formula may read another output (a dropout mask).
    `operands`: names of the kernel's tensor arguments, as the formulas use them. `bind` turns the
    kernel's arguments into those operands where they differ (fused queries, keys and values).
    """

    name: str
    says: str
    outputs: tuple[Formula, ...]
    operands: tuple[str, ...]
    kernel: Callable[..., Any]
    source: str = ""
    bind: Callable[..., tuple[Tensor | None, ...]] | None = None


@dataclass(frozen=True, eq=False)
class Composite:
    """A fused kernel, and `steps(t, name, *operands, **params)`, which records what is inside."""

    name: str
    says: str
    kernel: Callable[..., Any]
    steps: Callable[..., Any]
    source: str = ""


REGISTRY: dict[str, Op | Composite] = {}
Declared = TypeVar("Declared", Op, Composite)


def op(
    name: str,
    formula: str | tuple[str, ...],
    operands: str,
    kernel: Callable[..., Any],
    says: str,
    source: str = "",
    bind: Callable[..., tuple[Tensor | None, ...]] | None = None,
) -> Op:
    """Declare an elementary op; `operands` are names separated by spaces."""
    texts = (formula,) if isinstance(formula, str) else formula
    outputs = tuple(Formula.parse(text) for text in texts)
    return _register(Op(name, says, outputs, tuple(operands.split()), kernel, source, bind))


def composite(
    name: str, kernel: Callable[..., Any], steps: Callable[..., Any], says: str, source: str = ""
) -> Composite:
    """Declare a composite op."""
    return _register(Composite(name, says, kernel, steps, source))


def _register(declared: Declared) -> Declared:
    if declared.name in REGISTRY:
        raise ValueError(f"op {declared.name!r} is declared twice")
    REGISTRY[declared.name] = declared
    return declared
