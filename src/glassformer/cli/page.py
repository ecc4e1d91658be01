"""glassformer page: models to look into, or the page about one prompt, as one HTML file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from glassformer.cli.streams import say
from glassformer.cli.watching import AtStep
from glassformer.errors import GlassformerError
from glassformer.server.export import gallery_data, page_data, suggested, write_page
from glassformer.server.runs import Runs
from glassformer.server.schemas import PackedSnapshots, PageData
from glassformer.show.sheet import Sheet

DEMO = Path("runs/demo")
PRESETS = ("miniature", "worked_example")
"""What a gallery shows: the demo where it was trained, and two models to follow by hand."""


def command(
    run: Annotated[
        str | None, typer.Argument(help="A run's folder, a preset or a model's name.")
    ] = None,
    prompt: Annotated[str | None, typer.Argument(help="The text it opens with.")] = None,
    out: Annotated[Path, typer.Option(help="The HTML file to write.", metavar="FILE")] = Path(
        "glassformer.html"
    ),
    target: Annotated[
        str | None,
        typer.Option(help="Also ask for this word after the last token.", metavar="WORD"),
    ] = None,
    at_step: AtStep = None,
    snapshots: Annotated[
        int | None,
        typer.Option(
            min=0, help="Steps of its training to hold, however large; else up to 1 MB of them."
        ),
    ] = None,
) -> None:
    """Write models, or one prompt of one, to one HTML file, which needs no server.

    It holds the model, which the page runs: other prompts, edits, sampling on,
    every number of the forward and backward pass and of one update, training.
    For a run it also holds its losses and some snapshots. Of a large model it
    holds the recorded numbers of the prompt. Without a run it is a gallery: the
    demo, where `glassformer demo` has trained it, and two models small enough
    to follow by hand.
    """
    if run is None:
        if target is not None or at_step is not None:
            raise GlassformerError(
                "--target and --at-step are about one run, and none was named; name one"
            )
        data = gallery(snapshots)
    else:
        runs = Runs([run])
        prompt, target = (prompt, target) if prompt is not None else (*suggested(runs),)
        data = page_data(runs, prompt, target=target, at_step=at_step, snapshots=snapshots)
    write_page(data, out)
    say(f"The page is in {out} ({out.stat().st_size:,} bytes); open it in a browser.")
    if data.models:
        for model in data.models.values():
            say_snapshots(model.snapshots, snapshots)
        return
    why = f", because {data.recorded}" if data.recorded else ""
    Sheet().prose(f"It holds recorded numbers, of this prompt alone{why}.")
    about = data.traces[0].about
    recorded = {"backward": about.backward, "optimizer": about.optimizer}
    left_out = [part for part, is_present in recorded.items() if not is_present]
    if left_out and len(about.ids) > 1:
        Sheet().prose(
            f"Left out for its size: {' and '.join(left_out)}; `glassformer serve` shows them."
        )


def gallery(snapshots: int | None) -> PageData:
    """The demo if it was trained here, and the presets; says what is missing."""
    is_trained = (DEMO / "config.json").is_file()
    if not is_trained:
        Sheet().prose(
            f"There is no trained model in {DEMO}, so the gallery holds {' and '.join(PRESETS)}"
            " alone; `glassformer demo` trains one in minutes."
        )
    demo = [str(DEMO)] if is_trained else []
    return gallery_data([*demo, *PRESETS], snapshots)


def say_snapshots(packed: PackedSnapshots | None, asked: int | None) -> None:
    """How exact the snapshots are that a page holds, and why they may be fewer than asked for."""
    held = len(packed.steps) if packed else 0
    if asked is not None and held + 1 < asked:  # the last of those kept is the model itself
        Sheet().prose(
            f"It holds {held} earlier steps of its training, all that the run has kept; train with"
            f" --snapshots {asked} for more."
        )
    if packed:
        Sheet().prose(
            f"The weights of its {held} earlier steps are rounded to 1/{packed.grid} of their"
            f" tensor's spread. After this text that moves no probability by more than"
            f" {packed.moved:.2g}; the last step's weights are exact."
        )
