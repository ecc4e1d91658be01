"""A table of words, numbers and bars that fits the sheet."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

from rich.cells import cell_len

from glassformer.formula.spelling import compared, number
from glassformer.show.matrix import signed_style
from glassformer.show.sheet import QUIET, Part, Sheet

INDENT = 2
GAP = 2
SHORTEST_BAR, LONGEST_BAR = 5, 25


@dataclass(frozen=True)
class Column:
    """A column's title; `most` is its width at most, None for as much as the others leave."""

    title: str
    right: bool = False
    most: int | None = 40


@dataclass(frozen=True)
class Bars:
    """A column of bars in the room that the words leave; its cells are numbers.

    With a negative number among them they go to both sides of a line, zero; nan has no bar. `total`
    is the number of the longest bar; 0: the largest finite one there is.
    """

    title: str = ""
    total: float = 0.0


Cell = Part | float


def signed(value: float, digits: int = 4) -> str:
    """A difference: its number with its sign.

    >>> signed(0.25), signed(-0.25), signed(0.0)
    ('+0.2500', '-0.2500', '0')
    """
    return f"+{number(value, digits)}" if value > 0 else number(value, digits)


def comparisons(before: Sequence[float], after: Sequence[float]) -> list[tuple[str, str, Part]]:
    """Rows of before, after, and their difference in its color, all as they add up."""
    styles = [signed_style(now - was) for was, now in zip(before, after, strict=True)]
    cells = zip(compared(before, after), styles, strict=True)
    return [(was, now, (change, style)) for (was, now, change), style in cells]


def difference(value: float, digits: int = 4) -> Part:
    """A difference in its color."""
    return signed(value, digits), signed_style(value)


def print_table(
    sheet: Sheet, columns: Sequence[Column | Bars], rows: Sequence[Sequence[Cell]]
) -> None:
    """Print rows under titles; words that are too wide are cut, bars take what is left."""
    widths = _widths(sheet, columns, rows)
    head = [_word(sheet, c.title, width, c) for c, width in zip(columns, widths, strict=True)]
    sheet.line(" " * INDENT, ((" " * GAP).join(head), QUIET))
    bars = {
        # a column of bars holds numbers alone
        i: _Scale([float(cast("float", row[i])) for row in rows], widths[i], column.total)
        for i, column in enumerate(columns)
        if isinstance(column, Bars)
    }
    for row in rows:
        parts: list[Part] = []
        for i, (cell, column) in enumerate(zip(row, columns, strict=True)):
            if isinstance(cell, (int, float)):
                parts.append((bars[i].bar(cell), signed_style(cell)))
            else:
                text, style = cell if isinstance(cell, tuple) else (cell, "")
                parts.append((_word(sheet, text, widths[i], column), style))
        sheet.line(" " * INDENT, *_spaced(parts))


def _widths(
    sheet: Sheet, columns: Sequence[Column | Bars], rows: Sequence[Sequence[Cell]]
) -> list[int]:
    widths = []
    for i, column in enumerate(columns):
        if isinstance(column, Bars):
            widths.append(0)
            continue
        texts = [_text(row[i]) for row in rows] + [column.title]
        widest = max(cell_len(sheet.spell(text)) for text in texts)
        widths.append(widest if column.most is None else min(widest, column.most))
    budget = sheet.width - INDENT - GAP * (len(columns) - 1) - sum(widths)
    for i, column in enumerate(columns):
        if isinstance(column, Bars):
            widths[i] = min(max(budget, SHORTEST_BAR), LONGEST_BAR)
            budget -= widths[i]
    for i, column in enumerate(columns):
        if budget < 0 and isinstance(column, Column) and column.most is None:
            widths[i] = max(widths[i] + budget, cell_len(column.title))
    return widths


def _text(cell: Cell) -> str:
    return cell if isinstance(cell, str) else cell[0] if isinstance(cell, tuple) else ""


def _word(sheet: Sheet, text: str, width: int, column: Column | Bars) -> str:
    return sheet.cell(text, width, right=isinstance(column, Column) and column.right)


def _spaced(parts: Sequence[Part]) -> list[Part]:
    spaced: list[Part] = []
    for part in parts:
        spaced += [" " * GAP, part] if spaced else [part]
    return spaced


class _Scale:
    """Numbers to bars of one scale."""

    def __init__(self, values: Sequence[float], width: int, total: float) -> None:
        largest = max((abs(v) for v in values if math.isfinite(v)), default=0.0)
        self.largest = total or largest or 1.0
        self.two_sided = any(v < 0 for v in values)
        self.width = (width - 1) // 2 if self.two_sided else width

    def bar(self, value: float) -> str:
        share = 0.0 if math.isnan(value) else min(abs(value) / self.largest, 1.0)
        bar = "█" * round(self.width * share)
        if not self.two_sided:
            return bar.ljust(self.width)
        left, right = (bar, "") if value < 0 else ("", bar)
        return f"{left:>{self.width}}│{right:<{self.width}}"
