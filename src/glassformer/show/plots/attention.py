"""Attention as pictures: one per layer with every head, and all layers and heads on one."""

from __future__ import annotations

import math

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.collections import PatchCollection
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.patches import Patch, Polygon, Rectangle

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
from glassformer.show.values import array, has_sink, is_attention, masked_cells, why_masked
from glassformer.trace import Node, Trace

WITH_NUMBERS = 8  # tokens at most for the weights to be written in their cells
ALL_LABELS = 24  # tokens at most for each to be named; with more, every second, third, ...


def patterns(trace: Trace) -> dict[int, Node]:
    """The attention weights of every layer that kept them."""
    return {
        layer: node
        for node in forward_nodes(trace)
        if is_attention(node) and node.value is not None and (layer := layer_of(node)) is not None
    }


def draw_layer(trace: Trace, layer: int) -> Figure:
    """Every head of one layer, query row by key column."""
    node = patterns(trace).get(layer)
    if node is None:
        raise GlassformerError(f"the trace holds no attention weights of layer {layer}")
    weights = array(trace, node)[0]  # [head, query, key]
    n_heads, n = weights.shape[:2]
    columns = min(n_heads, 2 if n_heads == 4 else 4)
    rows = math.ceil(n_heads / columns)
    side = 6.2 if columns <= 2 else 4.4
    figure = new_figure(side * columns + 1.6, side * rows + 1.4)
    panels = figure.subplots(rows, columns, squeeze=False)
    tokens = _tokens(trace, n)
    masked = masked_cells(trace, node)
    for index, axes in enumerate(panels.flat):
        if index >= n_heads:
            axes.set_axis_off()
            continue
        _panel(axes, weights[index], masked)
        outer = n_heads <= 4, n_heads <= 4
        if n_heads > 4:  # the maps share their labels: on the left, and below the last of a column
            outer = index % columns == 0, index + columns >= n_heads
        _name_tokens(axes, tokens, *outer)
        axes.set_title(f"head {index}", fontsize=LABEL, color=INK)
    colors = ScalarMappable(Normalize(0, 1), PROBABILITY)
    bar = figure.colorbar(colors, ax=panels, shrink=0.7, pad=0.02)
    summed = "a row and its head's sink sum to 1" if has_sink(trace, node) else "a row sums to 1"
    bar.set_label(f"attention weight ({summed})", fontsize=LABEL, color=INK)
    bar.ax.tick_params(labelsize=TICK)
    if masked.any():
        _mask_legend(figure, why_masked(masked))
    every = _label_step(n)
    left_out = "" if every == 1 else f"; one token in {every} is named"
    figure.supxlabel(f"token looked at (key){left_out}", fontsize=LABEL, color=INK)
    figure.supylabel("token that looks (query)", fontsize=LABEL, color=INK)
    title(figure, f"Layer {layer}: where each token looks")
    return figure


def draw_overview(trace: Trace) -> Figure:
    """All layers (rows) and heads (columns) as one mosaic of small maps."""
    result = patterns(trace)
    if not result:
        raise GlassformerError("the trace holds no attention weights; watch with keep='*'")
    maps = {layer: array(trace, node)[0] for layer, node in result.items()}
    n_heads, n = next(iter(maps.values())).shape[:2]
    gap = max(1, n // 12)
    pitch = n + gap
    mosaic = np.full((pitch * len(maps) - gap, pitch * n_heads - gap), np.nan)
    for row, (layer, weights) in enumerate(maps.items()):
        masked = masked_cells(trace, result[layer])
        for head in range(n_heads):
            cells = np.where(masked, np.nan, weights[head])
            mosaic[row * pitch : row * pitch + n, head * pitch : head * pitch + n] = cells
    cell = min(max(9 / n_heads, 0.5), 2.6)
    figure = new_figure(max(cell * n_heads + 3.2, 8), max(cell * len(maps) + 2.2, 5))
    axes = figure.subplots()
    colors = PROBABILITY.with_extremes(bad="#ffffff")
    image = axes.imshow(mosaic, cmap=colors, vmin=0, vmax=1, interpolation="nearest")
    hidden = [masked_cells(trace, node) for node in result.values()]
    for row, masked in enumerate(hidden):
        for head in range(n_heads):
            if masked.any():
                axes.add_collection(_mask(masked, head * pitch, row * pitch, None))
            x, y = head * pitch - 0.5, row * pitch - 0.5
            frame = Polygon(
                [(x, y), (x + n, y), (x + n, y + n), (x, y + n)], fill=False, ec="#b5b5b5", lw=0.8
            )
            frame.set_clip_on(False)
            axes.add_patch(frame)
    center = (n - 1) / 2
    axes.set_xticks([head * pitch + center for head in range(n_heads)], map(str, range(n_heads)))
    axes.set_yticks([row * pitch + center for row in range(len(maps))], map(str, maps))
    axes.tick_params(labelsize=TICK, length=0)
    axes.spines[:].set_visible(False)
    axes.set_xlabel("head", fontsize=LABEL, color=INK)
    axes.set_ylabel("layer", fontsize=LABEL, color=INK)
    bar = figure.colorbar(image, ax=axes, shrink=0.7, pad=0.02)
    bar.set_label("attention weight", fontsize=LABEL, color=INK)
    bar.ax.tick_params(labelsize=TICK)
    title(figure, "Attention in every layer and head")
    reasons = why_masked(*hidden)
    note(figure, "rows look, columns are looked at" + (f"; gray: {reasons}" if reasons else ""))
    return figure


def _panel(axes: Axes, weights: np.ndarray, masked: np.ndarray) -> None:
    n = len(weights)
    axes.imshow(np.where(masked, 0, weights), cmap=PROBABILITY, vmin=0, vmax=1)
    if masked.any():
        axes.add_collection(_mask(masked, 0, 0, "////"))
    if n <= WITH_NUMBERS:
        for query, key in zip(*np.nonzero(~masked), strict=True):
            weight = weights[query, key]
            dark = "white" if weight > 0.55 else INK
            axes.text(key, query, f"{weight:.2f}", ha="center", va="center", size=12, color=dark)
    axes.spines[:].set_color("#b5b5b5")


def _name_tokens(axes: Axes, tokens: list[str], left: bool, below: bool) -> None:
    n = len(tokens)
    labeled = range(0, n, _label_step(n))
    named = [tokens[index] for index in labeled]
    size = TICK if n <= 12 else 11 if n <= ALL_LABELS else 10
    rotation = 0 if max(map(len, named)) * n <= 30 else 90
    axes.set_xticks(labeled, named if below else [""] * len(named), size=size, rotation=rotation)
    axes.set_yticks(labeled, named if left else [""] * len(named), size=size)
    as_written([*axes.get_xticklabels(), *axes.get_yticklabels()])
    axes.tick_params(length=0, colors=INK)


def _mask(masked: np.ndarray, x: float, y: float, hatch: str | None) -> PatchCollection:
    """The masked cells [query, key], each run of a row as one bar."""
    bars = []
    for row, cells in enumerate(masked):
        edges = np.flatnonzero(np.diff(np.r_[False, cells, False].astype(int)))
        for first, end in zip(edges[::2], edges[1::2], strict=True):
            bars.append(Rectangle((x + first - 0.5, y + row - 0.5), end - first, 1))
    face = "#f1f1f1" if hatch else "#ececec"
    return PatchCollection(bars, facecolor=face, edgecolor="#c4c4c4", hatch=hatch, linewidth=0)


def _mask_legend(figure: Figure, why: str) -> None:
    label = f"masked: {why}"
    patch = Patch(facecolor="#f1f1f1", edgecolor="#c4c4c4", hatch="////", label=label)
    figure.legend(handles=[patch], loc="outside upper right", fontsize=TICK, frameon=False)


def _tokens(trace: Trace, n: int) -> list[str]:
    words = trace.labels.get("pos", ())
    longest = 16 if n <= 12 else 10
    return [drawable(words[i], longest) if i < len(words) else str(i) for i in range(n)]


def _label_step(n: int) -> int:
    return math.ceil(n / ALL_LABELS)
