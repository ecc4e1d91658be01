"""One lesson again and again: how probable what was asked becomes."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from glassformer.show.plots.style import (
    BLUE,
    FAINT,
    INK,
    LABEL,
    drawable,
    name_axes,
    new_figure,
    open_frame,
    title,
)
from glassformer.show.surprise import chance


def draw_learning(
    updates: Sequence[int], probs: Sequence[float], token: str, guess: float
) -> Figure:
    """The probability of what is asked after each update; `guess` is one of the whole vocabulary.

    asked: the token's text.
    """
    figure = new_figure(11, 6.2)
    axes = figure.subplots()
    axes.plot(updates, probs, color=BLUE, linewidth=2.6, marker="o", markersize=5, clip_on=False)
    axes.axhline(guess, color=FAINT, linestyle=":", linewidth=2)
    summary = f"a guess that knows nothing: {chance(guess, 3)}"
    axes.text(updates[-1], guess + 0.015, summary, size=LABEL - 2, color=INK, ha="right")
    axes.set_ylim(0, 1)
    axes.set_xlim(updates[0], updates[-1])
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    name_axes(axes, "updates", f"probability of {drawable(token)}")
    axes.yaxis.label.set_parse_math(False)
    open_frame(axes)
    title(figure, "The same lesson, again and again")
    return figure
