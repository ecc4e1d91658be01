"""A number or a map through training, and update by update where it moved most."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullLocator

from glassformer.show.plots.style import (
    BLUE,
    INK,
    LABEL,
    ORANGE,
    PROBABILITY,
    TICK,
    name_axes,
    new_figure,
    open_frame,
    title,
)

Series = Sequence[tuple[int, float]]
"""(step, value)."""

MAPS = 6


def draw_biography(address: str, what: str, points: Series, path: Series, turn: int) -> Figure:
    """Left the saved steps, right every update of the shaded interval; `turn` moved it most.

    what: how the values are called, such as "value" or "length".
    """
    figure = new_figure(15, 6.4)
    left, right = figure.subplots(1, 2)
    steps, values = zip(*points, strict=True)
    left.axvspan(path[0][0], path[-1][0], color="#fbe9dc", zorder=0)
    left.plot(steps, values, color=BLUE, linewidth=2.4, marker="o", markersize=6, clip_on=False)
    left.set_xscale("symlog", linthresh=1)
    kept = _apart(steps)
    left.xaxis.set_major_locator(FixedLocator(kept))
    left.xaxis.set_minor_locator(NullLocator())
    left.xaxis.set_major_formatter(FuncFormatter(lambda step, _: f"{step:.0f}"))
    left.set_xlim(steps[0], steps[-1])
    name_axes(left, "updates", what)
    left.set_title("at the saved steps", fontsize=LABEL, color=INK, loc="left")
    updates, result = zip(*path, strict=True)
    right.plot(updates, result, color=BLUE, linewidth=2.4, marker="." if len(path) > 60 else "o")
    index = updates.index(turn)
    right.plot(
        updates[index - 1 : index + 1], result[index - 1 : index + 1], color=ORANGE, linewidth=3.4,
        marker="o", label=f"update {turn} moved it most",
    )  # fmt: skip
    right.xaxis.set_major_locator(MaxNLocator(integer=True))
    name_axes(right, "updates", what)
    right.set_title("replayed, update by update", fontsize=LABEL, color=INK, loc="left")
    right.legend(fontsize=TICK, frameon=True, framealpha=0.9, edgecolor="none")
    open_frame(left)
    open_frame(right)
    title(figure, address)
    return figure


def draw_maps(
    address: str, axes: tuple[str, str], maps: Sequence[tuple[int, np.ndarray]]
) -> Figure:
    """A matrix at some of the saved steps, all in one scale of colors; the first and last too."""
    picked = np.unique(np.linspace(0, len(maps) - 1, min(MAPS, len(maps))).round().astype(int))
    shown = [maps[i] for i in picked]
    finite = np.concatenate([values[np.isfinite(values)].ravel() for _, values in shown])
    signed = finite.size > 0 and finite.min() < 0
    largest = float(np.abs(finite).max()) if finite.size else 1.0
    columns = min(3, len(shown))
    rows = -(-len(shown) // columns)
    figure = new_figure(4.6 * columns + 1.5, 4.2 * rows + 1)
    grid = figure.subplots(rows, columns, squeeze=False)
    colors = {"cmap": "PuOr_r", "vmin": -largest} if signed else {"cmap": PROBABILITY, "vmin": 0}
    image = None
    for index, panel in enumerate(grid.ravel()):
        if index >= len(shown):
            panel.set_visible(False)
            continue
        step, values = shown[index]
        image = panel.imshow(values, vmax=largest, aspect="auto", **colors)
        panel.set_title(f"after {step} updates", fontsize=LABEL, color=INK, loc="left")
        name_axes(panel, axes[1], axes[0])
        panel.spines[:].set_visible(False)
        panel.xaxis.set_major_locator(MaxNLocator(integer=True))
        panel.yaxis.set_major_locator(MaxNLocator(integer=True))
    if image is not None:
        bar = figure.colorbar(image, ax=grid, shrink=0.8, pad=0.02)
        bar.ax.tick_params(labelsize=TICK)
    title(figure, address)
    return figure


def _apart(steps: Sequence[int]) -> list[int]:
    """Steps whose labels do not run into each other on a logarithmic axis."""
    kept: list[int] = []
    for step in steps:
        if not kept or step + 1 >= 1.5 * (kept[-1] + 1):
            kept.append(step)
    return kept
