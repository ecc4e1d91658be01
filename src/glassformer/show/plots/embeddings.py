"""The embedding map: every token's vector along the two directions in which they differ most."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.transforms import Bbox

from glassformer.errors import GlassformerError
from glassformer.show.plots.style import (
    INK,
    LABEL,
    ORANGE,
    drawable,
    name_axes,
    new_figure,
    note,
    title,
)
from glassformer.show.prediction import best_tokens
from glassformer.show.values import array, probabilities
from glassformer.trace import Trace
from glassformer.trace.predicted import asked_pos

TABLE = "weight/embed.W_E"
MOST_LABELS = 90
CANDIDATES = 300  # tokens tried for a label
MANY = 24  # tokens of a prompt, from where on their names are smaller
PROBABLE = 20  # of the next token's candidates, named before others
Side = Literal["left", "center", "right"]
_BESIDE: list[
    tuple[int, int, Side]
] = [  # points from the dot, and the side of the text that is there
    (7, 0, "left"),
    (-7, 0, "right"),
    (0, 12, "center"),
    (0, -12, "center"),
    (6, 10, "left"),
    (-6, 10, "right"),
    (6, -10, "left"),
    (-6, -10, "right"),
]
_FAR: list[tuple[int, int, Side]] = [  # with a line to the dot
    (x * far, y * far, "left" if x > 0 else "right" if x < 0 else "center")
    for far in (24, 38, 54)
    for x, y in ((1, 1), (-1, 1), (1, -1), (-1, -1), (0, 1), (0, -1), (1, 0), (-1, 0))
]


def principal_plane(table: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Coordinates [row, 2] along the two directions of most variance, and their shares of it.

    From the eigenvectors of the covariance [d, d]; each direction's sign is such that its largest
    entry is positive. Source: Pearson 1901.

    >>> at, share = principal_plane(np.array([[0.0, 0, 0], [2, 0, 0], [4, 0, 0]]))
    >>> at[:, 0].tolist(), share.round(3).tolist()
    ([-2.0, 0.0, 2.0], [1.0, 0.0])
    """
    centered = table - table.mean(0)
    values, vectors = np.linalg.eigh(centered.T @ centered)
    plane = vectors[:, ::-1][:, :2]
    if plane.shape[1] < 2:  # a table one number wide
        plane = np.pad(plane, ((0, 0), (0, 1)))
    plane = plane * np.sign(plane[np.abs(plane).argmax(0), [0, 1]] + 1e-300)
    shares = np.maximum(values[::-1][:2], 0) / max(values.sum(), 1e-300)
    return centered @ plane, np.resize(np.append(shares, 0.0), 2)


def draw_embeddings(trace: Trace) -> Figure:
    """The map of the token embeddings; the prompt's tokens stand out."""
    node = trace.nodes.get(TABLE)
    if node is None:
        raise GlassformerError("the trace holds no token embeddings")
    at, shares = principal_plane(array(trace, node))
    ids = trace.nodes.get("token/ids")
    prompt = list(dict.fromkeys(array(trace, ids)[0].tolist())) if ids is not None else []
    figure = new_figure(13, 9.5)
    axes = figure.subplots()
    summary = "a token of the vocabulary", "a token of the prompt"
    axes.scatter(at[:, 0], at[:, 1], s=16, color="#b7b7c4", linewidths=0, label=summary[0])
    shown = at[prompt]
    axes.scatter(
        shown[:, 0], shown[:, 1], s=80, color=ORANGE, edgecolors="white", label=summary[1], zorder=3
    )
    name_axes(
        axes,
        f"first direction ({shares[0]:.0%} of the differences)",
        f"second direction ({shares[1]:.0%})",
    )
    axes.spines[["top", "right"]].set_visible(False)
    axes.axhline(0, color="#ececec", zorder=0)
    axes.axvline(0, color="#ececec", zorder=0)
    axes.margins(0.07)
    axes.set_aspect("equal", adjustable="datalim")
    axes.legend(fontsize=LABEL - 2, loc="best", frameon=True, framealpha=0.9, edgecolor="none")
    title(figure, "Tokens with similar embeddings lie close together")
    below = note(figure, " ")  # holds the place
    words = trace.labels.get("vocab", ())
    named = _label(figure, at, _order(trace, at, prompt), words, set(prompt))
    if named < len(at):
        chosen = "the prompt's, the most probable next ones, others where there is room"
        below.set_text(f"{named} of {len(at):,} tokens are named: {chosen}")
    return figure


def _order(trace: Trace, at: np.ndarray, prompt: list[int]) -> list[int]:
    """Tokens by how much they deserve a label: the prompt's, likely next ones, then spread out."""
    probs = probabilities(trace)
    likely = best_tokens(probs[asked_pos(trace, len(probs))], PROBABLE) if probs is not None else []
    order = list(dict.fromkeys([*prompt, *likely]))
    first = order or [int(np.hypot(*at.T).argmax())]
    nearest = np.min([np.hypot(*(at - at[token]).T) for token in first], 0)
    while len(order) < min(CANDIDATES, len(at)):  # the token farthest from all that are named
        order.append(int(nearest.argmax()))
        nearest = np.minimum(nearest, np.hypot(*(at - at[order[-1]]).T))
        nearest[order[-1]] = -1.0
    return list(dict.fromkeys(order))


def _label(
    figure: Figure, at: np.ndarray, order: list[int], words: Sequence[str], prompt: set[int]
) -> int:
    """Name tokens where a name overlaps no other and no marked point; return how many got one."""
    axes = figure.axes[0]
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    figure.set_layout_engine("none")  # what was measured stays where it is
    renderer = canvas.get_renderer()
    legend = axes.get_legend()
    taken: list[Bbox] = [legend.get_window_extent(renderer)] if legend is not None else []
    frame = axes.get_window_extent(renderer)
    points = axes.transData.transform(at)
    marked = {t: Bbox.from_extents(*(points[t] - 5), *(points[t] + 5)) for t in prompt}
    named = 0
    for token in order:
        if named == MOST_LABELS:
            break
        special = token in prompt
        text = axes.annotate(
            drawable(words[token]) if token < len(words) else str(token),
            at[token],
            textcoords="offset points",
            xytext=(0, 0),
            va="center",
            fontsize=11 if not special else 15 if len(prompt) <= MANY else 12,
            fontweight="bold" if special else "normal",
            color="#8a3b00" if special else INK,
            parse_math=False,
        )
        others = [box for owner, box in marked.items() if owner != token]
        for x, y, side in [*_BESIDE, *_FAR] if special else _BESIDE:
            text.set_position((x, y))
            text.set_horizontalalignment(side)
            box = text.get_window_extent(renderer).padded(1.5)
            inside = frame.containsx(box.x0) and frame.containsx(box.x1)
            inside = inside and frame.containsy(box.y0) and frame.containsy(box.y1)
            if inside and not any(box.overlaps(other) for other in [*taken, *others]):
                if (x, y, side) in _FAR:
                    _line_to(axes, tuple(at[token]), (x, y))
                taken.append(box)
                named += 1
                break
        else:
            text.remove()
    return named


def _line_to(axes: Axes, point: tuple[float, ...], offset: tuple[int, int]) -> None:
    axes.annotate(
        "",
        (point[0], point[1]),
        textcoords="offset points",
        xytext=offset,
        arrowprops={"arrowstyle": "-", "color": ORANGE, "linewidth": 0.8, "shrinkB": 3},
    )
