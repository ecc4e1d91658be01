"""Every picture that a trace and a run's metrics give, written into one folder."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from matplotlib.figure import Figure

from glassformer.metrics import Row
from glassformer.show.plots import attention, experts
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
    layers = attention.patterns(trace)
    if layers:
        yield "attention", attention.draw_overview(trace)
    for layer in layers:
        yield f"attention-layer-{layer}", attention.draw_layer(trace, layer)
    if routed := experts.of(trace):
        yield "experts", experts.draw_experts(trace, routed)
    yield "embeddings", draw_embeddings(trace)
    if any(not row.keys().isdisjoint({"loss", "val_loss", "text_loss"}) for row in metrics):
        yield "loss", draw_loss(metrics)
