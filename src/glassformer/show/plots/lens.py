"""The logit lens as a picture: the best guess after each layer, and how sure it is."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from glassformer.errors import GlassformerError
from glassformer.show.plots.style import (
    INK,
    LABEL,
    PROBABILITY,
    TICK,
    as_written,
    drawable,
    new_figure,
    note,
    title,
)
from glassformer.show.prediction import best_tokens, token_name
from glassformer.trace import Trace

MOST_TOKENS = 24


def draw_lens(trace: Trace, points: Sequence[str], probs: Sequence[np.ndarray]) -> Figure:
    """One row per point of the stream, the first at the bottom; one column per token of the text.

    points: what was read; probs: its probabilities [pos, vocab]. Of a long text the last tokens
    are drawn.
    """
    if not points:
        raise GlassformerError("there is nothing to draw: the lens has looked at no point")
    n = len(probs[0])
    positions = list(range(max(n - MOST_TOKENS, 0), n))
    sure = np.array([[p[index].max() for index in positions] for p in probs])
    figure = new_figure(max(1.25 * len(positions) + 3.4, 7), max(0.62 * len(points) + 2.8, 4))
    axes = figure.subplots()
    image = axes.imshow(sure, cmap=PROBABILITY, vmin=0, vmax=1, aspect="auto", origin="lower")
    for row, p in enumerate(probs):
        for column, index in enumerate(positions):
            guess = drawable(token_name(trace, best_tokens(p[index], 1)[0]), 9)
            color = "white" if sure[row, column] > 0.55 else INK
            axes.text(
                column, row, guess, ha="center", va="center", size=12, color=color,
                parse_math=False,
            )  # fmt: skip
    words = trace.labels.get("pos", ())
    names = [
        drawable(words[index], 10) if index < len(words) else str(index) for index in positions
    ]
    axes.set_xticks(range(len(positions)), names, size=TICK)
    axes.set_yticks(range(len(points)), points, size=TICK)
    as_written([*axes.get_xticklabels(), *axes.get_yticklabels()])
    axes.tick_params(length=0, colors=INK)
    axes.spines[:].set_visible(False)
    axes.set_xlabel("after this token of the text", fontsize=LABEL, color=INK)
    axes.set_ylabel("read after", fontsize=LABEL, color=INK)
    bar = figure.colorbar(image, ax=axes, shrink=0.8, pad=0.02)
    bar.set_label("probability", fontsize=LABEL, color=INK)
    bar.ax.tick_params(labelsize=TICK)
    if positions[0]:
        note(
            figure,
            f"the last {len(positions)} of {n} tokens; the first {positions[0]} are left out",
        )
    title(figure, "What would the model say after each layer?")
    return figure
