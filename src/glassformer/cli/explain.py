"""glassformer explain: the arithmetic behind one number."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from glassformer.cli.as_json import AsJson, explanation_data
from glassformer.cli.choosing import (
    NO_DEFAULTS,
    MinP,
    RepetitionPenalty,
    Seed,
    Temperature,
    TopK,
    TopP,
    print_defaults,
)
from glassformer.cli.step import asked_of
from glassformer.cli.streams import say_json
from glassformer.cli.watching import AtStep, Prompt, Run, note_replay, open_run, watch_ids
from glassformer.errors import GlassformerError
from glassformer.generation.defaults import read_defaults
from glassformer.generation.generate import generate
from glassformer.generation.prompt import check_prompt
from glassformer.lab.edits import Edit, written
from glassformer.lab.logit_lens import logit_lens, record_guesses
from glassformer.model import EncoderDecoder
from glassformer.show.choice import TOKEN, print_choice
from glassformer.show.explanation import print_explanation
from glassformer.show.sheet import Sheet
from glassformer.trace import Address, Trace
from glassformer.training.train_state import inputs_of, open_train_state
from glassformer.watch.choice import record_choice

ASKED = ("token/targets", "fwd/log_partition", "fwd/target_logit", "fwd/token_loss", "fwd/loss")


def command(
    run: Run,
    prompt: Prompt,
    address: Annotated[
        str,
        typer.Argument(
            help="Which number: 'fwd/blocks.0.attn.pattern\\[head=0,query=3,key=1]'; `glassformer"
            " trace` shows the names."
        ),
    ],
    follow: Annotated[
        int, typer.Option(min=0, help="Follow operands this deep, as a tree.", metavar="DEPTH")
    ] = 0,
    everything: Annotated[
        bool, typer.Option("--all", help="Show every term and operand of long sums.")
    ] = False,
    edit: Annotated[
        list[str] | None,
        typer.Option(
            help="Set a value or a weight first, as `glassformer lab edit` does; may be repeated.",
            metavar="ADDRESS=VALUE",
        ),
    ] = None,
    temperature: Temperature = None,
    top_k: TopK = None,
    top_p: TopP = None,
    min_p: MinP = None,
    repetition_penalty: RepetitionPenalty = None,
    seed: Seed = 0,
    target: Annotated[
        str | None,
        typer.Option(
            help="For a gradient or an update: the word asked for after the last token; without it"
            " the text's own next tokens are.",
            metavar="WORD",
        ),
    ] = None,
    reply: Annotated[
        str | None,
        typer.Option(
            help="Of a model of chats: the text is a message, and this reply is asked for; of two"
            " towers: this translation.",
            metavar="TEXT",
        ),
    ] = None,
    rejected: Annotated[
        str | None,
        typer.Option(
            help="Beside --reply: that reply is learned to be preferred to this one.",
            metavar="TEXT",
        ),
    ] = None,
    check: Annotated[
        bool, typer.Option("--check", help="Compare a gradient with a finite difference.")
    ] = False,
    at_step: AtStep = None,
    full: Annotated[
        bool, typer.Option("--full", help="Write the arithmetic with all digits.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Show how one number was made: formula, arithmetic, operands, and a check.

    bwd/... explains a gradient, opt/... how the next training step would move a
    weight; '@step=N ' before an address is --at-step N.

    choose/token and what leads to it explain which token comes next, and
    '@token=5 choose/token' the choice five tokens later.
    """
    options: dict[str, float | None] = {
        "temperature": temperature,
        "top_k": top_k,
        "top_p": top_p,
        "min_p": min_p,
        "repetition_penalty": repetition_penalty,
    }
    NO_DEFAULTS.sampling(**options)  # refuses what can't be, before a model is opened
    where = Address.parse(address)
    at_step = at_step if where.step is None else where.step
    changed: Edit = dict(written(text) for text in edit or ())
    answers = (target, reply, rejected)
    if belongs_to_a_step(where.path) or any(text is not None for text in answers):
        trace = _learning(run, at_step, prompt, answers, where, changed)
    else:
        trace = _reading(run, at_step, prompt, where, changed, options, seed or 0)
    result = trace.explain(where, check=check)
    if as_json:
        return say_json(explanation_data(result, follow))
    print_explanation(result, everything=everything, follow=follow, full=full)
    if where.path == TOKEN:
        sheet = Sheet()
        sheet.line()
        print_choice(trace, sheet)
    return None


def _reading(
    run: str,
    at_step: int | None,
    prompt: str,
    where: Address,
    edit: Edit,
    options: dict[str, float | None],
    seed: int,
) -> Trace:
    """A pass over the prompt and, for `@token` or a choice, over what the model makes follow it."""
    model, tokenizer = open_run(run, at_step)
    if isinstance(model, EncoderDecoder):
        if where.kind == "choose" or where.token is not None:
            raise GlassformerError(
                "of an encoder-decoder the whole translation is read at once, the likeliest word"
                " each time; leave @token out, and explain fwd/probs or what leads to it"
            )
        ids, more = inputs_of(model, tokenizer, prompt)
        trace = model.watch(ids, edit=edit, **more)
        if where.name.startswith("lens."):
            logit_lens(model, trace)
        return trace
    read, index = tokenizer.encode_prompt(prompt), where.token or 0
    check_prompt(model, read)
    if len(read) + index > model.config.n_ctx:
        raise GlassformerError(
            f"@token={index} is beyond the context of {model.config.n_ctx} tokens, of which the"
            f" prompt has {len(read)}; give at most {max(model.config.n_ctx - len(read), 0)}"
        )
    defaults = read_defaults(model.folder_settings)
    sampling = defaults.sampling(**options)
    if index or where.kind == "choose":
        print_defaults(defaults, {**options, "max_new_tokens": index, "stop": "none"})
    how = {"seed": seed, **asdict(sampling)}
    if index:
        read += list(generate(model, read, max_new_tokens=index, **how))
    trace = watch_ids(model, read, edit)
    if where.name.startswith("lens."):
        logit_lens(model, trace)
        record_guesses(model, trace)
    if where.kind == "choose":
        record_choice(trace, sampling, seed=seed, index=index)
    return trace


def _learning(
    run: str,
    at_step: int | None,
    prompt: str,
    answers: tuple[str | None, str | None, str | None],
    where: Address,
    edit: Edit,
) -> Trace:
    """A pass with its gradients and, if that is asked for, the update they lead to."""
    state = open_train_state(run, at_step, report=note_replay)
    ids, targets, more = asked_of(state, prompt, *answers)
    if where.kind not in ("opt", "const"):
        trace: Trace = state.model.watch(ids, targets, backward=True, edit=edit, **more)
        return trace
    if edit:
        raise GlassformerError(
            f"{where} belongs to a training step, which has no edits; leave out --edit, or explain"
            " a gradient (bwd/...) with it"
        )
    return state.train_step(ids, targets, **more)[0].trace


def belongs_to_a_step(path: str) -> bool:
    """Whether a value is there only where something is asked: losses, gradients, updates."""
    kind, _, name = path.partition("/")
    earlier = kind == "const" and name.endswith((".m_prev", ".v_prev"))
    return kind in ("bwd", "opt") or earlier or path in ASKED
