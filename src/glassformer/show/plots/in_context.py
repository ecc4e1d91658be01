"""Learning from the prompt as pictures: surprise by position, induction by head, examples."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from glassformer.show.plots.style import (
    BLUE,
    FAINT,
    GREEN,
    INK,
    LABEL,
    ORANGE,
    PROBABILITY,
    TICK,
    name_axes,
    new_figure,
    note,
    open_frame,
    title,
)

COLORS = (BLUE, ORANGE, GREEN, "#CC79A7", "#E69F00", "#56B4E9", INK, FAINT)  # Okabe and Ito 2008
MARKERS = "osD^vP*X"


def draw_repeats(loss: np.ndarray, n: int, first: float, second: float) -> Figure:
    """Mean surprise [pos] at each token after the first of `n` random tokens and the same again."""
    figure = new_figure(12, 6.4)
    axes = figure.subplots()
    positions = np.arange(1, len(loss) + 1)
    axes.axvspan(n - 0.5, 2 * n - 0.5, color="#eef4fa", zorder=0)
    axes.plot(positions, loss, color=BLUE, linewidth=2.2, marker="o", markersize=4)
    axes.hlines(first, 1, n - 1, colors=FAINT, linestyles="--", linewidth=2)
    axes.hlines(second, n + 1, 2 * n - 1, colors=ORANGE, linestyles="--", linewidth=2)
    top = max(float(loss.max()), first) * 1.18
    axes.text(1, top * 0.97, f"new: mean {first:.3f}", size=TICK, color=INK, va="top")
    axes.text(
        n, top * 0.97, f"the same again: mean {second:.3f}", size=TICK, color=ORANGE, va="top"
    )
    axes.set_ylim(0, top)
    axes.set_xlim(0.5, 2 * n - 0.5)
    name_axes(axes, "position of the token in the text", "surprise (nats)")
    open_frame(axes)
    title(figure, f"{n} random tokens, then the same {n}: what was learned from the first time?")
    return figure


def draw_loss_by_position(loss: Sequence[float], texts: int) -> Figure:
    """Mean surprise [pos] at each token of some texts; tokens before it are what it knows."""
    figure = new_figure(12, 6.4)
    axes = figure.subplots()
    axes.plot(np.arange(1, len(loss) + 1), loss, color=BLUE, linewidth=2.2)
    axes.set_ylim(bottom=0)
    name_axes(axes, "position of the token in the text", "surprise (nats)")
    open_frame(axes)
    note(figure, f"mean of {texts} fresh Storyland texts")
    title(figure, "Surprise by position: is a text easier once more of it is known?")
    return figure


def draw_induction(scores: np.ndarray, uniform: float) -> Figure:
    """Induction score [layer, head] as a map."""
    n_layers, n_heads = scores.shape
    figure = new_figure(max(0.95 * n_heads + 3.2, 8.4), max(0.8 * n_layers + 2.6, 4.4))
    axes = figure.subplots()
    image = axes.imshow(scores, cmap=PROBABILITY, vmin=0, vmax=1, aspect="auto")
    if n_heads <= 16:
        for (layer, head), score in np.ndenumerate(scores):
            color = "white" if score > 0.55 else INK
            axes.text(head, layer, f"{score:.2f}", ha="center", va="center", size=12, color=color)
    axes.set_xticks(range(n_heads))
    axes.set_yticks(range(n_layers))
    axes.tick_params(labelsize=TICK, length=0, colors=INK)
    axes.spines[:].set_visible(False)
    axes.set_xlabel("head", fontsize=LABEL, color=INK)
    axes.set_ylabel("layer", fontsize=LABEL, color=INK)
    bar = figure.colorbar(image, ax=axes, shrink=0.8, pad=0.02)
    bar.set_label("induction score", fontsize=LABEL, color=INK)
    bar.ax.tick_params(labelsize=TICK)
    note(
        figure,
        f"attention to what followed the last time; looking at all alike scores {uniform:.3f}",
    )
    title(figure, "Which heads look at what came next last time?")
    return figure


def draw_examples(curves: Mapping[str, Sequence[tuple[int, float]]]) -> Figure:
    """Accuracy by the number of examples in the text, one line per pattern."""
    figure = new_figure(12, 6.8)
    axes = figure.subplots()
    for i, (pattern, points) in enumerate(curves.items()):
        positions, shares = zip(*points, strict=True)
        color, marker = COLORS[i % len(COLORS)], MARKERS[i % len(MARKERS)]
        axes.plot(
            positions,
            shares,
            color=color,
            marker=marker,
            linewidth=2.2,
            markersize=7,
            label=pattern,
        )
    axes.set_ylim(0, 1.03)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    name_axes(axes, "examples in the text before", "answers that were the best guess")
    open_frame(axes)
    axes.legend(fontsize=LABEL - 2, frameon=True, framealpha=0.92, edgecolor="none")
    title(figure, "Learning a fresh pattern from examples in the text")
    return figure
