"""The loss curve: how surprised the model still is, beside what is known without learning."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from glassformer.errors import GlassformerError
from glassformer.metrics import Loss, Row
from glassformer.show.plots.style import (
    BLUE,
    FAINT,
    GREEN,
    LABEL,
    ORANGE,
    name_axes,
    new_figure,
    open_frame,
    title,
)

SMOOTHED_FROM = 60  # steps from which on a running mean is drawn over the single losses


def draw_loss(rows: Sequence[Row]) -> Figure:
    """Training and held-out loss by step; the floor and the guesses of no model, where known."""
    train = _series(rows, "loss")
    held_out, all_text = _series(rows, "val_loss"), _series(rows, "text_loss")
    if not len(train) and not len(held_out) and not len(all_text):
        raise GlassformerError("the run's metrics hold no loss; train it for a step or more")
    figure = new_figure(13, 7.3)
    axes = figure.subplots()
    if len(train):
        single = len(train) < SMOOTHED_FROM
        axes.plot(*train.T, color=BLUE, alpha=1 if single else 0.25, linewidth=2 if single else 1)
        shown = train if single else _running_mean(train)
        width = _window(len(train))
        summary = "training" if single else f"training, mean of {width} steps"
        axes.plot(*shown.T, color=BLUE, linewidth=2.6, label=f"{summary}: {shown[-1, 1]:.3f}")
    for measured, what in ((held_out, "held-out text"), (all_text, "the whole text")):
        if len(measured):
            label = f"{what}: {measured[-1, 1]:.3f}"
            axes.plot(
                *measured.T, color=ORANGE, linestyle="", marker="o", label=label, clip_on=False
            )
    guesses: tuple[tuple[Loss, str, str, str], ...] = (
        ("floor", "floor of the held-out text, the best that any model can do", GREEN, "--"),
        ("unigram_loss", "guess by how often each token occurs", FAINT, ":"),
        ("uniform_loss", "guess that knows nothing", FAINT, "-."),
    )
    for key, summary, color, dash in guesses:
        known = _series(rows, key)
        if len(known):
            value = known[-1, 1]
            label = f"{summary}: {value:.3f}"
            axes.axhline(value, color=color, linestyle=dash, linewidth=2.2, label=label)
    name_axes(axes, "training step", "loss (nats per token)")
    open_frame(axes)
    axes.set_ylim(bottom=0)
    axes.set_xlim(left=0)
    axes.legend(fontsize=LABEL - 2, frameon=True, framealpha=0.92, edgecolor="none")
    title(figure, "Learning: how surprised the model is by the next token")
    return figure


def _series(rows: Sequence[Row], key: Loss) -> np.ndarray:
    """[n, 2]: step and value of every row that has this loss."""
    values = ((row["step"], row.get(key)) for row in rows)
    points = [(step, value) for step, value in values if value is not None]
    return np.array(points, dtype=float).reshape(-1, 2)


def _window(n: int) -> int:
    return max(n // 50 // 2 * 2 + 1, 5)


def _running_mean(series: np.ndarray) -> np.ndarray:
    """The mean over the steps around each one, fewer at the ends: it doesn't lag."""
    side = _window(len(series)) // 2
    sums = np.concatenate([[0.0], np.cumsum(series[:, 1])])
    at = np.arange(len(series))
    first, last = np.maximum(at - side, 0), np.minimum(at + side, len(series) - 1)
    means = (sums[last + 1] - sums[first]) / (last + 1 - first)
    return np.stack([series[:, 0], means], -1)
