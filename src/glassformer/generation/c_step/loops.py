"""A formula as loops in C: the tree that is shown and explained is also what the machine runs.

One function per formula and shape. The output's last axis is the innermost loop. Sums whose
operands lie next to each other along it are added up for a tile of it at once, so that a matrix is
read row by row; other sums are added up one after another. What follows from places and parameters
alone (the angle of a rotary position) is computed in double first, as the tables are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

from glassformer.formula.nodes import (
    Axis,
    Binary,
    Node,
    Number,
    Param,
    Read,
    Reduce,
    Select,
    Size,
    Unary,
    counted,
    outermost,
    walk,
)
from glassformer.formula.tree import Formula
from glassformer.generation.c_step.expressions import (
    INTEGER,
    REAL,
    Typed,
    call,
    cast,
    combine,
    constant,
    wider,
)
from glassformer.generation.c_step.lanes import Lanes, Lines, has_lanes
from glassformer.generation.c_step.layout import NONE, ONE, Extent, Layout, dense, lengths

TILE = 4096
"""Sums that are kept at once: few enough for the first-level cache, and so many that the rows of
most matrices are read in one go."""

UNROLLED = 4
"""Terms that are added to each sum of a tile before the next sum's turn."""


def c_function(
    name: str,
    formula: Formula,
    operands: Mapping[str, Layout],
    shape: tuple[Extent, ...],
    params: Mapping[str, float],
) -> str:
    """A C function (out, operands by name, n) that fills `out`, dense, by the formula.

    Raises ValueError where the formula draws a number, or has sums of what follows from sums.

    >>> f = Formula.parse("y[i] = 2 * x[i]")
    >>> print(c_function("twice", f, {"x": dense((Extent(3),))}, (Extent(3),), {}))
    NO_INLINE void twice(real *restrict out, const real *restrict x_, int64_t n) {
      #pragma omp simd
      for (int64_t i = 0; i < 3; i++) {
        out[i] = ((real)2 * x_[i]);
      }
    }
    """
    types = {o: INTEGER if operands[o].integer else REAL for o in sorted(formula.operands)}
    inputs = "".join(f"const {kind} *restrict {o}_, " for o, kind in types.items())
    sizes = lengths(formula, operands) | dict(zip(formula.axes, shape, strict=True))
    writer = Writer(formula, operands, sizes, params)
    writer.code.open(f"NO_INLINE void {name}(real *restrict out, {inputs}int64_t n) {{")
    writer.write()
    return "\n".join(writer.code.lines)


class Writer:
    """Writes the loops of one formula."""

    def __init__(
        self,
        formula: Formula,
        operands: Mapping[str, Layout],
        sizes: dict[str, Extent],
        params: Mapping[str, float],
    ) -> None:
        self.code = Lines()
        self._formula, self._operands, self._params = formula, operands, params
        self._sizes = sizes
        self._index = {axis: "0" for axis, size in sizes.items() if size == ONE}  # in C, by axis
        self._sums: dict[Reduce, str] = {}  # in C, those that have been added up
        self._counted = frozenset(counted(formula.body))
        if any(isinstance(n, Reduce) and n.axis in formula.axes for n in walk(formula.body)):
            raise ValueError(f"an axis of the output is summed over: {formula}")
        self._out = self._steps(formula.axes, dense(tuple(sizes[a] for a in formula.axes)).strides)
        self._reads = {
            node: self._steps(
                (i.name if isinstance(i, Axis) else None for i in node.index),
                operands[node.operand].strides,
            )
            for node in walk(formula.body)
            if isinstance(node, Read)
        }

    def _steps(self, axes: Iterable[str | None], strides: tuple[Extent, ...]) -> dict[str, Extent]:
        """How far apart neighbors along each axis are."""
        steps: dict[str, Extent] = {}
        for axis, stride in zip(axes, strides, strict=True):
            if axis is not None and self._sizes[axis] != ONE:
                if axis in steps:
                    raise ValueError(f"an axis indexes an operand once: {self._formula}")
                steps[axis] = stride
        return steps

    def write(self) -> None:
        axes = self._coalesce_axes(self._formula.axes)
        for axis in axes[:-1]:
            self._loop(axis)
        if axes:
            self._row(axes[-1])
        else:
            for reduce in outermost(self._formula.body):
                self._emit_reduction(reduce)
            self._store()
        while self.code.depth:
            self.code.close()

    def _coalesce_axes(self, axes: Iterable[str]) -> list[str]:
        """The axes longer than one; neighbors that lie as if they were one axis become one."""
        kept: list[str] = []
        for axis in axes:
            if self._sizes[axis] == ONE:
                continue
            if kept and self._as_one(kept[-1], axis):
                outer = kept.pop()
                self._sizes[axis] = self._sizes[outer] * self._sizes[axis]
                self._sizes[outer] = ONE
                for steps in (self._out, *self._reads.values()):
                    steps.pop(outer, None)
            kept.append(axis)
        return kept

    def _as_one(self, outer: str, inner: str) -> bool:
        length = self._sizes[inner]
        if length.symbolic or {outer, inner} & self._counted:
            return False
        sums = [node for node in walk(self._formula.body) if isinstance(node, Reduce)]
        nested = sum(
            s.axis == outer and isinstance(s.body, Reduce) and s.body.axis == inner for s in sums
        )
        if any(sum(s.axis == axis for s in sums) != nested for axis in (outer, inner)):
            return False  # somewhere only one of them is summed over
        return all(
            steps.get(outer, NONE) == steps.get(inner, NONE) * length
            for steps in (self._out, *self._reads.values())
        )

    def _row(self, axis: str) -> None:
        """The output along its last axis, and the sums that it takes."""
        reduces = list(outermost(self._formula.body))
        along = [r for r in reduces if self._is_unit_stride(r, axis)]
        within = [r for r in reduces if r not in along and self._depends(r, axis)]
        for reduce in reduces:
            if reduce not in along and reduce not in within:
                self._emit_reduction(reduce)
        self._index[axis], length = axis, str(self._sizes[axis])
        if along and (self._sizes[axis].symbolic or self._sizes[axis].times > TILE):
            self.code.open(f"for (int64_t start = 0; start < {length}; start += {TILE}) {{")
            self.code.line(f"int64_t end = {length} - start < {TILE} ? {length} - start : {TILE};")
            self._index[axis], length = f"(start + {axis})", "end"
        each = f"for (int64_t {axis} = 0; {axis} < {length}; {axis}++) {{"
        for reduce in along:
            self._emit_tiled_reduction(reduce, axis, each)
        if not within:
            self.code.line("#pragma omp simd")
        self.code.open(each)
        for reduce in within:
            self._emit_reduction(reduce)
        self._store()
        self.code.close()

    def _store(self) -> None:
        self.code.line(f"out[{self._offset(self._out)}] = {self._as(REAL, self._formula.body)};")

    # --- sums ---

    def _depends(self, reduce: Reduce, axis: str) -> bool:
        nodes = list(walk(reduce))
        is_read = any(axis in self._reads[node] for node in nodes if isinstance(node, Read))
        return is_read or (axis in self._counted and Axis(axis) in nodes)

    def _is_unit_stride(self, reduce: Reduce, axis: str) -> bool:
        """Whether neighbors along the output's axis are neighbors in an operand."""
        if reduce.kind == "max":
            return False
        return any(
            self._reads[node].get(axis) == ONE for node in walk(reduce) if isinstance(node, Read)
        )

    def _emit_tiled_reduction(self, reduce: Reduce, axis: str, each: str) -> None:
        """All sums of a tile: some terms are added to each, then the next to each."""
        axes, term = self._over(reduce)
        total = f"sum{len(self._sums)}"
        along = self._sizes[axis]
        width = TILE if along.symbolic else min(TILE, along.times)
        self.code.line(f"real {total}[{width}] = {{0}};")
        for outer in axes[:-1]:
            self._loop(outer)
        last = axes[-1] if axes else reduce.axis
        length = self._sizes[last]
        self.code.line("int64_t first = 0;")
        even = not length.symbolic and length.times % UNROLLED == 0
        for together in (UNROLLED,) if even else (UNROLLED, 1):
            self.code.open(f"for (; first + {together} <= {length}; first += {together}) {{")
            self.code.line("#pragma omp simd")
            self.code.open(each)
            terms = []
            for ahead in range(together):
                self._index[last] = f"(first + {ahead})"
                terms.append(self._as(REAL, term))
            self.code.line(f"{total}[{axis}] += {' + '.join(terms)};")
            self.code.close()
            self.code.close()
        for _ in axes[:-1]:
            self.code.close()
        self._sums[reduce] = self._shared(reduce, f"{total}[{axis}]")

    def _emit_reduction(self, reduce: Reduce) -> None:
        """One sum, mean or maximum."""
        axes, term = self._over(reduce)
        total, largest = f"sum{len(self._sums)}", reduce.kind == "max"
        if not largest and axes and has_lanes(self._sizes[axes[-1]]):
            self._emit_lanes(axes, {total: lambda: self._as(REAL, term)})
            self._sums[reduce] = self._shared(reduce, total)
            return
        self.code.line(f"real {total} = {'-INFINITY' if largest else '0'};")
        for axis in axes:
            if axis == axes[-1]:
                self.code.line(f"#pragma omp simd reduction({'max' if largest else '+'}:{total})")
            self._loop(axis)
        code = self._as(REAL, term)
        self.code.line(
            f"{total} = {f'{total} > {code} ? {total} :' if largest else f'{total} +'} {code};"
        )
        for _ in axes:
            self.code.close()
        self._sums[reduce] = self._shared(reduce, total)

    def _emit_lanes(self, axes: Sequence[str], terms: Mapping[str, Callable[[], str]]) -> None:
        """Sums over the same axes, by their names, of terms in C: see `Lanes`."""

        def at(index: str) -> list[str]:
            self._index[axes[-1]] = index
            return [term() for term in terms.values()]

        lanes = Lanes(self.code, [*terms], self._sizes[axes[-1]].times)
        for axis in axes[:-1]:
            self._loop(axis)
        lanes.add(at)
        for _ in axes[:-1]:
            self.code.close()
        lanes.end()

    def _over(self, reduce: Reduce) -> tuple[list[str], Node]:
        """The axes that a sum of sums, or a mean of means, runs over, and its terms."""
        if reduce.kind == "argmax":
            raise ValueError(f"no C is written for argmax: {self._formula}")
        axes, term = [reduce.axis], reduce.body
        while reduce.kind != "max" and isinstance(term, Reduce) and term.kind == reduce.kind:
            axes.append(term.axis)
            term = term.body
        if any(isinstance(node, Reduce) for node in walk(term)):
            raise ValueError(f"sums in the terms of a sum are an op of their own: {self._formula}")
        return self._coalesce_axes(axes), term

    def _shared(self, reduce: Reduce, total: str) -> str:
        if reduce.kind != "mean":
            return total
        sizes, node = [str(self._sizes[reduce.axis])], reduce.body
        while isinstance(node, Reduce):
            sizes.append(str(self._sizes[node.axis]))
            node = node.body
        return f"({total} / ({' * '.join(sizes)}))"

    # --- expressions ---

    def _as(self, kind: str, node: Node) -> str:
        return cast(kind, self._expression(node))

    def _expression(self, node: Node) -> Typed:
        match node:
            case Number(value):
                return constant(value)
            case Param(name):
                return constant(self._params[name])
            case Axis(name):
                return INTEGER, self._index[name]
            case Size(axis):
                return INTEGER, str(self._sizes[axis])
            case Read(operand, _):
                kind = INTEGER if self._operands[operand].integer else REAL
                return kind, f"{operand}_[{self._base(operand)}{self._address(node)}]"
            case Reduce():
                return REAL, self._sums[node]
            case Unary(function, x):
                return call(function, self._expression(x))
            case Binary(operator, a, b):
                return combine(operator, self._expression(a), self._expression(b))
            case Select(condition, a, b):
                one, other = self._expression(a), self._expression(b)
                kind = wider(one, other)
                _, chosen = self._expression(condition)
                return kind, f"({chosen} ? {cast(kind, one)} : {cast(kind, other)})"
            case _:
                raise ValueError(f"a drawn number has no arithmetic: {self._formula}")

    def _base(self, _operand: str) -> str:
        """Where an operand's numbers begin; several rows have their own each."""
        return ""

    def _address(self, read: Read) -> str:
        strides = self._operands[read.operand].strides
        computed = " + ".join(
            _times(self._as(INTEGER, index), stride)
            for index, stride in zip(read.index, strides, strict=True)
            if not isinstance(index, Axis)
        )
        direct = self._offset(self._reads[read])
        return f"{computed} + {direct}" if computed else direct

    def _offset(self, steps: Mapping[str, Extent]) -> str:
        return " + ".join(_times(self._index[axis], step) for axis, step in steps.items()) or "0"

    # --- lines ---

    def _loop(self, axis: str) -> None:
        self._index[axis] = axis
        self.code.open(f"for (int64_t {axis} = 0; {axis} < {self._sizes[axis]}; {axis}++) {{")


def _times(code: str, stride: Extent) -> str:
    return code if stride == ONE else f"{code} * {stride}"
