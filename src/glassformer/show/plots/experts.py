"""Experts as a picture: for every layer that has some, which of them each token went to."""

from __future__ import annotations

import numpy as np
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

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
from glassformer.show.routing import routes
from glassformer.show.values import array, axis_labels
from glassformer.trace import Node, Trace

COLUMNS = 4  # layers side by side
NAMED = 24  # tokens and experts at most for each to be named


def draw_experts(trace: Trace, nodes: dict[int, Node]) -> Figure:
    """A panel a layer: tokens are rows, experts columns, dark where much of a token goes."""
    weights = {layer: array(trace, node)[0] for layer, node in nodes.items()}  # [pos, expert]
    n, n_experts = next(iter(weights.values())).shape
    columns = min(len(weights), COLUMNS)
    rows = -(-len(weights) // columns)
    wide, tall = min(max(0.42 * n_experts, 3), 9), min(max(0.42 * n, 2.2), 9)
    figure = new_figure(max(wide * columns + 3, 8), tall * rows + 2.2)
    panels = figure.subplots(rows, columns, squeeze=False)
    words = [drawable(word) for word in axis_labels(trace, "pos", n)]
    shown, names = range(0, n, -(-n // NAMED)), range(0, n_experts, -(-n_experts // NAMED))
    for i, axes in enumerate(panels.flat):
        if i >= len(weights):
            axes.set_axis_off()
            continue
        layer = [*weights][i]
        axes.imshow(weights[layer], cmap=PROBABILITY, vmin=0, vmax=1, aspect="auto")
        axes.set_title(f"layer {layer}", fontsize=LABEL, color=INK)
        axes.set_xticks(names, map(str, names), size=TICK)
        left = i % columns == 0
        axes.set_yticks(shown, [words[i] if left else "" for i in shown], size=TICK)
        axes.set_xticks(np.arange(n_experts + 1) - 0.5, minor=True)
        axes.set_yticks(np.arange(n + 1) - 0.5, minor=True)
        axes.grid(which="minor", color="#e4e4e4", linewidth=0.8)
        axes.tick_params(which="both", length=0, colors=INK)
        axes.spines[:].set_color("#b5b5b5")
        as_written(axes.get_yticklabels())
    bar = figure.colorbar(ScalarMappable(Normalize(0, 1), PROBABILITY), ax=panels, pad=0.02)
    bar.set_label("weight of the expert", fontsize=LABEL, color=INK)
    bar.ax.tick_params(labelsize=TICK)
    title(figure, "Which experts each token went to")
    note(figure, "a column is an expert; white: nothing of the token went there")
    return figure


def of(trace: Trace) -> dict[int, Node]:
    """The layers with experts whose weights were kept."""
    return {layer: node for layer, node in routes(trace.computed).items() if node.value is not None}
