"""Two replies beside each other, and which of them a model prefers, before a step and after it."""

from __future__ import annotations

from glassformer.formula.spelling import compared, number
from glassformer.show.sheet import QUIET, Sheet
from glassformer.show.surprise import chance
from glassformer.show.table import Bars, Cell, Column, comparisons, print_table
from glassformer.trace import Trace

REPLIES = ("chosen", "rejected")


def is_of_pairs(trace: Trace) -> bool:
    """Whether replies are compared in a trace."""
    return "fwd/preference" in trace.nodes


def print_pair(trace: Trace, sheet: Sheet) -> None:
    """How surprising each reply is, by how much less than to the reference, and the preference."""
    sheet.title("Before: how surprising each reply is, and which is preferred")
    surprises = [float(x) for x in trace["fwd/reply_surprise"]]
    references = [float(x) for x in trace["const/reference"]]
    probabilities = [float(x) for x in trace["fwd/preference"].flatten()]
    printed = compared(surprises, references)
    rows: list[list[Cell]] = [
        [name, *cells, chance(probability)]
        for name, cells, probability in zip(REPLIES, printed, probabilities, strict=True)
    ]
    titles = ("surprise", "the reference's", "gain", "preferred")
    print_table(sheet, [Column("reply"), *(Column(title, right=True) for title in titles)], rows)
    beta = number(float(trace["const/beta"][0]))
    sheet.prose(
        f"A surprise is that at all tokens of a reply, in nats. A reply's score is its gain times"
        f" beta, {beta}; the scores' softmax says which is preferred.",
        QUIET,
        indent=2,
    )
    loss = trace["fwd/loss"].item()
    sheet.prose(
        f"The loss, the surprise at the chosen one: {number(loss)} nats (fwd/loss).", indent=2
    )


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
