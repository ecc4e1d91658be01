"""A formula as loops in C: the tree that is shown and explained is also what the machine runs.

One function per formula and shape. The last axis of the output is the innermost loop; a sum whose
operands lie next to each other along that axis is added up for a tile of it at once, other sums one
after another, each in the output's precision. What depends on places and parameters only (the
angle of a rotary position) is computed in double first, as the tables are.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from math import isfinite

from glassformer.ops.formula import (
    Axis,
    Binary,
    Formula,
    Node,
    Number,
    Param,
    Read,
    Reduce,
    Select,
    Size,
    Unary,
    children,
    walk,
)

TILE = 512
"""Sums that are kept at once: few enough to stay in the first-level cache."""

UNROLLED = 4
"""Terms that are added to a tile in one go."""

INTEGER, DOUBLE, REAL = "int64_t", "double", "real"
"""C types of an expression; `real` is the model's own."""

PRELUDE = """\
#include <math.h>
#include <stdint.h>
#include <string.h>
#define APART static __attribute__((noinline)) /* inlined and specialised it compiles 3 times as long */
#if defined(__GLIBC__) && defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__)
/* glibc has these for many numbers at once and tells the compiler so only under -ffast-math */
#define MANY __attribute__((simd("notinbranch")))
MANY float expf(float); MANY float tanhf(float); MANY float erff(float);
MANY double exp(double); MANY double tanh(double); MANY double erf(double);
#endif
"""


@dataclass(frozen=True)
class Extent:
    """A length or a stride; `grows` where it is times `n`, the number of tokens so far."""

    times: int
    grows: bool = False

    def __mul__(self, other: Extent) -> Extent:
        if self.grows and other.grows:
            raise ValueError("only one axis of a value may grow")
        return Extent(self.times * other.times, self.grows or other.grows)

    def __str__(self) -> str:
        return f"{self.times} * n" if self.grows else str(self.times)


NONE, ONE = Extent(0), Extent(1)


@dataclass(frozen=True)
class Layout:
    """How an operand lies in memory, in elements; `whole` for 64-bit integers."""

    shape: tuple[Extent, ...]
    strides: tuple[Extent, ...]
    whole: bool = False


def dense(shape: tuple[Extent, ...]) -> Layout:
    """Row after row."""
    strides, stride = [], ONE
    for extent in reversed(shape):
        strides.append(stride)
        stride = stride * extent
    return Layout(shape, tuple(reversed(strides)))


def growing_axes(formula: Formula, operands: Mapping[str, Layout]) -> dict[str, Extent]:
    """The lengths of all axes that index an operand directly."""
    return {
        index.name: operands[node.operand].shape[dimension]
        for node in walk(formula.body)
        if isinstance(node, Read)
        for dimension, index in enumerate(node.index)
        if isinstance(index, Axis)
    }


def signature(name: str, formula: Formula, operands: Mapping[str, Layout]) -> str:
    """`APART void name(out, operands by name, n)`."""
    types = {o: INTEGER if operands[o].whole else REAL for o in sorted(formula.operands)}
    inputs = "".join(f", const {kind} *restrict {o}_" for o, kind in types.items())
    return f"APART void {name}(real *restrict out{inputs}, int64_t n)"


def loops(
    formula: Formula,
    operands: Mapping[str, Layout],
    shape: tuple[Extent, ...],
    params: Mapping[str, float],
) -> str:
    """The body of a C function that fills `out`, dense and of this shape, by the formula.

    >>> f = Formula.parse("y[i] = 2 * x[i]")
    >>> print(loops(f, {"x": dense((Extent(3),))}, (Extent(3),), {}))
    {
      #pragma omp simd
      for (int64_t i = 0; i < 3; i++) {
        out[i] = ((real)2 * x_[i]);
      }
    }
    """
    sizes = growing_axes(formula, operands) | dict(zip(formula.axes, shape, strict=True))
    return _Writer(formula, operands, sizes, params).write()


class _Writer:
    """Writes the loops of one formula."""

    def __init__(
        self,
        formula: Formula,
        operands: Mapping[str, Layout],
        sizes: Mapping[str, Extent],
        params: Mapping[str, float],
    ) -> None:
        self.formula, self.operands, self.params = formula, operands, params
        self.sizes = dict(sizes)
        self.lines: list[str] = []
        self.depth = 0
        self.place: dict[str, str] = {}  # how an axis is spelled where we are
        self.held: dict[Reduce, str] = {}  # sums that have been computed
        self.counted = _counted(formula.body)
        self.out = self._steps(formula.axes, dense(tuple(sizes[a] for a in formula.axes)).strides)
        self.strides = {
            node: self._steps(
                [i.name if isinstance(i, Axis) else None for i in node.index],
                operands[node.operand].strides,
            )
            for node in walk(formula.body)
            if isinstance(node, Read)
        }

    def _steps(self, axes: Iterable[str | None], strides: tuple[Extent, ...]) -> dict[str, Extent]:
        steps: dict[str, Extent] = {}
        for axis, stride in zip(axes, strides, strict=True):
            if axis is not None and self.sizes[axis] != ONE:
                assert axis not in steps, "an axis indexes an operand once"
                steps[axis] = stride
        return steps

    def write(self) -> str:
        self.place |= {axis: "0" for axis, size in self.sizes.items() if size == ONE}
        axes = self._merged([axis for axis in self.formula.axes if self.sizes[axis] != ONE])
        self._open("{")
        for axis in axes[:-1]:
            self._loop(axis)
        self._row(axes[-1] if axes else None)
        while self.depth:
            self._close()
        return "\n".join(self.lines)

    def _merged(self, axes: list[str]) -> list[str]:
        """Neighbouring axes that every operand has as if they were one become one."""
        kept = axes[:1]
        for inner in axes[1:]:
            outer, size = kept[-1], self.sizes[inner]
            if not size.grows and self._as_one(outer, inner):
                for steps in (self.out, *self.strides.values()):
                    steps.pop(outer, None)
                self.sizes[inner] = self.sizes[outer] * size
                kept.pop()
            kept.append(inner)
        return kept

    def _as_one(self, outer: str, inner: str) -> bool:
        if {outer, inner} & self.counted:
            return False
        size = self.sizes[inner]
        return all(
            (outer in steps) == (inner in steps)
            and (outer not in steps or steps[outer] == steps[inner] * size)
            for steps in (self.out, *self.strides.values())
        )

    # --- one row: the innermost axis of the output, and the sums in it ---

    def _row(self, axis: str | None) -> None:
        reduces = list(_outermost(self.formula.body))
        if axis is None:
            for reduce in reduces:
                self.held[reduce] = self._one_by_one(reduce)
            return self._store()
        within = [r for r in reduces if self._depends(r, axis)]
        tiled = [r for r in within if self._lies_along(r, axis)]
        alone = [r for r in within if r not in tiled]
        for reduce in reduces:
            if reduce not in within:
                self.held[reduce] = self._one_by_one(reduce)
        length, start = str(self.sizes[axis]), ""
        if tiled and (self.sizes[axis].grows or self.sizes[axis].times > TILE):
            self._open(f"for (int64_t start = 0; start < {length}; start += {TILE}) {{")
            self._line(f"int64_t end = {length} - start < {TILE} ? {length} - start : {TILE};")
            length, start = "end", "start + "
        self.place[axis] = f"({start}{axis})" if start else axis
        head = f"for (int64_t {axis} = 0; {axis} < {length}; {axis}++) {{"
        for reduce in tiled:
            self.held[reduce] = self._tile(reduce, axis, head)
        if not alone:
            self._line("#pragma omp simd")
        self._open(head)
        for reduce in alone:
            self.held[reduce] = self._one_by_one(reduce)
        self._store()
        self._close()
        return None

    def _store(self) -> None:
        code = self._as(REAL, self.formula.body)
        self._line(f"out[{self._offset(self.out)}] = {code};")

    def _depends(self, reduce: Reduce, axis: str) -> bool:
        return any(
            (isinstance(node, Read) and axis in self.strides[node])
            or (isinstance(node, Axis) and node.name == axis and axis in self.counted)
            for node in walk(reduce)
        )

    def _lies_along(self, reduce: Reduce, axis: str) -> bool:
        """Whether neighbours along the output's axis are neighbours in memory, terms are not."""
        reads = [node for node in walk(reduce) if isinstance(node, Read)]
        return reduce.kind != "max" and any(self.strides[r].get(axis) == ONE for r in reads)

    def _tile(self, reduce: Reduce, axis: str, head: str) -> str:
        """Every sum of the tile at once: a few terms are added to each of them in turn."""
        axes, body = self._nested(reduce)
        name = f"sum{len(self.held)}"
        target = f"{name}[{axis}]"
        self._line(f"real {name}[{TILE}] = {{0}};")
        for outer in axes[:-1]:
            self._loop(outer)
        self._line("int64_t term = 0;")
        last = axes[-1] if axes else reduce.axis
        whole = not self.sizes[last].grows and self.sizes[last].times % UNROLLED == 0
        for together in (UNROLLED,) if whole else (UNROLLED, 1):
            self._open(f"for (; term + {together} <= {self.sizes[last]}; term += {together}) {{")
            terms = []
            for ahead in range(together):
                self.place[last] = f"(term + {ahead})"
                terms.append(self._as(REAL, body))
            self._line("#pragma omp simd")
            self._open(head)
            self._line(f"{target} += {' + '.join(terms)};")
            self._close()
            self._close()
        for _ in axes[:-1]:
            self._close()
        return self._shared(reduce, target)

    def _one_by_one(self, reduce: Reduce) -> str:
        axes, body = self._nested(reduce)
        name = f"sum{len(self.held)}"
        self._line(f"real {name} = {_START[reduce.kind]};")
        for outer in axes[:-1]:
            self._loop(outer)
        operation = "max" if reduce.kind == "max" else "+"
        if axes:
            self._line(f"#pragma omp simd reduction({operation}:{name})")
            self._loop(axes[-1])
        term = self._as(REAL, body)
        if reduce.kind == "max":
            self._line(f"{name} = {name} > {term} ? {name} : {term};")
        else:
            self._line(f"{name} += {term};")
        for _ in axes:
            self._close()
        return self._shared(reduce, name)

    def _nested(self, reduce: Reduce) -> tuple[list[str], Node]:
        """The axes that a sum, or a sum of sums, runs over, without those of one element."""
        axes, body = [reduce.axis], reduce.body
        while reduce.kind == "sum" and isinstance(body, Reduce) and body.kind == "sum":
            axes.append(body.axis)
            body = body.body
        if any(isinstance(node, Reduce) for node in walk(body)):
            raise ValueError("a sum inside another's terms is an op of its own")
        return self._merged([axis for axis in axes if self.sizes[axis] != ONE]), body

    def _shared(self, reduce: Reduce, total: str) -> str:
        return f"({total} / ({self.sizes[reduce.axis]}))" if reduce.kind == "mean" else total

    # --- expressions ---

    def _as(self, kind: str, node: Node) -> str:
        own, code = self._expression(node)
        return code if own == kind else f"({kind}){code}"

    def _expression(self, node: Node) -> tuple[str, str]:
        """The C type of a node and its code, in brackets where it has several parts."""
        match node:
            case Number(value):
                return _constant(value)
            case Param(name):
                return _constant(self.params[name])
            case Axis(name):
                return INTEGER, self.place[name]
            case Size(axis):
                return INTEGER, f"({self.sizes[axis]})"
            case Read(operand, _):
                kind = INTEGER if self.operands[operand].whole else REAL
                return kind, f"{operand}_[{self._address(node)}]"
            case Reduce():
                return REAL, self.held[node]
            case Unary(function, x):
                return self._unary(function, x)
            case Binary(operator, a, b):
                return self._binary(operator, a, b)
            case Select(condition, a, b):
                kind = self._common(a, b)
                _, chosen = self._expression(condition)
                return kind, f"({chosen} ? {self._as(kind, a)} : {self._as(kind, b)})"
            case _:
                raise ValueError("a drawn number has no arithmetic")

    def _unary(self, function: str, x: Node) -> tuple[str, str]:
        kind, code = self._expression(x)
        if function == "neg":
            return kind, f"(-{code})"
        if function == "sign":
            return INTEGER, f"(({code} > 0) - ({code} < 0))"
        name = "fabs" if function == "abs" else function
        if kind == REAL:
            return REAL, f"real_{name}({code})"
        return DOUBLE, f"{name}({code})"

    def _binary(self, operator: str, a: Node, b: Node) -> tuple[str, str]:
        kind = self._common(a, b)
        if operator == "**":
            if kind == REAL and isinstance(b, Number) and b.value in (2, 3):
                factor = self._as(REAL, a)
                return REAL, "(" + " * ".join([factor] * int(b.value)) + ")"
            if kind != REAL:
                return DOUBLE, f"pow({self._as(DOUBLE, a)}, {self._as(DOUBLE, b)})"
            return REAL, f"real_pow({self._as(REAL, a)}, {self._as(REAL, b)})"
        if operator == "/" and kind == INTEGER:
            kind = DOUBLE
        if operator in ("//", "%"):
            if kind != INTEGER:
                raise ValueError(f"{operator} is for places only")
            operator = operator[0]
        code = f"({self._as(kind, a)} {operator} {self._as(kind, b)})"
        return (INTEGER if operator in _COMPARISONS else kind), code

    def _common(self, a: Node, b: Node) -> str:
        kinds = {self._expression(a)[0], self._expression(b)[0]}
        return next(kind for kind in (REAL, DOUBLE, INTEGER) if kind in kinds)

    def _address(self, read: Read) -> str:
        terms = []
        for index, stride in zip(read.index, self.operands[read.operand].strides, strict=True):
            if not isinstance(index, Axis):
                terms.append(_times(self._as(INTEGER, index), stride))
        return " + ".join([*terms, *self._terms(self.strides[read])]) or "0"

    def _offset(self, steps: Mapping[str, Extent]) -> str:
        return " + ".join(self._terms(steps)) or "0"

    def _terms(self, steps: Mapping[str, Extent]) -> Iterator[str]:
        return (_times(self.place[axis], stride) for axis, stride in steps.items())

    # --- lines ---

    def _line(self, text: str) -> None:
        self.lines.append("  " * self.depth + text)

    def _open(self, text: str) -> None:
        self._line(text)
        self.depth += 1

    def _loop(self, axis: str) -> None:
        self.place[axis] = axis
        self._open(f"for (int64_t {axis} = 0; {axis} < {self.sizes[axis]}; {axis}++) {{")

    def _close(self) -> None:
        self.depth -= 1
        self._line("}")


def _outermost(node: Node) -> Iterator[Reduce]:
    if isinstance(node, Reduce):
        yield node
        return
    for child in children(node):
        yield from _outermost(child)


def _counted(body: Node) -> frozenset[str]:
    """The axes whose place is used as a number, or whose length is."""

    def visit(node: Node, direct: bool) -> Iterator[str]:
        match node:
            case Axis(name):
                if not direct:
                    yield name
            case Size(axis):
                yield axis
            case Read(_, index):
                for part in index:
                    yield from visit(part, isinstance(part, Axis))
            case _:
                for child in children(node):
                    yield from visit(child, False)

    return frozenset(visit(body, False))


def _constant(value: float) -> tuple[str, str]:
    if not isfinite(value):
        return DOUBLE, "INFINITY" if value > 0 else "(-INFINITY)"
    if float(value).is_integer() and abs(value) < 2**53:
        return INTEGER, str(int(value))
    return DOUBLE, repr(float(value))


def _times(code: str, stride: Extent) -> str:
    return code if stride == ONE else f"{code} * {stride}"


_START = {"sum": "0", "mean": "0", "max": "-INFINITY"}
_COMPARISONS = ("<", "<=", ">", ">=", "==", "!=")
