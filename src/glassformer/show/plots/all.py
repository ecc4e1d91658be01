"""Every picture that a trace and a run's metrics give, written into one folder."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from matplotlib.figure import Figure

from glassformer.metrics import Row
from glassformer.show.plots import attention, experts, translation
from glassformer.show.plots.embeddings import draw_embeddings
from glassformer.show.plots.loss import draw_loss
from glassformer.show.plots.prediction import draw_next_token
from glassformer.show.plots.style import write
from glassformer.trace import Trace


def draw_all(
    trace: Trace,
    folder: Path,
    metrics: Sequence[Row] | None = None,
    suffix: str = "png",
) -> list[Path]:
    """Write the pictures; return their files in the order to look at them."""
    figures = _figures(trace, metrics or [])
    return [write(figure, folder / f"{name}.{suffix}") for name, figure in figures]


def _figures(trace: Trace, metrics: Sequence[Row]) -> Iterator[tuple[str, Figure]]:
    yield "next-token", draw_next_token(trace)
    crossings = translation.crossings(trace)
    if crossings:
        yield "alignment", translation.draw_alignment(trace)
    for layer in crossings:
        yield f"cross-attention-layer-{layer}", translation.draw_crossing(trace, layer)
    layers = attention.patterns(trace)
    if layers:
        yield "attention", attention.draw_overview(trace)
    for layer in layers:
        yield f"attention-layer-{layer}", attention.draw_layer(trace, layer)
    if routed := experts.of(trace):
        yield "experts", experts.draw_experts(trace, routed)
    if not crossings:  # else there is a table for each tower
        yield "embeddings", draw_embeddings(trace)
    if any(not row.keys().isdisjoint({"loss", "val_loss", "text_loss"}) for row in metrics):
        yield "loss", draw_loss(metrics)
