"""glassformer ask: complete a prompt, or go on prompting."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from glassformer.cli.answer import Answers, note
from glassformer.cli.choosing import MinP, RepetitionPenalty, Seed, Temperature, TopK, TopP
from glassformer.cli.prompt_line import converse
from glassformer.cli.streams import read_stdin
from glassformer.cli.watching import AtStep, Run, open_run
from glassformer.generation.sampling import Sampling
from glassformer.show.sheet import Sheet


def command(
    run: Run,
    prompt: Annotated[
        str | None,
        typer.Argument(
            help="The text to continue. Without it, it is read from a pipe (less one newline at its"
            " end), or line by line from you."
        ),
    ] = None,
    max_tokens: Annotated[
        int, typer.Option(min=0, help="At most this many new tokens.", metavar="N")
    ] = 100,
    temperature: Temperature = 1.0,
    top_k: TopK = None,
    top_p: TopP = None,
    min_p: MinP = None,
    repetition_penalty: RepetitionPenalty = 1.0,
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
    weights: Annotated[
        str | None,
        typer.Option(
            help="Pack the weights first, as float32, bfloat16 or int8: long answers of a large"
            " model come faster.",
            show_default=False,
        ),
    ] = None,
    at_step: AtStep = None,
) -> None:
    """Complete a prompt with a run's model, token by token.

    A prompt of more tokens than the model's context is refused; a text that
    reaches the end of the context ends there, and says so. Without a prompt,
    on a terminal, you are asked for one after the other.
    """
    sampling = Sampling(temperature, top_k, top_p, min_p, repetition_penalty)
    model, tokenizer = open_run(run, at_step)
    answers = Answers(model, tokenizer, sampling, max_tokens, stop or [], seed, weights)
    if prompt is None and sys.stdin.isatty():
        return converse(answers)
    text: str = read_stdin().removesuffix("\n") if prompt is None else prompt
    answer = answers.complete(text)
    if (sys.stdout.isatty() if table is None else table) and answer.chosen:
        sheet = Sheet()
        sheet.line()
        answers.tell_choice(sheet)
        answers.tell_end(sheet)
    elif answer.finish_reason == "context":
        note(f"the text ends here: the model reads no more than n_ctx={model.config.n_ctx} tokens")
    return None
