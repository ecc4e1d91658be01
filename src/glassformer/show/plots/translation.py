"""A translation as pictures: which words of the source each word of the target looks at."""

from __future__ import annotations

import math

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from glassformer.describe import counted
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
from glassformer.show.stages import forward_nodes, layer_of
from glassformer.show.values import array, probabilities
from glassformer.trace import Node, Trace

WITH_NUMBERS = 16  # words at most, down or across, for the weights to be written in their cells
LONGEST = 16  # letters of a word


def crossings(trace: Trace) -> dict[int, Node]:
    """The cross-attention weights of every layer of the decoder that kept them."""
    return {
        layer: node
        for node in forward_nodes(trace)
        if node.role == "probability" and {"query", "source_key"} <= {*node.axes}
        if node.value is not None and (layer := layer_of(node)) is not None
    }


def draw_alignment(trace: Trace) -> Figure:
    """The mean over all heads and layers: source words along the top, written words at the side."""
    weights = [array(trace, node)[0] for node in crossings(trace).values()]
    if not weights:
        raise GlassformerError("the trace holds no cross-attention; watch with keep='*'")
    mean = np.concatenate(weights).mean(0)  # [query, source_key]
    rows, columns = mean.shape
    figure = new_figure(0.95 * columns + 4.2, 0.62 * rows + 2.8)
    axes = figure.subplots()
    _panel(axes, mean)
    _name(axes, _written(trace, rows), _source(trace, columns))
    axes.set_ylabel("word that is written", fontsize=LABEL, color=INK)
    axes.set_xlabel("word of the source that it looks at", fontsize=LABEL, color=INK)
    axes.xaxis.set_label_position("top")
    _bar(figure, axes)
    heads, layers = counted(len(weights[0]), "head"), counted(len(weights), "layer")
    note(figure, f"mean over {heads} in each of {layers}")
    title(figure, "Where each word of the translation looks")
    return figure


def draw_crossing(trace: Trace, layer: int) -> Figure:
    """Every head of one layer's cross-attention."""
    node = crossings(trace).get(layer)
    if node is None:
        raise GlassformerError(f"the trace holds no cross-attention of layer {layer}")
    weights = array(trace, node)[0]  # [head, query, source_key]
    n_heads, rows, columns = weights.shape
    across = min(n_heads, 2 if n_heads == 4 else 4)
    down = math.ceil(n_heads / across)
    figure = new_figure((0.6 * columns + 2) * across + 1.4, (0.46 * rows + 1.8) * down + 1.2)
    panels = figure.subplots(down, across, squeeze=False)
    written, source = _written(trace, rows), _source(trace, columns)
    for index, axes in enumerate(panels.flat):
        if index >= n_heads:
            axes.set_axis_off()
            continue
        _panel(axes, weights[index], with_numbers=False)
        _name(axes, written, source)
        axes.set_title(f"head {index}", fontsize=LABEL, color=INK)
    _bar(figure, panels)
    title(figure, f"Cross-attention of layer {layer}: where each written word looks in the source")
    return figure


def _panel(axes: Axes, weights: np.ndarray, with_numbers: bool = True) -> None:
    axes.imshow(weights, cmap=PROBABILITY, vmin=0, vmax=1, aspect="auto")
    if with_numbers and max(weights.shape) <= WITH_NUMBERS:
        for (query, key), weight in np.ndenumerate(weights):
            dark = "white" if weight > 0.55 else INK
            axes.text(key, query, f"{weight:.2f}", ha="center", va="center", size=12, color=dark)
    axes.spines[:].set_color("#b5b5b5")


def _name(axes: Axes, rows: list[str], columns: list[str]) -> None:
    rotation = 0 if sum(map(len, columns)) < 9 * len(columns) and len(columns) <= 8 else 90
    axes.set_xticks(range(len(columns)), columns, size=TICK, rotation=rotation)
    axes.set_yticks(range(len(rows)), rows, size=TICK)
    axes.xaxis.tick_top()
    as_written([*axes.get_xticklabels(), *axes.get_yticklabels()])
    axes.tick_params(length=0, colors=INK)


def _bar(figure: Figure, axes: Axes | np.ndarray) -> None:
    bar = figure.colorbar(ScalarMappable(Normalize(0, 1), PROBABILITY), ax=axes, shrink=0.8)
    bar.set_label("attention weight (a row sums to 1)", fontsize=LABEL, color=INK)
    bar.ax.tick_params(labelsize=TICK)


def _source(trace: Trace, n: int) -> list[str]:
    words = trace.labels.get("source_pos", ())
    return [drawable(words[i], LONGEST) if i < len(words) else str(i) for i in range(n)]


def _written(trace: Trace, n: int) -> list[str]:
    """The word that each query leads to: the next one, and behind the last the likeliest."""
    words, vocabulary = trace.labels.get("pos", ()), trace.labels.get("vocab", ())
    probs = probabilities(trace)
    last = "" if probs is None else vocabulary[int(probs[-1].argmax())] if vocabulary else ""
    following = [*words[1:n], last] if len(words) >= n else [str(i + 1) for i in range(n)]
    return [drawable(word, LONGEST) for word in following]
