"""Two replies beside each other, and which of them a model prefers, before a step and after it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import product

import numpy as np

from glassformer.formula.spelling import OPERAND_DIGITS, Fixed, compared, number, same
from glassformer.show.sheet import QUIET, Sheet
from glassformer.show.surprise import chance, read_chance
from glassformer.show.table import Bars, Cell, Column, comparisons, print_table
from glassformer.trace import Trace

REPLIES = ("chosen", "rejected")
LOSS_DIGITS = (4, 3, 2)


def is_of_pairs(trace: Trace) -> bool:
    """Whether replies are compared in a trace."""
    return "fwd/preference" in trace.nodes


def print_pair(trace: Trace, sheet: Sheet) -> None:
    """How surprising each reply is, by how much less than to the reference, and the preference."""
    sheet.title("Before: how surprising each reply is, and which is preferred")
    surprises = [float(x) for x in trace["fwd/reply_surprise"]]
    references = [float(x) for x in trace["const/reference"]]
    probabilities = [float(x) for x in trace["fwd/preference"].flatten()]
    beta, loss = trace["const/beta"][0].item(), trace["fwd/loss"].item()
    printed, said = pair_as_printed(surprises, references, beta, probabilities, loss)
    rows: list[list[Cell]] = [[name, *cells] for name, cells in zip(REPLIES, printed, strict=True)]
    titles = ("surprise", "the reference's", "gain", "preferred")
    print_table(sheet, [Column("reply"), *(Column(title, right=True) for title in titles)], rows)
    sheet.prose(
        f"A surprise is that at all tokens of a reply, in nats. A reply's score is its gain times"
        f" beta, {number(beta)}; the scores' softmax says which is preferred.",
        QUIET,
        indent=2,
    )
    sheet.prose(f"The loss, the surprise at the chosen one: {said} nats (fwd/loss).", indent=2)


def pair_as_printed(
    surprises: Sequence[float],
    references: Sequence[float],
    beta: float,
    probabilities: Sequence[float],
    loss: float,
) -> tuple[list[tuple[str, ...]], str]:
    """Rows of surprise, the reference's, gain and preference; and the loss, the first one's -log.

    Each has the fewest digits with which all that is said to follow from it does so as printed.

    >>> pair_as_printed([12.3, 30.04], [32.34, 30.1], 0.1, [0.880587, 0.119413], 0.127167)
    ([('12.30', '32.34', '+20.04', '0.8806'), ('30.04', '30.10', '+0.06', '0.1194')], '0.1272')
    """

    def rows_of(column: Fixed) -> list[tuple[str, str, str]]:
        return [column.compared(*pair) for pair in zip(surprises, references, strict=True)]

    def chances(shares: Sequence[float], digits: int) -> list[str]:
        return [chance(share, digits) for share in shares]

    def preferred(rows: list[tuple[str, str, str]]) -> list[float]:
        scores = np.array([float(number(beta)) * float(gain) for _, _, gain in rows])
        shares = np.exp(scores - scores.max())
        preferences: list[float] = (shares / shares.sum()).tolist()
        return preferences

    numbers = np.array([surprises, references])
    columns = Fixed.columns(numbers) if np.isfinite(numbers).all() else []
    tables = [(rows, preferred(rows)) for rows in map(rows_of, columns)]
    for of_loss, digits in product(LOSS_DIGITS, OPERAND_DIGITS):
        texts = chances(probabilities, digits)
        chosen = read_chance(texts[0])
        if not chosen or not same(-math.log(chosen), loss, of_loss):
            continue
        for rows, shares in tables:
            if chances(shares, digits) == texts:
                return _beside(rows, texts), number(loss, of_loss)
    rows = compared(surprises, references)
    return _beside(rows, chances(probabilities, OPERAND_DIGITS[0])), number(loss)


def _beside(rows: list[tuple[str, str, str]], texts: list[str]) -> list[tuple[str, ...]]:
    return [(*row, text) for row, text in zip(rows, texts, strict=True)]


def print_pair_after(trace: Trace, after: Trace, sheet: Sheet) -> None:
    """The same replies with the new weights, and the loss."""
    sheet.title("After: the same replies again, with the new weights")
    before, now = ([float(x) for x in one["fwd/preference"].flatten()] for one in (trace, after))
    rows: list[list[Cell]] = [
        [name, *cells, new - old]
        for name, cells, old, new in zip(
            REPLIES, comparisons(before, now), before, now, strict=True
        )
    ]
    titles = ("preferred before", "after", "difference")
    columns = [Column("reply"), *(Column(title, right=True) for title in titles)]
    print_table(sheet, [*columns, Bars()], rows)
    was, is_now, change = compared([trace["fwd/loss"].item()], [after["fwd/loss"].item()])[0]
    sheet.prose(f"The loss: {was} before, {is_now} after ({change}).", "bold", indent=2)
