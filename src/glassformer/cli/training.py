"""A training with its display: what is planned, what is measured, how it ended."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from rich.console import Console

from glassformer.cli import pasted
from glassformer.cli.progress import TrainingDisplay, duration, measured
from glassformer.cli.recall import Recalled, translations_of
from glassformer.cli.stopping import exiting, stopping_on_signals
from glassformer.cli.streams import say_json
from glassformer.describe import counted
from glassformer.generation.blanks import fill_blanks
from glassformer.generation.generate import generate
from glassformer.interop.export import export_config
from glassformer.interop.match import form_for, what_no_family_has
from glassformer.interop.own import OWN
from glassformer.metrics import Row
from glassformer.model import Encoder, EncoderDecoder
from glassformer.model.kinds import AnyModel
from glassformer.text.tokenizer import Tokenizer
from glassformer.training.checkpoint import steps_saved
from glassformer.training.examples import blanked, examples
from glassformer.training.loggers import logging_to
from glassformer.training.loop import Outcome, train
from glassformer.training.plan import Plan, make_plan
from glassformer.training.prepare import Prepared
from glassformer.training.ranks import ALONE, Ranks
from glassformer.training.run import load_run
from glassformer.training.translation import TO_TRANSLATE

SAMPLE_TOKENS = 40
RECALLED = {
    "text": "how it ends sentences of its text:",
    "translation": "how it translates sentences that it was not trained on:",
}


def train_showing(
    prepared: Prepared,
    console: Console,
    loggers: tuple[str, ...] = (),
    event: Callable[[str, Mapping[str, object]], None] | None = None,
    ranks: Ranks = ALONE,
) -> tuple[Outcome, int | None]:
    """Train with a display; return how it ended, and the signal that asked for it, if one did.

    `loggers` get every row, and `event`, where given, is told what is planned and every row. Of
    several ranks each calls this, and the console of all but the first is quiet.
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
        plan = make_plan(model, data, recipe, ranks)
        print_plan(plan, console)
        if event is not None:
            event("plan", plan._asdict())
            for note in notes:
                event("note", {"step": 0, "note": note})
    with (
        TrainingDisplay(recipe.steps, console, data.floor) as display,
        logging_to(loggers, run) as log,
        stopping_on_signals(ranks) as stop,
        ranks.naming_the_missing(),
    ):

        def report(row: Row) -> None:
            display(row)
            log(row)
            if event is not None:
                event(event_of(row), row)

        try:
            outcome = train(
                model,
                data,
                recipe,
                run=run,
                report=report,
                should_stop=stop.requested,
                sample=lambda m: sample(m, run.tokenizer, recipe.seed, run.description.corpus),
                ranks=ranks,
            )
        except BrokenPipeError:  # by the same Ctrl-C, perhaps: `2>&1 | tee` gets it, too
            with exiting(stop.signal):
                raise
    return outcome, stop.signal


def say_event(name: str, row: Mapping[str, object]) -> None:
    """One thing that happened, as JSON on a line of its own."""
    say_json({"event": name, **row}, on_one_line=True)


def event_of(row: Row) -> str:
    """What a row of the metrics tells.

    >>> event_of({"step": 3, "loss": 2.0}), event_of({"step": 3, "val_loss": 2.0})
    ('step', 'evaluation')
    """
    names = {"loss": "step", "uniform_loss": "baseline"}
    names |= dict.fromkeys(("val_loss", "text_loss"), "evaluation")
    named = (name for key, name in names.items() if key in row)
    return next(named, None) or next(key for key in row if key != "step")  # sample, note, health


def sample(model: AnyModel, tokenizer: Tokenizer, seed: int, corpus: Mapping[str, Any]) -> str:
    """What the model writes of its own accord, or makes of a sentence, or of a blank in one."""
    if isinstance(model, EncoderDecoder):
        first = translations_of(model, tokenizer, corpus["language"])[0]
        return f"{first.prompt} -> {first.answer}"
    if isinstance(model, Encoder):
        text = with_blank(tokenizer, model.config.n_ctx)
        blank = fill_blanks(model, tokenizer, tokenizer.encode_prompt(text), n=3)[0]
        guesses = (f"{tokenizer.shown(token)} {p:.0%}" for token, p in blank.best)
        return f"{text} -> {', '.join(guesses)}"
    start = tokenizer.begin_ids or [tokenizer.eos_id or 0]
    length = min(SAMPLE_TOKENS, model.config.n_ctx - 1)
    return tokenizer.decode_known(generate(model, start, max_new_tokens=length, seed=seed))


def with_blank(tokenizer: Tokenizer, n_ctx: int, data: Path | None = None) -> str:
    """A text whose last word is hidden, for an encoder; the blank alone where there is no room."""
    if n_ctx < 8:  # with what stands around a text
        return str(tokenizer.mask)
    return blanked(examples(tokenizer, n_ctx - 3, data)[0][0], tokenizer)


def print_plan(plan: Plan, console: Console) -> None:
    """Say what is to be expected before it begins."""
    memory = f"{size(plan.state_bytes)} of weights, gradients and optimizer"
    memory += f"; {size(plan.peak_bytes)} in all at the peak of the trial steps"
    alone = f", of which {plan.learned:,} are trained" if plan.learned else ""
    console.print(f"model   {plan.parameters:,} parameters{alone}")
    console.print(f"text    {plan.n_tokens:,} training tokens; {plan.verdict()}")
    console.print(f"memory  {memory}")
    console.print(f"numbers {plan.precision}")
    console.print(
        f"time    about {duration(plan.seconds)}: {counted(plan.steps, 'step')} of"
        f" {milliseconds(plan.seconds_per_step)} for {plan.tokens_per_step:,} tokens"
    )


def milliseconds(seconds: float) -> str:
    """A step's time as people say it.

    >>> milliseconds(0.0123), milliseconds(75)
    ('12 ms', '1 min 15 s')
    """
    return f"{seconds * 1000:,.0f} ms" if seconds < 10 else duration(seconds)


def size(n_bytes: int) -> str:
    """A number of bytes as people say it.

    >>> size(18_816), size(354_000_000)
    ('19 KB', '354 MB')
    """
    return f"{n_bytes / 1e3:,.0f} KB" if n_bytes < 1e6 else f"{n_bytes / 1e6:,.0f} MB"


def print_outcome(
    outcome: Outcome,
    prepared: Prepared,
    recalled: list[Recalled],
    console: Console,
    n_ranks: int = 1,
) -> None:
    """Say how it ended, what the model makes of its text, where it is, and last what to type."""
    folder, steps = prepared.run.folder, prepared.recipe.steps
    corpus = prepared.run.description.corpus
    past = load_run(folder)
    held = past.step_held
    rows = (r for r in past.rows if r["step"] == held and ("val_loss" in r or "text_loss" in r))
    row = next(rows, None)
    result = f"; {measured(row)}" if row else ""
    if held is not None and held < outcome.step and past.is_over:
        result = f"; the folder holds the best model, of step {held:,}{result}"
    if outcome.reason == "stopped":
        console.print(f"saved after step {outcome.step:,} of {steps:,}{result}")
        start = f"torchrun --nproc-per-node {n_ranks} -m " if n_ranks > 1 else ""
        resume = f"glassformer train --out {pasted.word(folder)} --resume"
        console.print(f"go on with:  {start}{resume}")
        return
    if outcome.reason == "early":
        console.print(
            f"stopped early after step {outcome.step:,}: the measured loss no longer fell{result}"
        )
    else:
        console.print(f"done after step {outcome.step:,}{result}")
    if recalled:
        console.print(RECALLED[corpus["kind"]])
        for answer in recalled:
            console.print(f"  {answer.spelled()}")
    console.print(f"the model is in {folder}; ask it:")
    console.print(f"  {' '.join(_question(prepared))}")
    console.print(f"  {to_others(prepared.model, folder)}")


def _question(prepared: Prepared) -> list[str]:
    """The command that asks the new model something that suits it."""
    folder, kind = prepared.run.folder, prepared.run.description.corpus["kind"]
    if kind in ("chat", "preference"):
        return pasted.parts("ask", [folder], "--chat")
    if kind == "translation":
        return pasted.parts("ask", [folder, TO_TRANSLATE[0]])
    n_ctx, tokenizer = prepared.model.config.n_ctx, prepared.run.tokenizer
    if not prepared.model.config.causal:
        return pasted.parts("ask", [folder, with_blank(tokenizer, n_ctx, prepared.run.data)])
    prompts = examples(tokenizer, n_ctx, prepared.run.data, own_first=kind == "text")
    return pasted.parts("ask", [folder, prompts[0][0]])


def to_others(model: AnyModel, folder: Path) -> str:
    """How to give the model to other programs, or which field is in the way."""
    if isinstance(model, EncoderDecoder):
        return "transformers opens the folder as it is, as a model of the family marian"
    config = export_config(model.config)
    form = form_for(config, model.folder_settings.model_type)
    if form is OWN:
        return f"only Glassformer reads it: {what_no_family_has(config)}"
    words = [folder, f"{folder.name}-{form.model_type}"]
    return f"{' '.join(pasted.parts('export', words))}   # for other programs, as {form.model_type}"
