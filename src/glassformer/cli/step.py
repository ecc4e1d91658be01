"""glassformer step: one training step as a story, or the same one again and again."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated, Any

import typer
from torch import Tensor

from glassformer.cli import pasted
from glassformer.cli.as_json import AsJson, token_data, tokens_data
from glassformer.cli.lab.subject import print_explain
from glassformer.cli.repeated_step import (
    More,
    print_overshoot,
    print_repeated,
    refuse_no_number,
    repeat,
    target_text,
)
from glassformer.cli.streams import say, say_json
from glassformer.cli.watching import Prompt, Run, note_replay
from glassformer.describe import counted
from glassformer.errors import GlassformerError
from glassformer.formula.spelling import spelled
from glassformer.interop import save
from glassformer.model import EncoderDecoder
from glassformer.show.labels import visible
from glassformer.show.preference_story import is_of_pairs
from glassformer.show.sheet import QUIET, Sheet
from glassformer.show.step_story import StepStory, extreme, print_step, target_tokens, weights_of
from glassformer.trace import Trace
from glassformer.training.optimizer import muon_lr
from glassformer.training.preference import BETA
from glassformer.training.train_state import TrainState, open_train_state, token_of
from glassformer.training.translation import translated, translated_as


def command(
    run: Run,
    prompt: Prompt,
    target: Annotated[
        str | None,
        typer.Option(
            help="Ask only for this word, after the last token; without it for the text's own next"
            " tokens.",
            metavar="WORD",
        ),
    ] = None,
    reply: Annotated[
        str | None,
        typer.Option(
            help="Of a model of chats: the text is a message, and only this reply is asked for; of"
            " two towers: this translation, in place of the model's own.",
            metavar="TEXT",
        ),
    ] = None,
    rejected: Annotated[
        str | None,
        typer.Option(
            help="Beside --reply: learn to prefer that reply to this one, as train --dpo does.",
            metavar="TEXT",
        ),
    ] = None,
    from_step: Annotated[
        int | None,
        typer.Option(min=0, help="Start where the run was after N updates.", metavar="N"),
    ] = None,
    steps: Annotated[
        int, typer.Option(min=1, max=10_000, help="Make the same step so often.", metavar="K")
    ] = 1,
    lr: Annotated[
        float | None, typer.Option(help="The learning rate instead of the run's own.")
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(help="Keep the changed model in this folder, and a picture."),
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help="Show every row.")] = False,
    as_json: AsJson = False,
) -> None:
    """Watch one training step: the guess, the surprise, the blame, the changed weights.

    A run goes on from its optimizer's state, at its learning rate; a preset
    starts anew. Nothing is changed: the step is made on a copy, which --out
    keeps. Two towers read the text as their source, and are asked for their own
    translation of it, or for --reply.
    """
    if out is not None and (out / "run.json").exists():
        raise GlassformerError(
            f"{out} holds a run, whose model would be replaced; give --out another folder"
        )
    state = open_train_state(run, from_step, lr, note_replay)
    ids, targets, more = asked_of(state, prompt, target, reply, rejected)
    if as_json and steps == 1 and out is None:
        return say_json(_one_as_data(state, ids, targets, more))
    if as_json:
        updates, losses, after = repeat(state, ids, targets, more, steps)
        if out is not None:
            _kept(after, losses[-1], out)
        return say_json({"lr": state.next_lr, "updates": updates, "losses": losses})
    sheet = Sheet()
    if steps == 1:
        trace = _print_one(state, ids, targets, more, sheet, everything)
        if lr is None:  # explain knows the run's own alone
            texts = {"--target": target, "--reply": reply, "--rejected": rejected}
            options = [f"{name} {pasted.word(t)}" for name, t in texts.items() if t is not None]
            options += [] if from_step is None else [f"--at-step {from_step}"]
            sheet.line()
            sheet.prose("How was a change made? For example the biggest:")
            result = (extreme(trace, f"opt/{name}.change") for name in weights_of(trace))
            biggest = max(result, key=lambda e: abs(e.largest))
            print_explain(sheet, run, prompt, biggest.address, *options)
    if steps > 1 or out is not None:
        updates, losses, after = repeat(state, ids, targets, more, steps)
        if steps > 1:
            print_repeated(state, targets, updates, losses, sheet)
        if out is not None:
            from glassformer.show.plots.learning import draw_learning
            from glassformer.show.plots.style import write

            what = target_text(state, targets)
            guess = 1 / state.model.config.vocab_size
            probs = [math.exp(-loss) for loss in losses]
            file = write(draw_learning(updates, probs, what, guess), out / "learning.png")
            say(f"\n{file}")
            if _kept(after, losses[-1], out):
                goes_on = state.model.config.causal and "source" not in more
                one = ["--max-tokens 1"] if goes_on else []
                say(f"the model after {counted(len(losses) - 1, 'step')} is in {out}; ask it:")
                say(f"  {' '.join(pasted.parts('ask', [out, prompt], *one))}")
            else:
                say("the steps diverged, so no model is kept")
    return None


def asked_of(
    state: TrainState, text: str, target: str | None, reply: str | None, rejected: str | None
) -> tuple[Tensor, Tensor, More]:
    """The tokens that are read, what is asked after each, and what replies are compared by."""
    if reply is not None and target is not None:
        raise GlassformerError("--reply and --target both say what is asked for; give one of them")
    if rejected is not None and reply is None:
        raise GlassformerError("--rejected is compared with a better reply; give that by --reply")
    if isinstance(state.model, EncoderDecoder):
        return _translation(state, text, target, reply, rejected)
    if reply is None:
        return *state.make_targets(text, target), {}
    if rejected is None:
        return *state.make_chat_targets(text, reply), {}
    return state.make_pair(text, reply, rejected, BETA)


def _translation(
    state: TrainState, text: str, target: str | None, reply: str | None, rejected: str | None
) -> tuple[Tensor, Tensor, More]:
    """The same of two towers: their own translation, or the reply, is asked for."""
    if rejected is not None:
        raise GlassformerError(
            "--rejected compares two replies of a chat, and this model translates; leave it out"
        )
    if reply is not None:
        read = translated_as(state.model, state.tokenizer, text, reply)
    else:
        last = None if target is None else token_of(state.tokenizer, target)
        read = translated(state.model, state.tokenizer, text, last)
    return read.ids, read.targets, {"source": read.source}


def _kept(state: TrainState, loss: float, folder: Path) -> bool:
    """Write the model into a folder that every command opens, unless it has diverged."""
    if math.isfinite(loss):
        save(state.model, state.tokenizer, folder)
    return math.isfinite(loss)


def _one_as_data(state: TrainState, ids: Tensor, targets: Tensor, more: More) -> dict[str, Any]:
    """The next update: what is asked and how probable it was, and how far each weight moves."""
    watched, trained = state.train_step(ids, targets, **more)
    trace, after = watched.trace, trained.model.watch(ids, targets, **more)
    probs = [t.value_of(t.node("fwd/logits"))[0].double().softmax(-1) for t in (trace, after)]
    questions = [
        {
            "pos": pos,
            "target": token_data(trace, token),
            "prob_before": probs[0][pos, token].item(),
            "prob_after": probs[1][pos, token].item(),
        }
        for pos, token in target_tokens(trace)
    ]
    source = trace.labels.get("source_pos")
    return {
        **({"source": [*source]} if source else {}),
        "tokens": tokens_data(trace),
        "update": state.done + 1,
        "lr": state.next_lr,
        "optimizer": state.recipe.optimizer,
        "loss_before": trace["fwd/loss"].item(),
        "loss_after": after["fwd/loss"].item(),
        "grad_norm": trace["opt/grad_norm"].item(),
        "clip": trace["opt/clip"].item(),
        "asked": questions,
        **({"preferred": [_preferred(trace), _preferred(after)]} if is_of_pairs(trace) else {}),
        "weights": [
            {
                "name": name,
                "gradient": extreme(trace, f"bwd/{name}")._asdict(),
                "change": extreme(trace, f"opt/{name}.change")._asdict(),
            }
            for name in weights_of(trace)
        ],
    }


def _preferred(trace: Trace) -> float:
    """The probability that the chosen reply is preferred."""
    return trace["fwd/preference"].flatten()[0].item()


def _print_one(
    state: TrainState, ids: Tensor, targets: Tensor, more: More, sheet: Sheet, everything: bool
) -> Trace:
    """Tell the next update; return its trace."""
    recipe, t = state.recipe, state.done + 1
    watched, trained = state.train_step(ids, targets, **more)
    refuse_no_number(watched.trace["fwd/loss"].item(), watched.trace["opt/grad_norm"].item())
    after = trained.model.watch(ids, targets, **more)
    sheet.prose(f"Update {t}, at learning rate {spelled(state.next_lr, 4)}", "bold")
    if recipe.optimizer == "muon":
        rate = spelled(muon_lr(recipe, state.next_lr), 4)
        sheet.prose(
            f"Muon, for the matrices of the blocks: learning rate {rate}, momentum"
            f" {recipe.momentum}; for the rest:",
            QUIET,
        )
    sheet.prose(
        f"AdamW: beta1 {recipe.beta1}, beta2 {recipe.beta2}, weight decay {recipe.weight_decay},"
        f" gradients clipped to {recipe.clip}",
        QUIET,
    )
    if t == 1 and recipe.optimizer != "muon":
        sheet.prose(
            "In AdamW's first step nearly every weight moves by the learning rate, however small"
            " its gradient.",
            QUIET,
        )
    if read := watched.trace.labels.get("source_pos"):
        sheet.prose(f"It reads: {' '.join(map(visible, read))}")
    print_step(StepStory(watched.trace, after, recipe.clip), sheet, everything)
    losses = [trace["fwd/loss"].item() for trace in (watched.trace, after)]
    print_overshoot(state, [state.done, trained.done], losses, sheet)
    return watched.trace
