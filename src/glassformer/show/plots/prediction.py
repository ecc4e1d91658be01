"""The next token as a picture: a bar for each of the most probable ones."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure

from glassformer.errors import GlassformerError
from glassformer.show.plots.style import (
    INK,
    TICK,
    as_written,
    drawable,
    name_axes,
    new_figure,
    note,
    open_frame,
    title,
)
from glassformer.show.prediction import BEST, NO_NUMBERS, best_tokens
from glassformer.show.surprise import with_rest
from glassformer.show.values import probabilities
from glassformer.trace import Trace
from glassformer.trace.predicted import asked_pos, sees_both_ways

BAR = "#6f42ad"


def draw_next_token(trace: Trace) -> Figure:
    """The most probable tokens after the last one, and what all others have together."""
    probs = probabilities(trace)
    if probs is None:
        raise GlassformerError("the trace holds no logits; watch with keep='*'")
    at, here = asked_pos(trace, len(probs)), sees_both_ways(trace)
    last = probs[at]
    if not np.isfinite(last).all():
        raise GlassformerError(f"{NO_NUMBERS} `glassformer trace` shows where the numbers overflow")
    tokens = best_tokens(last, BEST)
    words = trace.labels.get("vocab", ())
    names = [drawable(words[t], 24) if t < len(words) else f"id {t}" for t in tokens]
    values = [float(last[token]) for token in tokens]
    figure = new_figure(12, 0.55 * len(names) + 2.2)
    axes = figure.subplots()
    positions = range(len(names))
    axes.barh(positions, values, color=BAR, height=0.72)
    axes.set_yticks(positions, names)
    axes.invert_yaxis()
    longest = max(values)
    texts, rest = with_rest(last[tokens])
    for index, value, text in zip(positions, values, texts, strict=True):
        end = value + 0.012 * longest
        axes.text(end, index, text, va="center", size=TICK, color=INK)
    axes.set_xlim(0, min(longest * 1.14, 1.14))
    name_axes(
        axes, "probability of standing here" if here else "probability of being the next token", ""
    )
    open_frame(axes)
    axes.grid(visible=False, axis="y")
    axes.tick_params(axis="y", length=0)
    as_written(axes.get_yticklabels())
    if len(tokens) < len(last):
        note(figure, f"the other {len(last) - len(tokens):,} tokens together: {rest}")
    question = (
        f"What stands at token {at}?"
        if here
        else f"What comes after “{_end_of_text(trace, len(probs))}”?"
    )
    title(figure, question)
    return figure


def _end_of_text(trace: Trace, n: int) -> str:
    words = trace.labels.get("pos", ())
    if len(words) < n:
        return f"token {n - 1}"
    text = "".join(words) if any(" " in word for word in words) else " ".join(words)
    return "…" + drawable(text[-44:], 60) if len(text) > 44 else drawable(text, 60)
