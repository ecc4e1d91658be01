"""`glassformer train`: a new model, a further training, or a run that goes on."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Annotated, Any

import typer
from rich.console import Console

from glassformer.cli import pasted
from glassformer.cli.console import SafeConsole
from glassformer.cli.progress import TrainingDisplay, duration, measured
from glassformer.cli.recall import Recalled, recall
from glassformer.cli.streams import say_json
from glassformer.cli.watching import Separator
from glassformer.errors import GlassformerError, did_you_mean
from glassformer.generation.generate import generate
from glassformer.interop.export import export_config
from glassformer.interop.match import form_for, in_the_way
from glassformer.interop.own import OWN
from glassformer.model import Decoder
from glassformer.text.tokenizer import Tokenizer
from glassformer.training.checkpoint import steps_saved
from glassformer.training.examples import examples
from glassformer.training.loop import Outcome, train
from glassformer.training.plan import Plan, make_plan
from glassformer.training.prepare import Choices, Prepared, new_run, resumed_run
from glassformer.training.rows import Read

SAMPLE_TOKENS = 40
RECIPES = ("fast", "classic")


def command(
    texts: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[TEXT]...",
            help="Text files, folders, .jsonl files or - for standard input. None: Storyland.",
        ),
    ] = None,
    out: Annotated[Path, typer.Option(metavar="RUN", help="The run's folder.")] = Path(
        "runs/latest"
    ),
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the run in --out.")] = False,
    start_from: Annotated[
        str | None,
        typer.Option("--from", metavar="FOLDER", help="Train this model further, on TEXT."),
    ] = None,
    preset: Annotated[
        str | None, typer.Option(help="Sizes and recipe; `text`, or `storyland` without TEXT.")
    ] = None,
    recipe_name: Annotated[
        str | None,
        typer.Option(
            "--recipe",
            metavar="fast|classic",
            help="For characters: the quickest way to a low loss here, or nanoGPT's.",
        ),
    ] = None,
    tokenizer: Annotated[
        str | None,
        typer.Option(metavar="KIND", help="How text is split: bpe, chars, words or a folder's."),
    ] = None,
    vocab_size: Annotated[int | None, typer.Option(help="Tokens in the vocabulary.")] = None,
    field: Annotated[str, typer.Option(help="Where JSONL rows have their text.")] = "text",
    separator: Separator = None,
    n_ctx: Annotated[int | None, typer.Option(help="Positions the model reads at most.")] = None,
    d_model: Annotated[int | None, typer.Option(help="Width of the residual stream.")] = None,
    n_layers: Annotated[int | None, typer.Option(help="Blocks.")] = None,
    n_heads: Annotated[int | None, typer.Option(help="Attention heads per block.")] = None,
    dropout: Annotated[float | None, typer.Option(help="Probability, while training.")] = None,
    steps: Annotated[int | None, typer.Option(help="Updates of the weights.")] = None,
    batch_size: Annotated[int | None, typer.Option(help="Blocks per forward pass.")] = None,
    accumulate: Annotated[int | None, typer.Option(help="Forward passes per update.")] = None,
    lr: Annotated[float | None, typer.Option(help="Peak learning rate.")] = None,
    seed: Annotated[int | None, typer.Option(help="Decides weights, order and dropout.")] = None,
    eval_every: Annotated[int | None, typer.Option(help="Steps between evaluations.")] = None,
    sample_every: Annotated[int | None, typer.Option(help="Steps between samples.")] = None,
    patience: Annotated[
        int | None, typer.Option(help="Stop after so many evaluations without a better one.")
    ] = None,
    snapshots: Annotated[
        int | None, typer.Option(help="Steps that are kept to look back at, log-spaced.")
    ] = None,
    device: Annotated[str, typer.Option(metavar="auto|cuda|mps|cpu")] = "auto",
    dtype: Annotated[str | None, typer.Option(metavar="fp32|bf16")] = None,
    compiled: Annotated[
        bool | None, typer.Option("--compile/--no-compile", help="Compile it with torch.compile.")
    ] = None,
    tensorboard: Annotated[
        bool, typer.Option("--tensorboard", help="Also write RUN/tensorboard.")
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object a line for programs.")
    ] = False,
) -> None:
    """Train a model on text, resume a run, or fine-tune a model.

    Ctrl-C (or SIGTERM) saves after the current step; a second one leaves at once, with the last
    checkpoint intact. Exit codes: 0 done; 2 an error, in one line; 130 after Ctrl-C; 143 after
    SIGTERM.
    """
    if recipe_name is not None and not resume:
        preset = preset_of(recipe_name, preset, start_from, bool(texts))
    sizes = {
        "n_ctx": n_ctx,
        "d_model": d_model,
        "n_layers": n_layers,
        "n_heads": n_heads,
        "dropout": dropout,
    }
    recipe = {
        "steps": steps,
        "batch_size": batch_size,
        "accumulate": accumulate,
        "lr": lr,
        "seed": seed,
        "eval_every": eval_every,
        "sample_every": sample_every,
        "patience": patience,
        "snapshots": snapshots,
        "dtype": dtype,
        "compile": compiled,
    }
    choices = Choices(
        texts=tuple(texts or ()),
        text_field=field,
        separator=separator,
        preset=preset,
        start_from=start_from,
        tokenizer=tokenizer,
        vocab_size=vocab_size,
        model=_given(sizes),
        recipe=_given(recipe),
        device=device,
    )
    if resume and (recipe_name is not None or choices != Choices(device=device)):
        raise GlassformerError(
            "a resumed run goes on exactly as it was started, so --resume takes only --out and"
            " --device; to train on in another way, start a new run --from it"
        )
    console = SafeConsole(quiet=as_json)
    with ending_at_once():
        prepared = resumed_run(out, device) if resume else new_run(out, choices)
    with prepared.run:
        outcome, stopped_by = train_showing(
            prepared, console, tensorboard=tensorboard, event=say_event if as_json else None
        )
    recalled = [] if outcome.reason == "stopped" else recall(prepared)
    print_outcome(outcome, prepared, recalled, console)
    if as_json:
        answers = [asked._asdict() for asked in recalled]
        end = {"reason": outcome.reason, "step": outcome.step, "run": str(out)}
        say_event("end", {**end, "answers": answers})
    if stopped_by is not None:
        raise typer.Exit(128 + stopped_by)


def preset_of(recipe: str, preset: str | None, start_from: str | None, has_text: bool) -> str:
    """The preset that holds a recipe, if nothing else that was asked for contradicts it."""
    if recipe not in RECIPES:
        raise GlassformerError(
            f"--recipe {recipe!r} is none of {', '.join(RECIPES)}.{did_you_mean(recipe, RECIPES)}"
        )
    if preset is not None or start_from is not None:
        other = "--preset" if preset is not None else "--from"
        raise GlassformerError(
            f"--recipe {recipe} brings its own model, and {other} another one; leave one out"
        )
    if not has_text:
        raise GlassformerError(
            f"--recipe {recipe} reads 64 characters at a time, too few for a Storyland document;"
            " give a text file, or leave --recipe out"
        )
    return recipe


def _given(options: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in options.items() if value is not None}


def say_event(name: str, row: Read) -> None:
    """One thing that happened, as JSON on a line of its own."""
    say_json({"event": name, **row}, on_one_line=True)


def event_of(row: Read) -> str:
    """What a row of the metrics tells.

    >>> event_of({"step": 3, "loss": 2.0}), event_of({"step": 3, "val_loss": 2.0})
    ('step', 'evaluation')
    """
    names = {"loss": "step", "unigram_loss": "baseline"}
    names |= dict.fromkeys(("val_loss", "text_loss"), "evaluation")
    named = (name for key, name in names.items() if key in row)
    return next(named, None) or next(key for key in row if key != "step")  # sample, note, health


def train_showing(
    prepared: Prepared,
    console: Console,
    tensorboard: bool = False,
    event: Callable[[str, Read], None] | None = None,
) -> tuple[Outcome, int | None]:
    """Train with a display; return how it ended, and the signal that asked for it, if one did.

    `event`, where given, is told what is planned and every row as it comes.
    """
    model, data, recipe, run, notes = prepared
    for note in notes:
        console.print(f"note: {note}")
    done = steps_saved(run.checkpoints)
    if done and done[-1] == recipe.steps:
        console.print(f"{run.folder} is trained already, to the end")
    elif done:
        console.print(f"going on with {run.folder} after step {done[-1]:,} of {recipe.steps:,}")
    else:
        plan = make_plan(model, data, recipe)
        print_plan(plan, console)
        if event is not None:
            event("plan", plan._asdict())
            for note in notes:
                event("note", {"step": 0, "note": note})
    with (
        TrainingDisplay(recipe.steps, console) as display,
        logging_to(run.folder / "tensorboard" if tensorboard else None) as log,
        stopping_on_signals() as stop,
    ):

        def report(row: Read) -> None:
            display(row)
            log(row)
            if event is not None:
                event(event_of(row), row)

        outcome = train(
            model,
            data,
            recipe,
            run=run,
            report=report,
            should_stop=stop.asked,
            sample=lambda model: sample(model, run.tokenizer, recipe.seed),
        )
    return outcome, stop.signal


def sample(model: Decoder, tokenizer: Tokenizer, seed: int) -> str:
    """What the model writes of its own accord."""
    start = tokenizer.begin_ids or [tokenizer.eos_id or 0]
    length = min(SAMPLE_TOKENS, model.config.n_ctx - 1)
    return tokenizer.decode_known(generate(model, start, max_new_tokens=length, seed=seed))


def print_plan(plan: Plan, console: Console) -> None:
    """Say what is to be expected before it begins."""
    memory = f"{size(plan.state_bytes)} of weights, gradients and optimizer"
    memory += f"; {size(plan.peak_bytes)} in all at the peak of the trial steps"
    console.print(f"model   {plan.parameters:,} parameters")
    console.print(f"text    {plan.n_tokens:,} training tokens; {plan.verdict()}")
    console.print(f"memory  {memory}")
    console.print(f"numbers {plan.precision}")
    console.print(
        f"time    about {duration(plan.seconds)}: {plan.steps:,} steps of"
        f" {plan.seconds_per_step * 1000:,.0f} ms for {plan.tokens_per_step:,} tokens"
    )


def size(n_bytes: int) -> str:
    """A number of bytes as people say it.

    >>> size(18_816), size(354_000_000)
    ('19 KB', '354 MB')
    """
    return f"{n_bytes / 1e3:,.0f} KB" if n_bytes < 1e6 else f"{n_bytes / 1e6:,.0f} MB"


def print_outcome(
    outcome: Outcome, prepared: Prepared, recalled: list[Recalled], console: Console
) -> None:
    """Say how it ended, where the model is, what to type next, and what it makes of its text."""
    folder, steps = prepared.run.folder, prepared.recipe.steps
    rows = (row for row in reversed(outcome.rows) if "val_loss" in row or "text_loss" in row)
    last = next(rows, None)
    result = f"; {measured(last)}" if last else ""
    if outcome.reason == "stopped":
        console.print(f"saved after step {outcome.step:,} of {steps:,}{result}")
        console.print(f"go on with:  glassformer train --out {pasted.word(folder)} --resume")
        return
    if outcome.reason == "early":
        console.print(
            f"stopped early after step {outcome.step:,}: the measured loss no longer fell;"
            " the folder holds the best model"
        )
    else:
        console.print(f"done after step {outcome.step:,}{result}")
    console.print(f"the model is in {folder}; ask it:")
    n_ctx, is_text = prepared.model.config.n_ctx, prepared.run.description.corpus["kind"] == "text"
    prompt = examples(prepared.run.tokenizer, n_ctx, prepared.run.data, own_first=is_text)[0][0]
    console.print(f"  {' '.join(pasted.parts('ask', [folder, prompt]))}")
    console.print(f"  {to_others(prepared.model, folder)}")
    if recalled:
        console.print("how it ends sentences of its text:")
    for asked in recalled:
        console.print(f"  {asked.spelled()}")


def to_others(model: Decoder, folder: Path) -> str:
    """How to give the model to other programs, or which field is in the way."""
    config = export_config(model.config)
    form = form_for(config, model.said.model_type)
    if form is OWN:
        return f"only Glassformer reads it: {in_the_way(config)}"
    words = [folder, f"{folder.name}-{form.model_type}"]
    return f"{' '.join(pasted.parts('export', words))}   # for other programs, as {form.model_type}"


class Stop:
    """Remembers the signal that asked training to end."""

    def __init__(self) -> None:
        self.signal: int | None = None

    def asked(self) -> bool:
        return self.signal is not None


@contextlib.contextmanager
def ending_at_once() -> Iterator[None]:
    """Ctrl-C ends the process here and now, also inside a library: there is nothing to save yet."""
    before = signal.signal(signal.SIGINT, signal.SIG_DFL)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


@contextlib.contextmanager
def stopping_on_signals() -> Iterator[Stop]:
    """The first Ctrl-C or SIGTERM asks for a stop after the step; the second ends at once."""
    stop = Stop()

    def handle(number: int, frame: FrameType | None) -> None:  # noqa: ARG001 (signal passes them)
        if stop.asked():
            os.write(sys.stderr.fileno(), b"\nleft at once; the last checkpoint is intact\n")
            os._exit(128 + number)
        stop.signal = number
        os.write(
            sys.stderr.fileno(), b"\nsaving at the end of this step; once more leaves at once\n"
        )

    before = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def logging_to(folder: Path | None) -> Iterator[Callable[[Read], None]]:
    """Writes every number of a row for TensorBoard; without a folder it does nothing."""
    if folder is None:
        yield lambda row: None
        return
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise GlassformerError(
            "--tensorboard needs the package tensorboard; pip install 'glassformer[tensorboard]'"
        ) from error
    with SummaryWriter(str(folder)) as writer:

        def log(row: Read) -> None:
            for name, value in row.items():
                if isinstance(value, float):
                    writer.add_scalar(name, value, row["step"])
            for kind, layers in row.get("health", {}).items():
                for layer, value in layers.items():
                    writer.add_scalar(f"{kind}/{layer}", value, row["step"])

        yield log
