"""glassformer ask: complete a prompt, or go on prompting."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Annotated, Any

import typer

from glassformer.cli.answer import Answers
from glassformer.cli.as_json import AsJson
from glassformer.cli.blanks import answer_blanks, refuse_what_continues
from glassformer.cli.chat_answer import ChatAnswers
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
from glassformer.cli.prompt_line import converse
from glassformer.cli.streams import note, read_lines, read_stdin, say_json
from glassformer.cli.watching import AtStep, Run, open_run
from glassformer.errors import GlassformerError
from glassformer.generation.defaults import read_defaults
from glassformer.model import EncoderDecoder
from glassformer.show.sheet import Sheet

MAX_TOKENS = 100
LOOP_TOKENS, LOOP_SEED = 40, 0
"""In the loop: a sentence or two, and the same prompt gets the same answer; /seed off ends that."""


def command(
    run: Run,
    prompt: Annotated[
        str | None,
        typer.Argument(
            help="The text to continue. Without it, it is read from a pipe (less one newline at its"
            " end; with --chat each line is a message), or line by line from you."
        ),
    ] = None,
    max_tokens: Annotated[
        int | None,
        typer.Option(
            min=0,
            help="At most this many new tokens.",
            metavar="N",
            show_default=f"what the model's folder says, else {MAX_TOKENS}",
        ),
    ] = None,
    temperature: Temperature = None,
    top_k: TopK = None,
    top_p: TopP = None,
    min_p: MinP = None,
    repetition_penalty: RepetitionPenalty = None,
    seed: Seed = None,
    stop: Annotated[
        list[str] | None,
        typer.Option(help="End before this text; may be repeated.", metavar="TEXT"),
    ] = None,
    table: Annotated[
        bool | None,
        typer.Option(
            "--table/--no-table",
            help="Also show what could have come first, with its probabilities before and after"
            " each setting, and why it was this token; on a terminal it is, if nothing is said.",
            show_default=False,
        ),
    ] = None,
    show: Annotated[
        bool,
        typer.Option(
            "--show",
            help="Also show the way to the first token on one screen: tokens, embeddings, each"
            " layer, the output head.",
        ),
    ] = False,
    chat: Annotated[
        bool,
        typer.Option(
            "--chat",
            help="The prompt is a message; the reply follows, and what was said is kept.",
        ),
    ] = False,
    weights: Annotated[
        str | None,
        typer.Option(
            help="Pack the weights first, as float32, bfloat16 or int8: long answers of a large"
            " model come faster.",
            show_default=False,
        ),
    ] = None,
    at_step: AtStep = None,
    as_json: AsJson = False,
) -> None:
    """Complete a prompt with a run's model, token by token.

    A prompt of more tokens than the model's context is refused; a text that
    reaches the end of the context ends there, and says so. Without a prompt,
    on a terminal, you are asked for one after the other; there an answer has
    at most 40 tokens and the seed is 0, if nothing else is said.

    An encoder says what stands in every [MASK] of the text, with probabilities.

    A model of two towers reads the text as its source and answers with what
    it writes for it, a translation; the likeliest token each time, if no
    temperature is given.
    """
    options: dict[str, float | None] = {
        "temperature": temperature,
        "top_k": top_k,
        "top_p": top_p,
        "min_p": min_p,
        "repetition_penalty": repetition_penalty,
    }
    NO_DEFAULTS.sampling(**options)  # refuses what can't be, before a model is opened
    model, tokenizer = open_run(run, at_step)
    if not model.config.causal:
        extras = {"max_tokens": max_tokens, "stop": stop, "show": show, "weights": weights}
        extras["chat"] = chat
        refuse_what_continues(**options, seed=seed, **extras)
        if prompt is None and sys.stdin.isatty():
            raise GlassformerError(
                "an encoder fills blanks of one text; give it, such as 'the [MASK] sat on the mat'"
            )
        text = _piped() if prompt is None else prompt
        return answer_blanks(model, tokenizer, text, as_json)
    defaults = read_defaults(model.folder_settings)
    if isinstance(model, EncoderDecoder) and temperature is None:
        # a translation is the likeliest one, where a continuation is drawn
        options["temperature"] = defaults.settings.get("temperature", 0)
    print_defaults(defaults, {**options, "max_new_tokens": max_tokens, "stop": stop})
    talks = prompt is None and sys.stdin.isatty()
    if max_tokens is None and defaults.most_new(0) is None:
        max_tokens = LOOP_TOKENS if talks else MAX_TOKENS
    if talks and seed is None:
        seed = LOOP_SEED
    sampling, ends = defaults.sampling(**options), stop or [*defaults.stop_strings]
    kind = ChatAnswers if chat else Answers
    answers = kind(model, tokenizer, sampling, max_tokens, ends, seed, weights)
    if talks:
        if as_json:
            raise GlassformerError("--json answers one prompt; give it, or pipe it in")
        return converse(answers, show)
    if show and as_json:
        raise GlassformerError("--show is for people; for programs there is trace --json")
    texts = [prompt] if prompt is not None else _messages() if chat else [_piped()]
    for text in texts:
        if as_json:
            say_json(_as_data(answers, text), on_one_line=chat and prompt is None)
        else:
            _answer(answers, text, table, show)
    return None


def _piped() -> str:
    """The text of a pipe; the newline at its end is not part of it."""
    return read_stdin().removesuffix("\n")


def _messages() -> Iterator[str]:
    """The messages of a pipe, one a line; empty lines say nothing."""
    silent = True
    for line in read_lines():
        if line.strip():
            silent = False
            yield line.removesuffix("\n")
    if silent:
        raise GlassformerError("no message was piped in; write one on each line, or as an argument")


def _answer(answers: Answers, text: str, table: bool | None, show: bool) -> None:
    """Print one answer, and what was asked to be shown of it."""
    answer = answers.complete(text)
    if show:
        answers.print_short()
    if (sys.stdout.isatty() if table is None else table) and answer.chosen:
        sheet = Sheet()
        sheet.line()
        answers.print_choice(sheet)
        answers.print_end(sheet)
    elif answer.finish_reason == "context":
        n_ctx = answers.model.config.n_ctx
        note(f"the text ends here: the model reads no more than n_ctx={n_ctx} tokens")


def _as_data(answers: Answers, prompt: str) -> dict[str, Any]:
    """One answer: its text, its tokens, how they were chosen, and why it ended."""
    answer, pieces = answers.begin(prompt)
    text = "".join(pieces)  # the answer grows as it is read

    def listed(ids: Sequence[int]) -> list[dict[str, Any]]:
        return [{"id": i, "token": answers.tokenizer.shown(i)} for i in ids]

    return {
        "prompt": prompt,
        "text": text,
        **({"source_tokens": listed(answers.source)} if answers.source else {}),
        "prompt_tokens": listed(answer.prompt),
        "tokens": listed(answer.new),
        "finish_reason": answer.finish_reason,
        "seed": answer.seed,
        "sampling": asdict(answer.sampling),
    }
