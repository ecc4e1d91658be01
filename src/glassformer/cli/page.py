"""glassformer page: the page about one prompt, as one HTML file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from glassformer.cli.streams import say
from glassformer.cli.watching import AtStep, Prompt, Run
from glassformer.server.export import page_data, write_page
from glassformer.server.runs import Runs


def command(
    run: Run,
    prompt: Prompt,
    out: Annotated[Path, typer.Option(help="The HTML file to write.", metavar="FILE")],
    target: Annotated[
        str | None,
        typer.Option(help="Also ask for this word after the last token.", metavar="WORD"),
    ] = None,
    at_step: AtStep = None,
) -> None:
    """Write the page about a prompt to one HTML file, which needs no server.

    It holds the model, which the page runs: other prompts, edits, sampling on,
    every number of the forward and backward pass and of one update. For a run
    it also holds its losses and some snapshots. Of a large model it holds the
    recorded numbers of this prompt.
    """
    data = page_data(Runs([run]), prompt, target=target, at_step=at_step)
    write_page(data, out)
    say(f"The page is in {out} ({out.stat().st_size:,} bytes); open it in a browser.")
    if data.models:
        return
    about = data.traces[0].about
    recorded = {"backward": about.backward, "optimizer": about.optimizer}
    left_out = [part for part, is_there in recorded.items() if not is_there]
    if left_out and len(about.ids) > 1:
        say(f"Left out for its size: {' and '.join(left_out)}; `glassformer serve` shows them.")
