"""One number explained: formula, numbers put in, operands as addresses, recomputed in float64."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, cast, overload

import numpy as np

from glassformer.describe import counted
from glassformer.errors import GlassformerError
from glassformer.formula.arithmetic import Line, Put, line, put_in
from glassformer.formula.evaluate import Evaluation, evaluate
from glassformer.formula.latex import to_latex
from glassformer.formula.nodes import Drawn
from glassformer.formula.spelling import number
from glassformer.formula.terms import Terms, terms
from glassformer.formula.tree import Formula
from glassformer.ops.op import REGISTRY
from glassformer.rendering import html
from glassformer.trace.address import Address
from glassformer.trace.difference import FiniteDifference, finite_difference
from glassformer.trace.graph import Graph
from glassformer.trace.node import GRADIENT, Node

TARGETS = "token/targets"

WITHOUT_DECLARATION = {
    GRADIENT: "How fast the loss grows with this number: the sum, over every value made"
    " from it, of that value's gradient times the local derivative.",
    "gradient_norm": "The length of the whole gradient: the root of all its squares, summed.",
}
"""One sentence about each op whose formulas are made for each trace."""


def op_summary(node: Node) -> str:
    """One plain sentence about how a value was computed, by an op that is declared or not."""
    if node.op is None:
        return ""
    return WITHOUT_DECLARATION.get(node.op) or REGISTRY[node.op].said(node.operands)


def op_source(op: str | None) -> str:
    """Paper and equation, where the op has one."""
    return REGISTRY[op].source if op in REGISTRY else ""


@dataclass(frozen=True)
class Operand:
    """One number that went into another: where it lives and what it was."""

    address: str
    value: float


class Operands(Sequence[Operand]):
    """The elements of one value that a formula read, once each; made when they are looked at."""

    def __init__(self, source: Node, flat: np.ndarray, values: np.ndarray) -> None:
        if (np.diff(flat) <= 0).any():
            first = np.sort(np.unique(flat, return_index=True)[1])
            flat, values = flat[first], values[first]
        self._source, self._flat, self._values = source, flat, values

    def __repr__(self) -> str:
        return f"<{counted(len(self), 'number')} of {self._source.path}>"

    def __len__(self) -> int:
        return len(self._flat)

    @overload
    def __getitem__(self, index: int) -> Operand: ...
    @overload
    def __getitem__(self, index: slice) -> list[Operand]: ...
    def __getitem__(self, index: int | slice) -> Operand | list[Operand]:
        if isinstance(index, slice):
            return [self[i] for i in range(len(self))[index]]
        source = self._source
        element = np.unravel_index(self._flat[index], source.shape)
        inside = ",".join(f"{axis}={i}" for axis, i in zip(source.axes, element, strict=True))
        address = f"{source.path}[{inside}]" if inside else source.path
        return Operand(address, self._values[index].item())


def explain(trace: Graph, address: str | Address, *, check: bool = False) -> Explanation:
    """The explanation of the number at an address; see `Trace.explain`."""
    where = address if isinstance(address, Address) else Address.parse(address)
    node = trace.node(where)
    slices = where.slices(node.axes, node.shape)
    missing = [
        f"{axis} (0 to {n - 1})"
        for axis, n, chosen in zip(node.axes, node.shape, slices, strict=True)
        if isinstance(chosen, slice)
    ]
    if missing:
        raise GlassformerError(
            f"{where} is not one number; also give {', '.join(missing)},"
            f" for example {_example(node, where)}"
        )
    # none of them is a slice: that is the error above
    at = {axis: int(cast("int", i)) for axis, i in zip(node.axes, slices, strict=True)}
    try:
        return Explanation(trace, node, at, check)
    except (ArithmeticError, LookupError, TypeError, ValueError, RecursionError) as error:
        if trace.stored is None:
            raise
        raise trace.stored.fault(where, error) from error


def _example(node: Node, where: Address) -> str:
    index = dict(where.index)
    return str(where.element(**{axis: index.get(axis, 0) for axis in node.axes}))


class Explanation:
    """How the number at one address was made.

    `value` is the recorded number; `recomputed` is the same formula in float64 from the recorded
    operands; `error` is their difference and `bound` the largest difference that rounding in the
    recorded dtype allows; `agrees` says whether it is within. Leaves (weights, tokens, constants)
    and drawn numbers have no operands and are their own recomputation. `difference` is the finite
    difference that was asked for with ``check=True``, else None.
    """

    def __init__(self, trace: Graph, node: Node, at: dict[str, int], check: bool = False) -> None:
        self.trace = trace
        self.node = node
        self.at = at
        recorded = trace.value_of(node)[tuple(at.values())]
        self.value: float | int = recorded.item()
        self._run: Evaluation | None = None
        self.recomputed: float | int = self.value
        self.bound: float = 0.0
        if node.formula is not None and not isinstance(node.formula.body, Drawn):
            operands = {o: trace.value_of(trace.nodes[p]) for o, p in node.operands.items()}
            value, bound, self._run = evaluate(
                node.formula,
                operands,
                node.params,
                at=at,
                dtype=node.dtype,
                sizes=dict(zip(node.axes, node.shape, strict=True)),
            )
            self.recomputed, self.bound = value.item(), float(bound)
            if node.kind in ("bwd", "opt"):
                # PyTorch may arrange an equal formula otherwise and round each factor once more
                self.bound *= 2

        self.difference: FiniteDifference | None = self._finite_difference() if check else None

    def __getstate__(self) -> dict[str, Any]:
        """All but what is worked out again where it is looked at."""
        kind = type(self)
        worked_out = {
            name for name in self.__dict__ if isinstance(getattr(kind, name, None), cached_property)
        }
        return {name: part for name, part in self.__dict__.items() if name not in worked_out}

    def _finite_difference(self) -> FiniteDifference:
        rerun = self.trace.rerun
        if self.node.kind != "bwd" or rerun is None:
            raise GlassformerError(
                f"{self.address} has no finite difference: that checks a gradient (bwd/...) of a"
                " pass that was watched here with backward=True"
            )
        self.trace.check_leaves()
        name, index = self.node.name, tuple(self.at.items())
        kind = "fwd" if f"fwd/{name}" in self.trace.nodes else "weight"
        return finite_difference(rerun, Address(kind, name, index))

    @property
    def address(self) -> str:
        kind, name = self.node.kind, self.node.name
        return str(Address(kind, name, tuple(self.at.items())))

    @property
    def summary(self) -> str:
        """One plain sentence about the op."""
        if self.node.op is None:
            return {
                "weight": "A trained parameter: training changes it, a forward pass does not.",
                "token": "A token id, given with the text.",
            }.get(self.node.kind, "A constant.")
        return op_summary(self.node)

    @property
    def source(self) -> str:
        """Paper and equation, where the op has one."""
        return op_source(self.node.op)

    @property
    def formula(self) -> str:
        """The formula in symbols, in the syntax of `formula.tree`; empty for a leaf."""
        return str(self._named_formula) if self._named_formula else ""

    @property
    def latex(self) -> str:
        """The formula in LaTeX; empty for a leaf."""
        return to_latex(self._named_formula) if self._named_formula else ""

    @property
    def _named_formula(self) -> Formula | None:
        formula = self.node.formula
        return formula and Formula(self._symbol, formula.axes, formula.body)

    @property
    def _symbol(self) -> str:
        return f"d_{self.node.short}" if self.node.kind == "bwd" else self.node.short

    @property
    def operands(self) -> list[Operand]:
        """Every number that the formula read, each with its address."""
        return [operand for group in self.operand_groups.values() for operand in group]

    @cached_property
    def operand_groups(self) -> dict[str, Operands]:
        """What the formula read, by the value the numbers are elements of, in reading order."""
        if self._run is None:
            return {}
        read: dict[str, list[tuple[np.ndarray, np.ndarray]]] = {}
        for record in self._run.reads:
            path = self.node.operands[record.operand]
            index = np.broadcast_arrays(*record.index)
            shape = index[0].shape if index else ()
            flat = np.ravel_multi_index(index, self.trace.nodes[path].shape) if index else 0
            values = np.broadcast_to(record.values, shape)
            read.setdefault(path, []).append((np.atleast_1d(flat).ravel(), values.ravel()))
        return {
            path: Operands(self.trace.nodes[path], *map(np.concatenate, zip(*parts, strict=True)))
            for path, parts in read.items()
        }

    @cached_property
    def terms(self) -> Terms:
        """The terms of the formula's sum with the running sum; empty where nothing is summed."""
        if self._run is None or self.node.formula is None:
            return Terms((), np.zeros(0), lambda index: Put(0.0))
        return terms(self.node.formula.body, self._run, self.at)

    @property
    def error(self) -> float:
        """How far recorded and recomputed are apart; 0 where both are one infinity or NaN."""
        if self.value == self.recomputed or (np.isnan(self.value) and np.isnan(self.recomputed)):
            return 0.0
        return abs(self.value - self.recomputed)

    @property
    def agrees(self) -> bool:
        return self.error <= self.bound

    @property
    def flags(self) -> list[str]:
        """What to know before trusting intuition: masked cells, infinities and kinks."""
        result = []
        by_hand = bool(self.node.edited) and self._operand("edited") == 1
        if self.value == -np.inf and self.node.role == "masked_score" and not by_hand:
            result.append(
                "masked: this query may not look at this key, so the score is minus infinity"
            )
        elif np.isinf(self.value) and not by_hand:
            result.append("infinite: follow the operands to where it first appears")
        if np.isnan(self.value):
            result.append("not a number: follow the operands to where it first appears")
        if self._is_unasked:
            result.append("masked: not asked for")
        if by_hand:
            result.append("edited: this number was set by hand")
        if self._run is not None and self._run.kinks:
            result.append("kink: exactly at the corner, where the slope is not unique")
        return result

    @property
    def _is_unasked(self) -> bool:
        """Whether it is a target that does not count, or belongs to the place of one."""
        if self.node.path == TARGETS:
            return self.value < 0
        of_targets = self.node.operands.get("targets") == TARGETS and "pos" in self.at
        return of_targets and self._operand("targets") < 0

    def _operand(self, name: str) -> float | int:
        """An operand that is read at this number's own place."""
        node = self.trace.nodes[self.node.operands[name]]
        return self.trace.value_of(node)[tuple(self.at[axis] for axis in node.axes)].item()

    @cached_property
    def arithmetic(self) -> str:
        """The formula with numbers put in: evaluated as printed, it gives the printed result.

        Operands have the fewest digits, from 4 to 9, with which that is so. Where 9 are not enough,
        as where two numbers almost cancel, the line says ≈ in place of =.
        """
        return self._arithmetic(self.line)

    @property
    def arithmetic_in_full(self) -> str:
        """The same with every operand to its last digit."""
        return self._arithmetic(self.line_in_full)

    @cached_property
    def line(self) -> Line | None:
        """The arithmetic as data; None where nothing was computed."""
        return self._line(full=False)

    @cached_property
    def line_in_full(self) -> Line | None:
        """The arithmetic in full as data."""
        return self._line(full=True)

    def _line(self, full: bool) -> Line | None:
        if self._run is None or self.node.formula is None:
            return None
        result = self.recomputed if self.node.dtype.is_floating_point else int(self.recomputed)
        return line(put_in(self.node.formula.body, self._run, self.at), result, full=full)

    def _arithmetic(self, line: Line | None) -> str:
        if line is None:
            return f"{self.address} = {number(self.value)}"
        text = f"{self._symbol} = {line.numbers}"
        if line.result:
            text += f"\n{' ' * len(self._symbol)} {line.relation} {line.result}"
        return text

    def __repr__(self) -> str:
        verdict = "agrees" if self.agrees else "does not agree"
        again = f"; recomputed, it {verdict}" if self._run is not None else ""
        return f"<Explanation of {self.address} = {number(self.value, 6)}{again}>"

    def __str__(self) -> str:
        lines = [f"{self.address} = {number(self.value, 6)}", self.summary]
        if self.formula:
            verdict = "agrees" if self.agrees else "DOES NOT AGREE"
            lines += [
                "",
                self.formula,
                self.arithmetic,
                "",
                f"recorded {self.value!r}, recomputed in float64 {self.recomputed!r}: {verdict}"
                f" (difference {number(self.error, 2)}, rounding allows {number(self.bound, 2)})",
            ]
        if self.difference is not None:
            lines.append(f"finite difference in float64: {self.difference}")
        return "\n".join(lines + self.flags)

    def _repr_html_(self) -> str:
        return html(self)
