"""glassformer plot: attention, probabilities, the loss and the embeddings as pictures."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from glassformer.cli.streams import say
from glassformer.cli.watching import AtStep, Prompt, Run, metrics_file, watch
from glassformer.show.plots.all import draw_all
from glassformer.training.run import read_metrics


class Format(StrEnum):
    png = "png"
    svg = "svg"


def command(
    run: Run,
    prompt: Prompt,
    out: Annotated[Path, typer.Option(help="The folder for the pictures.")] = Path("pictures"),
    format: Annotated[Format, typer.Option(help="How to write them.")] = Format.png,  # noqa: A002 (the option is --format)
    at_step: AtStep = None,
) -> None:
    """Draw attention, the next token, the embeddings and, for a run, its loss."""
    metrics = metrics_file(run)
    trace = watch(run, prompt, at_step)
    rows = read_metrics(metrics) if metrics is not None else []
    for file in draw_all(trace, out, rows, format.value):
        say(file)
    if not rows:
        say(f"(no loss curve: {run} has no metrics.jsonl)")
