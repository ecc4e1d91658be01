"""A run and a prompt become a trace with words: what trace, explain and plot begin with."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from glassformer.cli.streams import say
from glassformer.generation.prompt import check_prompt
from glassformer.model.kinds import AnyModel
from glassformer.text.tokenizer import Tokenizer
from glassformer.trace import Trace
from glassformer.training import train_state
from glassformer.watch.edits import Edits

Run = Annotated[str, typer.Argument(help="A run's folder, a preset or a model's name.")]
Prompt = Annotated[str, typer.Argument(help="The text to read.")]

LONG_REPLAY = 50  # updates

AtStep = Annotated[
    int | None,
    typer.Option(min=0, help="With the run's model as it was after N updates.", metavar="N"),
]


def watch(run: str, prompt: str, at_step: int | None = None) -> Trace:
    """Read a prompt with a run's model and record every value, tokens as its labels.

    An encoder-decoder reads it as its source, and then its own translation.
    """
    model, tokenizer = open_run(run, at_step)
    ids, more = train_state.inputs_of(model, tokenizer, prompt)
    result: Trace = model.watch(ids, **more)
    return result


def watch_ids(model: AnyModel, ids: list[int], edit: Edits | None = None) -> Trace:
    """Read tokens and record every value."""
    check_prompt(model, ids)
    return model.watch(ids, edit=edit)


def open_run(run: str, at_step: int | None = None) -> tuple[Any, Tokenizer]:
    """A run's model and its tokenizer; says when it takes long."""
    return train_state.open_run(run, at_step, note_replay)


def note_replay(start: int, end: int) -> None:
    """Say that a replay will take a while, if it will."""
    if end - start >= LONG_REPLAY:
        say(f"(replaying {end - start} updates, from step {start} to {end})", error=True)


def metrics_file(run: str) -> Path | None:
    """A run's metrics.jsonl, where there is one."""
    file = Path(run) / "metrics.jsonl"
    return file if file.is_file() else None
