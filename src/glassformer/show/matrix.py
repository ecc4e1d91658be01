"""A matrix of recorded numbers as text, in the columns that there are."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from rich.cells import cell_len

from glassformer.formula.spelling import number
from glassformer.show.fold import Fold
from glassformer.show.sheet import NEGATIVE, POSITIVE, QUIET, Part, Sheet

INDENT = "  "
ROWS_HEAD, ROWS_TAIL = 12, 4
LABEL = 14  # columns at most for the label of a column
GAP = 2  # columns of space between two numbers
CANDIDATES = 40  # no terminal shows more columns of numbers from either end


def print_matrix(
    sheet: Sheet,
    matrix: np.ndarray,
    row_labels: Sequence[str],
    column_labels: Sequence[str],
    axes: tuple[str, str],
    everything: bool,
    beside: Sequence[np.ndarray] = (),
) -> list[str]:
    """Print [row, column]; return what was left out, a sentence per axis.

    With `everything`, columns that do not fit side by side follow below. `beside`: matrices that
    are shown with it and get the same columns, such as those of the other heads.
    """
    rows = Fold.unfolded(len(matrix)) if everything else Fold.of(len(matrix), ROWS_HEAD, ROWS_TAIL)
    width = label_width(sheet, [axes[0], *(row_labels[i] for i in rows.shown)])
    space = sheet.width - len(INDENT) - width
    table = _Table(sheet, matrix, rows, row_labels, column_labels, axes, width, beside)
    columns = Fold.unfolded(matrix.shape[1])
    if everything:
        for panel in table.panels(space):
            table.write(panel)
    else:
        columns = table.fitting(space)
        table.write(columns.places)
    return [said for said in (rows.summary(axes[0]), columns.summary(axes[1])) if said]


def label_width(sheet: Sheet, labels: Sequence[str]) -> int:
    """Columns for the labels of rows: as many as they need, at most a quarter of the width."""
    widest = max(cell_len(sheet.spell(label)) for label in labels)
    return min(widest, max(sheet.width // 4, 10))


def signed_style(value: float) -> str:
    return POSITIVE if value > 0 else NEGATIVE if value < 0 else ""


class _Table:
    def __init__(
        self,
        sheet: Sheet,
        matrix: np.ndarray,
        rows: Fold,
        row_labels: Sequence[str],
        column_labels: Sequence[str],
        axes: tuple[str, str],
        label_width: int,
        beside: Sequence[np.ndarray],
    ) -> None:
        self.sheet, self.matrix, self.rows = sheet, matrix, rows
        self.row_labels, self.column_labels, self.axes = row_labels, column_labels, axes
        self.label_width = label_width
        self.alike = [matrix, *beside]
        self._widths: dict[int, int] = {}

    def width(self, column: int) -> int:
        """Columns that this column needs, the gap before it included."""
        if column not in self._widths:
            numbers = [
                len(number(matrix[row, column].item()))
                for matrix in self.alike
                for row in self.rows.shown
            ]
            label = min(cell_len(self.sheet.spell(self.column_labels[column])), LABEL)
            self._widths[column] = GAP + max(label, *numbers)
        return self._widths[column]

    def fitting(self, space: int) -> Fold:
        """The first and last columns that fit, two from the front for one from the back."""
        n = self.matrix.shape[1]
        if n <= 2 * CANDIDATES and sum(map(self.width, range(n))) <= space:
            return Fold.unfolded(n)
        space -= GAP + 1  # the ellipsis
        head, tail = 1, 0
        space -= self.width(0)
        while head + tail < n:
            front = tail * 2 >= head - 1
            cost = self.width(head if front else n - 1 - tail)
            if cost > space:
                break
            space -= cost
            head, tail = head + front, tail + (not front)
        return Fold(n, head, tail)

    def panels(self, space: int) -> list[list[int | None]]:
        panels: list[list[int | None]] = [[]]
        left = space
        for column in range(self.matrix.shape[1]):
            if self.width(column) > left and panels[-1]:
                panels.append([])
                left = space
            panels[-1].append(column)
            left -= self.width(column)
        return panels

    def write(self, columns: Sequence[int | None]) -> None:
        sheet = self.sheet
        head: list[Part] = [(self._cell(self.axes[0]), QUIET)]
        for column in columns:
            label = "…" if column is None else self.column_labels[column]
            width = GAP + 1 if column is None else self.width(column)
            head.append((" " * GAP + sheet.cell(label, width - GAP, right=True), QUIET))
        sheet.line(INDENT, *head)
        for row in self.rows.places:
            if row is None:
                sheet.line(INDENT, (self._cell("…"), QUIET))
                continue
            parts: list[Part] = [self._cell(self.row_labels[row])]
            for column in columns:
                if column is None:
                    parts.append((" " * GAP + sheet.clip("…", 1), QUIET))
                    continue
                value = self.matrix[row, column].item()
                text = " " * (self.width(column) - len(number(value))) + number(value)
                parts.append((text, signed_style(value)))
            sheet.line(INDENT, *parts)

    def _cell(self, label: str) -> str:
        return self.sheet.cell(label, self.label_width)
