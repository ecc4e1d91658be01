"""glassformer trace: every stage from a prompt to the next token."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from glassformer.cli import pasted
from glassformer.cli.streams import say
from glassformer.cli.watching import AtStep, Prompt, Run, watch
from glassformer.show.terminal import tell


def command(
    run: Run,
    prompt: Prompt,
    layer: Annotated[
        list[int] | None, typer.Option(min=0, help="Show this layer alone; may be repeated.")
    ] = None,
    only: Annotated[
        list[str] | None,
        typer.Option(
            help="Show the values whose names fit, as in '*.pattern'; may be repeated.",
            metavar="PATTERN",
        ),
    ] = None,
    everything: Annotated[
        bool, typer.Option("--all", help="Show every stage, layer, head, row and column.")
    ] = False,
    save: Annotated[Path | None, typer.Option(help="Also write the trace to this folder.")] = None,
    at_step: AtStep = None,
) -> None:
    """Show every stage from a prompt to the next token, in numbers."""
    trace = watch(run, prompt, at_step)
    tell(trace, layers=layer or (), only=only or (), everything=everything)
    if save is not None:
        trace.save(save)
        say(f"\nThe trace is in {save}: {len(trace.steps)} steps, {trace.nbytes:,} bytes.")
    if not only and not layer:
        probs = trace.value_of(trace.nodes["fwd/probs"])[0]  # [pos, vocab]
        if not probs[-1].isfinite().all():
            return
        place = f"pos={len(probs) - 1},vocab={int(probs[-1].argmax())}"
        say("\nHow was a number made? For example the largest probability:")
        at = "" if at_step is None else f"@step={at_step} "
        verb, text, address = pasted.parts("explain", [run, prompt, f"{at}fwd/probs[{place}]"])
        say(f"  {verb} {text} \\\n    {address}")
