"""Products with a matrix for several rows at once: it is read once for all of them.

A row gets the same numbers whichever rows come with it, and however many: the terms of its sums are
added in one order. Where they lie along the output's axis, every product and addition is spelled
out. Otherwise the compiler adds up a sum by parts, and four rows always go through the same
instructions: where there are no four, the last one stands in for those that are missing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

from glassformer.formula.nodes import Binary, Node, Read, Reduce, outermost, walk
from glassformer.formula.tree import Formula
from glassformer.generation.c_step.expressions import REAL
from glassformer.generation.c_step.lanes import has_lanes
from glassformer.generation.c_step.layout import Extent, Layout, lengths
from glassformer.generation.c_step.loops import Writer

MOST_ROWS = 32
"""Rows that are computed in one go."""

TOGETHER = 4
"""Rows whose sums are added to for each number of the matrix that is read."""

TERMS = 8
"""Terms that are added to each sum before the next sum's turn."""

ROW_TILE = 1024
"""Sums of each row that are kept at once: the matrix's part is long enough to come in one go."""

OUTPUTS = 16
"""Sums of some rows that are taken before the next rows' turn, where they lie along the matrix: the
rows' numbers then stay in the nearest cache, and the matrix's in the next one."""


def rows_function(
    name: str,
    formula: Formula,
    operands: Mapping[str, Layout],
    shape: tuple[Extent, ...],
    params: Mapping[str, float],
    matrices: frozenset[str],
) -> str | None:
    """A C function (out, operands by name, rows) of a product with `matrices`, shared by all rows.

    Row r of the output and of the other operands begins at r * ROW. None where it is no such
    product: then the rows come one by one.
    """
    sums = list(outermost(formula.body))
    extents = [*shape, *(extent for layout in operands.values() for extent in layout.shape)]
    if len(sums) != 1 or sums[0].kind == "max" or any(extent.symbolic for extent in extents):
        return None
    if any(layout.integer for layout in operands.values()):
        return None
    reads = {node.operand for node in walk(sums[0]) if isinstance(node, Read)}
    if not reads & matrices or not reads - matrices:
        return None
    sizes = lengths(formula, operands) | dict(zip(formula.axes, shape, strict=True))
    writer = _RowsWriter(formula, operands, sizes, params, matrices)
    inputs = "".join(f"const real *restrict {o}_, " for o in sorted(formula.operands))
    writer.code.open(f"NO_INLINE void {name}(real *restrict out, {inputs}int64_t rows) {{")
    writer.write_rows(sums[0])
    return "\n".join(writer.code.lines)


class _RowsWriter(Writer):
    """Writes the loops of one product for several rows."""

    def __init__(
        self,
        formula: Formula,
        operands: Mapping[str, Layout],
        sizes: dict[str, Extent],
        params: Mapping[str, float],
        matrices: frozenset[str],
    ) -> None:
        super().__init__(formula, operands, sizes, params)
        self._matrices = matrices
        self._of_row = "row0"  # the one that an expression is of

    def write_rows(self, reduce: Reduce) -> None:
        axes = self._coalesce_axes(self._formula.axes)
        for axis in axes[:-1]:
            self._loop(axis)
        if axes and self._is_unit_stride(reduce, axes[-1]):
            self._write_tiles(reduce, axes[-1])
        else:
            self._write_sums(reduce, axes[-1] if axes else None)
        while self.code.depth:
            self.code.close()

    def _base(self, operand: str) -> str:
        return "" if operand in self._matrices else f"{self._of_row} * ROW + "

    def _each_row(self, rows: int, statement: Callable[[int], str]) -> None:
        for k in range(rows):
            self._of_row = f"row{k}"
            self.code.line(statement(k))

    def _write_sums(self, reduce: Reduce, along: str | None) -> None:
        """Numbers of each row, along the output's last axis; each sum is taken at once."""
        axes, term = self._over(reduce)
        if along is not None:
            size = self._sizes[along]
            self.code.open(f"for (int64_t start = 0; start < {size}; start += {OUTPUTS}) {{")
            self.code.line(
                f"int64_t end = {size} - start < {OUTPUTS} ? {size} : start + {OUTPUTS};"
            )
        self.code.open(f"for (int64_t block = 0; block < rows; block += {TOGETHER}) {{")
        for k in range(TOGETHER):
            present = f"block + {k} < rows ? block + {k} : rows - 1"
            self.code.line(f"int64_t row{k} = {present};")
        if along is not None:
            self._index[along] = along
            self.code.open(f"for (int64_t {along} = start; {along} < end; {along}++) {{")
        if axes and has_lanes(self._sizes[axes[-1]]):
            rows = range(TOGETHER)
            self._emit_lanes(axes, {f"sum{k}": partial(self._term, term, k) for k in rows})
            self._store_rows(TOGETHER, reduce, "sum{}")
            return
        for k in range(TOGETHER):
            self.code.line(f"real sum{k} = 0;")
        for axis in axes:
            if axis == axes[-1]:
                totals = ", ".join(f"sum{k}" for k in range(TOGETHER))
                self.code.line(f"#pragma omp simd reduction(+:{totals})")
            self._loop(axis)
        self._each_row(TOGETHER, lambda k: f"sum{k} = sum{k} + {self._as(REAL, term)};")
        for _ in axes:
            self.code.close()
        self._store_rows(TOGETHER, reduce, "sum{}")

    def _term(self, term: Node, row: int) -> str:
        self._of_row = f"row{row}"
        return self._as(REAL, term)

    def _write_tiles(self, reduce: Reduce, axis: str) -> None:
        """Sums along the output's last axis, a tile of it at once for all rows."""
        axes, term = self._over(reduce)
        size = self._sizes[axis].times
        width, length = min(ROW_TILE, size), str(size)
        self._index[axis] = axis
        if size > ROW_TILE:
            self.code.open(f"for (int64_t start = 0; start < {size}; start += {ROW_TILE}) {{")
            self.code.line(
                f"int64_t end = {size} - start < {ROW_TILE} ? {size} - start : {ROW_TILE};"
            )
            self._index[axis], length = f"(start + {axis})", "end"
        each = f"for (int64_t {axis} = 0; {axis} < {length}; {axis}++) {{"
        self.code.line(f"real sums[{MOST_ROWS}][{width}];")
        self.code.line("for (int64_t row = 0; row < rows; row++)")
        self.code.line(f"  memset(sums[row], 0, {length} * sizeof(real));")
        for outer in axes[:-1]:
            self._loop(outer)
        last = axes[-1] if axes else reduce.axis
        count = self._sizes[last].times
        self.code.line("int64_t first = 0;")
        for ahead in (TERMS,) if count % TERMS == 0 else (TERMS, 1):
            self.code.open(f"for (; first + {ahead} <= {count}; first += {ahead}) {{")
            added = partial(self._add_terms, last, term, ahead, axis)
            self._in_blocks(each, lambda rows, added=added: self._each_row(rows, added))
            self.code.close()
        for _ in axes[:-1]:
            self.code.close()
        total = f"sums[block + {{}}][{axis}]"
        self._in_blocks(each, lambda rows: self._store_rows(rows, reduce, total))

    def _in_blocks(self, each: str, write: Callable[[int], None]) -> None:
        """All rows: some side by side, and one by one those that are left."""
        self.code.open("{")
        self.code.line("int64_t block = 0;")
        for rows in (TOGETHER, 1):
            self.code.open(f"for (; block + {rows} <= rows; block += {rows}) {{")
            for k in range(rows):
                self.code.line(f"int64_t row{k} = block + {k};")
            self.code.line("#pragma omp simd")
            self.code.open(each)
            write(rows)
            self.code.close()
            self.code.close()
        self.code.close()

    def _add_terms(self, last: str, term: Node, ahead: int, axis: str, k: int) -> str:
        total = partial = f"sums[block + {k}][{axis}]"
        for n in range(ahead):
            self._index[last] = f"(first + {n})"
            match term:
                case Binary("*", a, b):
                    total = f"multiply_add({self._as(REAL, a)}, {self._as(REAL, b)}, {total})"
                case _:
                    total = f"({total} + {self._as(REAL, term)})"
        return f"{partial} = {total};"

    def _store_rows(self, rows: int, reduce: Reduce, total: str) -> None:
        def stored(k: int) -> str:
            self._sums[reduce] = self._shared(reduce, total.format(k))
            value = self._as(REAL, self._formula.body)
            return f"out[{self._of_row} * ROW + {self._offset(self._out)}] = {value};"

        self._each_row(rows, stored)
