"""`glassformer eval`: how surprised a model is by a text."""

from __future__ import annotations

import math
import tempfile
from pathlib import Path
from typing import Annotated, Any

import typer

from glassformer.cli.as_json import AsJson
from glassformer.cli.console import SafeConsole
from glassformer.cli.eval_prompts import answers_of, print_answers
from glassformer.cli.streams import say, say_json
from glassformer.cli.texts import TEXTS, Field, Separator, Template, unescaped
from glassformer.cli.watching import AtStep, Run, open_run
from glassformer.errors import GlassformerError
from glassformer.kernels.finite import refuse_no_loss
from glassformer.model import Decoder, Encoder, EncoderDecoder
from glassformer.show.sheet import Sheet
from glassformer.text.blocks import Blocks
from glassformer.text.corpus import FIELD, Corpus
from glassformer.text.tokenizer import Tokenizer
from glassformer.training import translation
from glassformer.training.blanks import measure_blanks, score
from glassformer.training.corpora import write_corpus
from glassformer.training.data import whole_text
from glassformer.training.device import choose_device
from glassformer.training.evaluate import evaluate, perplexity
from glassformer.training.health import uniform_loss
from glassformer.training.masking import Frame, MaskedData
from glassformer.training.run import read_description
from glassformer.training.storyland import measure
from glassformer.training.storyland_chat import measure_chats

ROWS = 16  # blocks at once
DECIMALS, FINEST = 4, 9  # of the numbers shown
LOSSES = ("loss", "floor", "above_the_floor")


def command(
    run: Run,
    texts: Annotated[
        list[str] | None,
        typer.Argument(metavar="[TEXT]...", help=TEXTS),
    ] = None,
    storyland: Annotated[
        bool, typer.Option("--storyland", help="Measure on fresh Storyland, beside its floor.")
    ] = False,
    language: Annotated[
        str | None,
        typer.Option(
            "--translation",
            metavar="LANGUAGE",
            help="Measure on fresh sentences to translate: into french or japanese.",
        ),
    ] = None,
    chat: Annotated[
        bool, typer.Option("--chat", help="Measure on fresh conversations about stories.")
    ] = False,
    in_context: Annotated[
        bool,
        typer.Option(
            "--in-context",
            help="Translations in fresh prompts, by the number of examples before them.",
        ),
    ] = False,
    field: Field = FIELD,
    template: Template = None,
    separator: Separator = None,
    device: Annotated[str, typer.Option(metavar="auto|cuda|mps|cpu")] = "auto",
    as_json: AsJson = False,
    at_step: AtStep = None,
) -> None:
    """Measure loss, perplexity and bits per byte on a text.

    Or on Storyland, translations or chats, fresh ones. A text is cut into blocks
    as long as the model's context; every token counts once, predicted from those
    before it in its block. Of an encoder 30% of the tokens are hidden and asked
    for; on Storyland one word of a document, beside what the document's other
    words tell. A reply of a chat is right if it is one of those that the story
    allows, to its end.
    """
    if bool(texts) + storyland + chat + in_context + (language is not None) != 1:
        raise GlassformerError(
            "give one thing to measure on: a text, --storyland, --chat, --translation LANGUAGE or"
            " --in-context"
        )
    model, tokenizer = open_run(run, at_step)
    if in_context:
        return _in_context(model.to(choose_device(device)), tokenizer, as_json)
    if isinstance(model, EncoderDecoder) != (language is not None):
        raise GlassformerError(
            "--translation LANGUAGE measures a model with an encoder and a decoder, and this one"
            + (" has one of them" if language else " is such a model; give it")
        )
    model.to(choose_device(device))
    if language is not None:
        rows = _on_translations(model, tokenizer, language)
    elif chat:
        rows = _on_chats(model, tokenizer)
    elif storyland:
        on_storyland = _on_storyland if model.config.causal else _on_storyland_blanks
        rows = on_storyland(model, tokenizer)
    else:
        corpus = Corpus(texts or [], field=field, separator=separator, template=unescaped(template))
        if model.config.causal:
            rows = _on_text(model, tokenizer, corpus, _reads_documents_alone(run))
        else:
            rows = _on_blanks(model, tokenizer, corpus)
    if as_json:  # which has no infinity
        say_json({name: value if math.isfinite(value) else None for name, value in rows.items()})
    refuse_no_loss(rows["loss"], next(model.parameters()).dtype)
    if not as_json:
        _print(rows)
    return None


def _print(rows: dict[str, Any]) -> None:
    console = SafeConsole()
    width = max(len(name) for name in rows)
    finer = _decimals(rows)
    for name, value in rows.items():
        decimals = finer if name in LOSSES else DECIMALS
        shown = f"{value:,}" if isinstance(value, int) else f"{value:,.{decimals}f}"
        console.print(f"{name.replace('_', ' '):<{width}}  {shown}")


def _in_context(
    model: Decoder | Encoder | EncoderDecoder, tokenizer: Tokenizer, as_json: bool
) -> None:
    """Translations by the examples before them; of a decoder also its loss beside the floor."""
    if isinstance(model, Encoder):
        raise GlassformerError(
            "a prompt with examples is for a model that goes on with a text, and an encoder fills"
            " blanks; give a run of --preset translation-in-context"
        )
    rows: dict[str, Any] = {}
    if isinstance(model, Decoder):
        result = measure(model, tokenizer, kind="prompts")
        refuse_no_loss(result.loss, next(model.parameters()).dtype)
        rows = {
            "loss": result.loss,
            "floor": result.floor,
            "above_the_floor": result.loss - result.floor,
            "perplexity": perplexity(result.loss),
        }
    answers = answers_of(model, tokenizer)
    if as_json:
        return say_json({**rows, "answers": answers})
    if rows:
        _print(rows)
    return print_answers(Sheet(), answers)


def _decimals(rows: dict[str, Any]) -> int:
    """The fewest places of the losses with which what follows from them does so as printed."""
    for decimals in range(DECIMALS, FINEST):
        loss = round(rows["loss"], decimals)
        derived = {"perplexity": math.exp(loss)}
        if "bytes" in rows:
            derived["bits_per_byte"] = loss * rows["tokens"] / rows["bytes"] / math.log(2)
        same = all(
            f"{value:.{DECIMALS}f}" == f"{rows[name]:.{DECIMALS}f}"
            for name, value in derived.items()
        )
        if "floor" in rows:
            above = loss - round(rows["floor"], decimals)
            same &= f"{above:.{decimals}f}" == f"{rows['above_the_floor']:.{decimals}f}"
        if same:
            return decimals
    return FINEST


def _reads_documents_alone(run: str) -> bool:
    """Whether it is a run that was trained with --document-mask; it is measured as it learned."""
    if not (Path(run) / "run.json").is_file():
        return False
    return bool(read_description(Path(run)).corpus.get("document_mask", False))


def _on_text(
    model: Decoder, tokenizer: Tokenizer, corpus: Corpus, document_mask: bool
) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        shard, notes = write_corpus(folder, corpus, tokenizer)
        for note in notes:
            say(f"note: {note}", error=True)
        if len(shard) == 1:
            raise GlassformerError(
                "there is nothing to measure: the text is one token, and none stands before it to"
                " predict it from; give a longer text"
            )
        score = evaluate(
            model,
            whole_text(shard, model.config.n_ctx, ROWS, document_mask),
            n_bytes=shard.header.n_bytes,
        )
    return {
        "loss": score.loss,
        "perplexity": score.perplexity,
        "bits_per_byte": score.bits_per_byte,
        "uniform_loss": uniform_loss(model.config.vocab_size),
        "tokens": score.n_tokens,
        "bytes": score.n_bytes,
    }


def _on_blanks(model: Encoder, tokenizer: Tokenizer, corpus: Corpus) -> dict[str, Any]:
    """An encoder on a text of which some tokens are hidden, always the same ones."""
    with tempfile.TemporaryDirectory() as folder:
        shard, notes = write_corpus(folder, corpus, tokenizer)
        for note in notes:
            say(f"note: {note}", error=True)
        n_ctx = model.config.n_ctx - Frame(tokenizer).width
        data = MaskedData(Blocks(shard, n_ctx, mode="whole"), tokenizer)
        result = score(model, data.held_out(ROWS))
    return {
        "loss": result.loss,
        "perplexity": perplexity(result.loss),
        "right": result.right / result.n,
        "uniform_loss": uniform_loss(model.config.vocab_size),
        "hidden_tokens": result.n,
    }


def _on_storyland_blanks(model: Encoder, tokenizer: Tokenizer) -> dict[str, Any]:
    result, floor, knowable = measure_blanks(model, tokenizer)
    return {
        "loss": result.loss,
        "floor": floor,
        "above_the_floor": result.loss - floor,
        "perplexity": perplexity(result.loss),
        "right": result.right / result.n,
        "right_at_best": knowable,
        "blanks": result.n,
    }


def _on_storyland(model: Decoder, tokenizer: Tokenizer) -> dict[str, Any]:
    score = measure(model, tokenizer)
    return {
        "loss": score.loss,
        "floor": score.floor,
        "above_the_floor": score.loss - score.floor,
        "perplexity": perplexity(score.loss),
        "answers_right": sum(score.right.values()) / sum(score.asked.values()),
        **{f"answers_right_in_{kind}": share for kind, share in sorted(score.accuracy.items())},
    }


def _on_chats(model: Decoder | Encoder, tokenizer: Tokenizer) -> dict[str, Any]:
    if isinstance(model, Encoder):
        raise GlassformerError("an encoder replies to nothing; leave --chat out")
    score = measure_chats(model, tokenizer)
    right = {kind: n / score.asked[kind] for kind, n in sorted(score.right.items())}
    return {
        "loss": score.loss,
        "floor": score.floor,
        "above_the_floor": score.loss - score.floor,
        "perplexity": perplexity(score.loss),
        "replies": sum(score.asked.values()),
        "right": score.accuracy,
        **{f"right_of_{kind.replace(' ', '_')}": share for kind, share in right.items()},
    }


def _on_translations(model: EncoderDecoder, tokenizer: Tokenizer, language: str) -> dict[str, Any]:
    score = translation.measure(model, tokenizer, language)
    return {
        "loss": score.loss,
        "floor": score.floor,
        "above_the_floor": score.loss - score.floor,
        "perplexity": perplexity(score.loss),
        "sentences": score.n,
        "exact": score.exact / score.n,
        "right": score.right / score.n,
    }
