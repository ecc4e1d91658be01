"""glassformer trace: every stage from a prompt to the next token."""

from __future__ import annotations

import sys
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Annotated

import typer

from glassformer.cli import pasted
from glassformer.cli.as_json import AsJson, trace_data
from glassformer.cli.streams import say, say_json
from glassformer.cli.watching import AtStep, Prompt, Run, watch
from glassformer.errors import GlassformerError
from glassformer.show.short import print_short
from glassformer.show.terminal import print_trace
from glassformer.trace import Trace
from glassformer.trace.predicted import asked_pos


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
    short: Annotated[
        bool | None,
        typer.Option(
            "--short/--story",
            help="On one screen, or stage by stage; on a terminal it is short, if nothing is said.",
            show_default=False,
        ),
    ] = None,
    save: Annotated[Path | None, typer.Option(help="Also write the trace to this folder.")] = None,
    at_step: AtStep = None,
    as_json: AsJson = False,
) -> None:
    """Show every stage from a prompt to the next token, in numbers.

    On a terminal the short form fits on a screen of 60 lines; what is piped is the whole story.

    With --json every value is named, and those that --only, --layer or --all
    choose have all their numbers.
    """
    trace = watch(run, prompt, at_step)
    if as_json:
        if save is not None:
            trace.save(save)
        return say_json(trace_data(trace, _chosen(trace, layer or [], only or [], everything)))
    chosen = bool(layer or only or everything)
    if short and chosen:
        raise GlassformerError(
            "--short shows the same five sections of every trace; leave it out with --layer, --only"
            " or --all"
        )
    short_form = short or (short is None and not chosen and sys.stdout.isatty())
    if short_form:
        print_short(trace)
        say("\n  --story shows every stage and its formula, --all every number of it")
    else:
        print_trace(trace, layers=layer or (), only=only or (), everything=everything)
    if save is not None:
        trace.save(save)
        say(f"\nThe trace is in {save}: {len(trace.computed)} values, {trace.nbytes:,} bytes.")
    if not only and not layer and not short_form:
        probs = trace.value_of(trace.nodes["fwd/probs"])[0]  # [pos, vocab]
        at = asked_pos(trace, len(probs))
        if not probs[at].isfinite().all():
            return None
        index = f"pos={at},vocab={int(probs[at].argmax())}"
        say("\nHow was a number made? For example the largest probability:")
        step = "" if at_step is None else f"@step={at_step} "
        verb, text, address = pasted.parts("explain", [run, prompt, f"{step}fwd/probs[{index}]"])
        say(f"  {verb} {text} \\\n    {address}")
    return None


def _chosen(
    trace: Trace, layers: list[int], patterns: list[str], everything: bool
) -> frozenset[str]:
    """The paths of the nodes that were asked for by name."""
    if not (layers or patterns or everything):
        return frozenset()
    scopes = tuple(f"blocks.{layer}." for layer in layers)
    return frozenset(
        node.path
        for node in trace.computed
        if (not layers or node.name.startswith(scopes))
        and (not patterns or any(fnmatchcase(node.name, pattern) for pattern in patterns))
    )
