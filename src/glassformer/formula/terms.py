"""The terms of a sum, one by one: each number, and the sum so far, as they are printed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import overload

import numpy as np

from glassformer.formula.arithmetic import Printed, put_node_in, value, values_of
from glassformer.formula.evaluate import Evaluation
from glassformer.formula.nodes import Binary, Node, Reduce, Unary
from glassformer.formula.spelling import OPERAND_DIGITS, Fixed


@dataclass(frozen=True)
class Term:
    """One term of a sum: its indices along the summed axes, its value, and both as printed."""

    index: dict[str, int]
    value: float
    text: str
    running: str


class Terms(Sequence[Term]):
    """The terms of a sum; made when they are looked at.

    All are printed with the same number of places, the fewest with which they add up to the sum;
    the sum so far is that of the terms as printed.
    """

    def __init__(
        self, axes: Sequence[str], values: np.ndarray, put: Callable[[dict[str, int]], Printed]
    ) -> None:
        self._axes, self._shape, self._values, self._put = axes, values.shape, values.ravel(), put
        self.column = Fixed.of_sum(self._values)
        self._units = self.column.units(self._values)
        self._running = np.cumsum(self._units)

    def __repr__(self) -> str:
        return f"<Sum of {len(self):,} terms over {', '.join(self._axes)}>"

    def __len__(self) -> int:
        return self._values.size

    @overload
    def __getitem__(self, index: int) -> Term: ...
    @overload
    def __getitem__(self, index: slice) -> list[Term]: ...
    def __getitem__(self, index: int | slice) -> Term | list[Term]:
        if isinstance(index, slice):
            return [self[i] for i in range(len(self))[index]]
        index = range(len(self))[index]
        term, so_far = (self.column.text(int(u[index])) for u in (self._units, self._running))
        return Term(self._index(index), float(self._values[index]), term, so_far)

    def _index(self, index: int) -> dict[str, int]:
        where = np.unravel_index(index, self._shape)
        return {axis: int(i) for axis, i in zip(self._axes, where, strict=True)}

    def sum_of(self, start: int, stop: int) -> str:
        """What the terms from `start` to before `stop` sum to, as they are printed."""
        return self.column.text(int(self._units[start:stop].sum()))

    def digits(self, terms_at: Sequence[int]) -> int:
        """How many digits operands beside these terms need, so that each gives its term."""
        printed = [self._put(self._index(index)) for index in terms_at]
        units = self._units[list(terms_at)]
        for digits in OPERAND_DIGITS:
            if (self.column.units(np.array([value(p, digits) for p in printed])) == units).all():
                return digits
        return OPERAND_DIGITS[-1]


def terms(body: Node, run: Evaluation, at: Mapping[str, int]) -> Terms:
    """The terms of a formula's outermost sum (or mean) at one element; none without a sum."""
    node: Node | None = next(_sums(body), None)
    quiet = Evaluation(run.operands, run.params, run.sizes, run.roundoff)
    env = {axis: np.asarray(index) for axis, index in at.items()}
    axes: list[str] = []
    while isinstance(node, Reduce) and node.kind in ("sum", "mean"):
        axes.append(node.axis)
        node = node.body
    summed = node or body
    shape = tuple(run.sizes[axis] for axis in axes) if axes else (0,)
    values = values_of(summed, axes, shape, quiet, env) if axes else np.zeros(0)

    def put(index: dict[str, int]) -> Printed:
        return put_node_in(summed, quiet, {**env, **{a: np.asarray(i) for a, i in index.items()}})

    return Terms(axes, values.reshape(shape), put)


def _sums(node: Node) -> Iterator[Reduce]:
    match node:
        case Reduce(kind, _, _) if kind in ("sum", "mean"):
            yield node
        case Binary(_, a, b):
            yield from _sums(a)
            yield from _sums(b)
        case Unary(_, x):
            yield from _sums(x)
