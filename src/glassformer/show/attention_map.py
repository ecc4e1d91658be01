"""Attention as text: rows are the tokens that look, columns the tokens that are looked at."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from glassformer.formula.spelling import number
from glassformer.show.fold import Fold
from glassformer.show.matrix import INDENT, ROWS_HEAD, ROWS_TAIL, label_width, signed_style
from glassformer.show.sheet import QUIET, Part, Sheet
from glassformer.show.values import why_masked

SHADES = ((0.75, "█"), (0.5, "▓"), (0.25, "▒"), (0.05, "░"), (0.0, " "))
HUE = ("color(60)", "color(61)", "color(62)", "color(99)", "color(135)")  # one hue, violet
MASKED = "╱"
NUMBER_WIDTH = 9  # columns of one weight: a space, its shade, its number
SHADED_HEAD, SHADED_TAIL = 32, 8
SHADE_WIDTH = 2  # columns of one weight by its shade alone


def shade(weight: float) -> str:
    """The block that stands for a weight between 0 and 1.

    >>> [shade(weight) for weight in (1, 0.6, 0.3, 0.1, 0.01)]
    ['█', '▓', '▒', '░', ' ']
    """
    return next((block for least, block in SHADES if weight >= least), "?")


def legend(masked: np.ndarray) -> str:
    """What the blocks mean, where these cells [query, key] are masked."""
    summary = [f"{block} {least:g} or more" for least, block in reversed(SHADES[:-1])]
    return "  ".join(
        [*summary, *([f"{MASKED} masked: {why_masked(masked)}"] if masked.any() else [])]
    )


def print_map(
    sheet: Sheet,
    weights: np.ndarray,
    masked: np.ndarray,
    labels: Sequence[str],
    everything: bool,
    signed: bool = False,
    beside: Sequence[np.ndarray] = (),
) -> list[str]:
    """Print [query, key]; return what was left out. `beside`: other heads, to get the same columns.

    Weights (probabilities) are shaded and have their number where it fits; scores (`signed`) are
    numbers only. With `everything` every number is printed, keys that do not fit below the others.
    """
    n_keys = weights.shape[1]
    width = label_width(sheet, ["query", *labels])
    space = sheet.width - len(INDENT) - width
    cells = _Cells(weights, masked, signed, beside)
    wide = cells.width
    numbers = everything or signed or n_keys * wide <= space
    rows = (ROWS_HEAD, ROWS_TAIL) if numbers else (SHADED_HEAD, SHADED_TAIL)
    queries = Fold.unfolded(len(weights)) if everything else Fold.of(len(weights), *rows)
    if everything or n_keys * wide <= space:
        per_panel = max(space // wide, 1)
        panels = [
            list(range(start, min(start + per_panel, n_keys)))
            for start in range(0, n_keys, per_panel)
        ]
        for panel in panels:
            _write(sheet, cells, labels, queries, panel, width, wide)
        return _said(queries)
    if signed or n_keys * SHADE_WIDTH > space:
        wide = wide if signed else SHADE_WIDTH
        fitting = max((space - SHADE_WIDTH) // wide, 2)
        keys = Fold(n_keys, fitting - fitting // 3, fitting // 3)
        _write(sheet, cells, labels, queries, keys.places, width, wide)
        return [*_said(queries), keys.summary("key"), *([] if signed else [NO_NUMBERS])]
    _write(sheet, cells, labels, queries, list(range(n_keys)), width, SHADE_WIDTH)
    return [*_said(queries), NO_NUMBERS]


NO_NUMBERS = "the weights as numbers are left out: they do not fit the width"


def _said(queries: Fold) -> list[str]:
    return [queries.summary("query")] if queries.missing else []


class _Cells:
    def __init__(
        self,
        weights: np.ndarray,
        masked: np.ndarray,
        signed: bool,
        beside: Sequence[np.ndarray],
    ) -> None:
        self.weights, self.masked, self.signed = weights, masked, signed
        shown = [value for matrix in (weights, *beside) for value in matrix[~masked].tolist()]
        widest = max(map(len, map(number, shown)), default=1)
        self.width = widest + 2 if signed else max(widest + 3, NUMBER_WIDTH)

    def part(self, query: int, key: int, width: int) -> Part:
        """One cell: hatched where masked, else its number, its shade, or both."""
        if self.masked[query, key]:
            mark = MASKED if width == SHADE_WIDTH else MASKED * 3
            return mark.rjust(width) if self.signed else f" {mark}".ljust(width), QUIET
        value = self.weights[query, key].item()
        if self.signed:
            return number(value).rjust(width), signed_style(value)
        block = shade(value)
        level = next((i for i, (_, b) in enumerate(reversed(SHADES)) if b == block), 0)
        text = f" {block}" if width == SHADE_WIDTH else f" {block}{number(value)}".ljust(width)
        return text, HUE[level]


def _write(
    sheet: Sheet,
    cells: _Cells,
    labels: Sequence[str],
    queries: Fold,
    keys: Sequence[int | None],
    label_columns: int,
    width: int,
) -> None:
    head: list[Part] = [(sheet.cell("query", label_columns), QUIET)]
    for key in keys:
        if key is None:
            head.append((" " + sheet.clip("…", 1), QUIET))
        elif width == SHADE_WIDTH:  # the rows say which token the number is
            head.append((str(key)[-1].rjust(SHADE_WIDTH), QUIET))
        else:
            label = sheet.clip(labels[key], width - 1)
            head.append((" " + sheet.cell(label, width - 1, right=cells.signed), QUIET))
    sheet.line(INDENT, *head)
    for query in queries.places:
        if query is None:
            sheet.line(INDENT, (sheet.cell("…", label_columns), QUIET))
            continue
        parts: list[Part] = [sheet.cell(labels[query], label_columns)]
        for key in keys:
            parts.append("  " if key is None else cells.part(query, key, width))
        sheet.line(INDENT, *parts)
