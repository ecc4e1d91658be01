"""Every gradient and every change of a small model: for each weight two grids, side by side."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from glassformer.show.matrix import signed_style
from glassformer.show.sheet import QUIET, Part, Sheet
from glassformer.show.table import GAP
from glassformer.show.values import array, axis_labels
from glassformer.trace import Trace

CELL = 5  # a space, a sign, three digits
BETWEEN = " │"
ZERO = "."
NEGLIGIBLE = 1e-3
"""No grid has a unit smaller than this share of the largest gradients': less is 0 to all others."""


@dataclass(frozen=True)
class Grid:
    """A weight's gradients and its changes [row, column]; a bias is one more of them."""

    title: str
    rows: list[str]
    columns: list[str]
    gradients: np.ndarray
    changes: np.ndarray

    @property
    def label_width(self) -> int:
        return max(map(len, self.rows))

    @property
    def width(self) -> int:
        return self.label_width + 2 * CELL * len(self.columns) + len(BETWEEN)

    @property
    def height(self) -> int:
        return 2 + len(self.rows)

    def parts(self, most: int) -> list[Grid]:
        """The grid in as many ranges of columns as it takes to be no wider than `most`."""
        n = max((most - self.label_width - len(BETWEEN)) // (2 * CELL), 1)
        return [
            Grid(
                self.title,
                self.rows,
                self.columns[start : start + n],
                self.gradients[:, start : start + n],
                self.changes[:, start : start + n],
            )
            for start in range(0, len(self.columns), n)
        ]

    def lines(self, least: float, unit: float) -> list[list[Part]]:
        """Title, column labels, rows; each line exactly `width` wide.

        `least`: the smallest unit of gradients; `unit`: that of the changes.
        """
        gradient_unit = max(_unit(self.gradients), least)
        title = f"{self.title}  x{gradient_unit:.0e}".replace("e-0", "e-")
        labels = "".join(f"{label[: CELL - 1]:>{CELL}}" for label in self.columns)
        head = " " * self.label_width + labels
        lines: list[list[Part]] = [
            [(title[: self.width].ljust(self.width), "bold")],
            [(head, QUIET), BETWEEN, (labels, QUIET)],
        ]
        for row, label in enumerate(self.rows):
            left = [_cell(value, gradient_unit) for value in self.gradients[row].tolist()]
            right = [_cell(value, unit) for value in self.changes[row].tolist()]
            lines.append([(label.ljust(self.label_width), QUIET), *left, BETWEEN, *right])
        return lines


def print_grids(trace: Trace, names: Sequence[str], sheet: Sheet) -> None:
    """Print the grids of these weights, as many beside each other as fit."""
    grids = [part for grid in grids_of(trace, names) for part in grid.parts(sheet.width)]
    unit = _unit(*(grid.changes for grid in grids))
    least = _unit(*(grid.gradients for grid in grids)) * NEGLIGIBLE
    sheet.prose(
        "Left of each line the gradient, in the unit of its title (x1e-3: thousandths); right of it"
        f" the change, in units of {unit:g}. 0 is less than half a unit, a dot exactly zero; b is"
        " the bias.",
        QUIET,
    )
    shelf: list[Grid] = []
    for grid in grids:
        if shelf and sum(g.width + GAP for g in shelf) + grid.width > sheet.width:
            _print_shelf(shelf, least, unit, sheet)
            shelf = []
        shelf.append(grid)
    _print_shelf(shelf, least, unit, sheet)


def grids_of(trace: Trace, names: Sequence[str]) -> list[Grid]:
    """A grid for each matrix with its bias, and for each vector that has no matrix."""
    biases = {name: name.replace(".W_", ".b_") for name in names if ".W_" in name}
    attached = {bias for bias in biases.values() if bias in names}
    grids = []
    for name in names:
        if name not in attached:
            bias = biases.get(name)
            grids += _grids(trace, name, bias if bias in attached else None)
    return grids


def _grids(trace: Trace, name: str, bias: str | None) -> list[Grid]:
    """One grid, or one for each head."""
    axes = trace.nodes[f"weight/{name}"].axes
    if "head" not in axes:
        return [_grid(trace, name, bias, None)]
    n = trace.nodes[f"weight/{name}"].shape[axes.index("head")]
    return [_grid(trace, name, bias, head if n > 1 else 0, n > 1) for head in range(n)]


def _grid(
    trace: Trace, name: str, bias: str | None, head: int | None, several: bool = False
) -> Grid:
    axes, gradients = _slice(trace, f"bwd/{name}", head)
    changes = _slice(trace, f"opt/{name}.change", head)[1]
    if len(axes) < 2:
        axes = (axes[0] if axes else "", "")
        gradients, changes = gradients.reshape(-1, 1), changes.reshape(-1, 1)
    elif gradients.shape[1] > gradients.shape[0]:  # the longer axis goes down
        axes, gradients, changes = axes[::-1], gradients.T, changes.T
    rows = [label.strip() for label in axis_labels(trace, axes[0], len(gradients))]
    columns = [str(i) for i in range(gradients.shape[1])] if axes[1] else [""]
    short = name.removeprefix("blocks.")
    title = f"{short} head {head}" if several else short
    if bias is not None:
        (axis, *_), g = _slice(trace, f"bwd/{bias}", head)
        c = _slice(trace, f"opt/{bias}.change", head)[1]
        if axis == axes[1]:
            rows = [*rows, "b"]
            gradients, changes = np.vstack([gradients, g]), np.vstack([changes, c])
        else:
            columns = [*columns, "b"]
            gradients, changes = np.column_stack([gradients, g]), np.column_stack([changes, c])
    return Grid(title, rows, columns, gradients, changes)


def _slice(trace: Trace, path: str, head: int | None) -> tuple[tuple[str, ...], np.ndarray]:
    """A value without its head axis."""
    node = trace.nodes[path]
    value = array(trace, node)
    if head is None or "head" not in node.axes:
        return node.axes, value
    axis = node.axes.index("head")
    return node.axes[:axis] + node.axes[axis + 1 :], value.take(head, axis)


def _unit(*arrays: np.ndarray) -> float:
    """The power of ten in which the largest number has three digits."""
    finite = [np.abs(values[np.isfinite(values)]) for values in arrays]
    largest = max((float(values.max()) for values in finite if values.size), default=0.0)
    if not largest:
        return 1.0
    power = math.floor(math.log10(largest)) - 2
    return 10.0 ** (power + (round(largest / 10.0**power) >= 1000))


def _cell(value: float, unit: float) -> Part:
    units = round(value / unit) if math.isfinite(value) else value
    text = ZERO if value == 0 else str(units)
    return f"{text:>{CELL}}", signed_style(value)


def _print_shelf(shelf: Sequence[Grid], least: float, unit: float, sheet: Sheet) -> None:
    height = max(grid.height for grid in shelf)
    columns = [grid.lines(least, unit) for grid in shelf]
    for row in range(height):
        parts: list[Part] = []
        for grid, lines in zip(shelf, columns, strict=True):
            parts += lines[row] if row < len(lines) else [" " * grid.width]
            parts.append(" " * GAP)
        sheet.line(*parts)
