"""`glassformer tokenize`: a text as tokens, ids and bytes, and every merge on the way there."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from typing import Annotated

import typer
from rich.cells import cell_len

from glassformer.cli.as_json import AsJson
from glassformer.cli.streams import read_stdin, say_json
from glassformer.describe import counted
from glassformer.errors import GlassformerError
from glassformer.interop.open import tokenizer_of
from glassformer.show.labels import visible
from glassformer.show.sheet import QUIET, Sheet
from glassformer.text.corpus import Corpus
from glassformer.text.merges import Pair
from glassformer.text.text_trace import TextStep, TextTrace
from glassformer.text.tokenizer import Tokenizer

STORYLAND_DOCUMENTS = 3000  # enough for a vocabulary of some hundred tokens
MOST_MERGES = 500  # of a word: n merges take n lines of up to n pieces to write out
MERGES_SHOWN = 12
TOKENS_SHOWN = 120  # of a vocabulary

EXAMPLES = """

Examples:

  glassformer tokenize "the cat sat on the mat"

  glassformer tokenize "banana bandana" --trace

  glassformer tokenize "the cat" --kind words --corpus story.txt

  glassformer tokenize "the cat" --tokenizer runs/demo --json
"""


def command(
    words: Annotated[
        list[str],
        typer.Argument(
            metavar="[RUN] TEXT",
            help="The text; - reads standard input. A run before it is --tokenizer RUN.",
            show_default=False,
        ),
    ],
    tokenizer: Annotated[
        str | None,
        typer.Option(
            metavar="RUN", help="Of a run, a preset or another model, or a tokenizer.json."
        ),
    ] = None,
    kind: Annotated[
        str | None, typer.Option(help="Train one of this kind: chars, words or bpe (the default).")
    ] = None,
    corpus: Annotated[
        list[str] | None,
        typer.Option(metavar="TEXT", help="Train on this file or folder; without, on Storyland."),
    ] = None,
    vocab_size: Annotated[
        int | None, typer.Option(help="Train this many tokens; bpe: 512 if not given.")
    ] = None,
    lowercase: Annotated[bool, typer.Option("--lowercase", help="Words in lower case.")] = False,
    vocabulary: Annotated[
        bool, typer.Option("--vocabulary", help="Also list the tokens that there are.")
    ] = False,
    trace: Annotated[bool, typer.Option("--trace", help="Replay every merge.")] = False,
    everything: Annotated[
        bool, typer.Option("--all", help="Show every merge that training learned, and every token.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    *run, text = words
    if len(run) > 1 or (run and tokenizer is not None):
        raise GlassformerError(
            f"{len(words)} texts are given, and one is shown at a time; put it in quotes"
        )
    tokenizer = run[0] if run else tokenizer
    text = read_stdin() if text == "-" else text
    trained = kind is not None or corpus or vocab_size is not None or lowercase
    if tokenizer is not None and trained:
        raise GlassformerError(
            "--tokenizer takes a tokenizer as it is, and --kind, --corpus, --vocab-size and "
            "--lowercase train one; give one or the other"
        )
    if tokenizer is not None:
        engine = tokenizer_of(tokenizer)
    else:
        engine = _train(kind or "bpe", corpus, vocab_size, lowercase, trace)
    replay = engine.trace(text) if trace else None
    if replay is not None:
        _refuse_long_words(replay)
    if as_json:
        say_json(_as_data(engine, text, replay))
        return
    sheet = Sheet()
    source = tokenizer or f"trained now on {', '.join(corpus or ['Storyland'])}"
    sheet.prose(f"{engine.kind} tokenizer of {engine.vocab_size:,} tokens, {source}", QUIET)
    if vocab_size is not None and engine.vocab_size < vocab_size:
        sheet.prose(
            f"{vocab_size:,} tokens were asked for; the text that it was trained on has"
            f" {'no more pairs that come up twice' if engine.kind == 'bpe' else 'no more'}"
        )
    if vocabulary:
        _print_vocabulary(sheet, engine, everything)
    if replay is not None:
        _print_learned(sheet, engine, everything)
        _print_words(sheet, replay)
    _print_tokens(sheet, engine, text)


command.__doc__ = f"Show a text as tokens, ids and bytes, and how it got there.{EXAMPLES}"


def _train(
    kind: str, corpus: list[str] | None, vocab_size: int | None, lowercase: bool, trace: bool
) -> Tokenizer:
    if corpus:
        texts = Corpus(corpus).texts()
    else:
        from glassformer.text import storyland

        texts = itertools.islice(storyland.texts(seed=0), STORYLAND_DOCUMENTS)
    return Tokenizer.train(kind, texts, vocab_size=vocab_size, lowercase=lowercase, trace=trace)


def _refuse_long_words(replay: TextTrace) -> None:
    most = max(
        (len(word.start or word.names) - len(word.names) for word in replay.words), default=0
    )
    if most > MOST_MERGES:
        raise GlassformerError(
            f"one word of the text takes {most:,} merges, and --trace writes out up to "
            f"{MOST_MERGES} of a word; give a text with spaces, or leave out --trace"
        )


def _as_data(tokenizer: Tokenizer, text: str, replay: TextTrace | None) -> dict[str, object]:
    data: dict[str, object] = {
        "tokenizer": {
            "kind": tokenizer.kind,
            "vocab_size": tokenizer.vocab_size,
            "eos_id": tokenizer.eos_id,
            "fingerprint": tokenizer.fingerprint,
        },
        "text": text,
        "tokens": [
            {"token": token, "id": token_id, "bytes": spelled}
            for token, token_id, spelled in _tokens(tokenizer, text)
        ],
        "unknown_words": tokenizer.unknown_words(text),
    }
    if replay is not None:
        data["steps"] = [_step_data(step) for step in replay.steps]
        data["merges_learned"] = [asdict(merge) for merge in tokenizer.merges_learned or ()]
    return data


def _tokens(tokenizer: Tokenizer, text: str) -> list[tuple[str, int, str]]:
    """Return each token of a text, its id, and its bytes in hexadecimal.

    A tokenizer with a mask token reads the text as its encoder does: `[MASK]` in it is one token.
    """
    ids = tokenizer.encode(text) if tokenizer.mask is None else tokenizer.encode_blanks(text)
    return [(tokenizer.token(i), i, tokenizer.token_bytes(i).hex(" ")) for i in ids]


def _step_data(step: TextStep) -> dict[str, object]:
    return {
        "op": step.op,
        "word": step.word,
        "pieces": step.pieces,
        "merge": step.merge and step.merge._asdict(),
        "considered": [pair._asdict() for pair in step.considered],
        "ids": step.ids,
    }


def _print_tokens(sheet: Sheet, tokenizer: Tokenizer, text: str) -> None:
    sheet.title("Tokens")
    rows = [
        (str(index), visible(token), str(token_id), spelled)
        for index, (token, token_id, spelled) in enumerate(_tokens(tokenizer, text))
    ]
    _print_table(sheet, ("place", "token", "id", "bytes"), rows)
    summary = f"{counted(len(text), 'character')}, {counted(len(text.encode()), 'byte')} in UTF-8"
    sheet.line()
    sheet.prose(f"{summary}: {counted(len(rows), 'token')}")
    unknown = tokenizer.unknown_words(text)
    if unknown:
        words = ", ".join(map(visible, unknown))
        sheet.prose(f"not in the vocabulary, so they became <unk>: {words}", "bold")


def _print_vocabulary(sheet: Sheet, tokenizer: Tokenizer, everything: bool) -> None:
    """Print the tokens that stand for text, each with its id; then, folded, all others."""
    listing = tokenizer.vocabulary.listing()
    what = "characters" if tokenizer.kind == "chars" else "tokens"
    sheet.title(f"The vocabulary: {len(listing.text):,} {what}")
    shown = listing.text if everything else listing.text[:TOKENS_SHOWN]
    entries = [f"{visible(tokenizer.token(i))} {i}" for i in shown]
    width = max((cell_len(sheet.spell(entry)) for entry in entries), default=1)
    across = max((sheet.width - 2) // (width + 3), 1)
    for row in _rows(entries, across):
        sheet.line("  " + "   ".join(sheet.cell(entry, width) for entry in row))
    if len(shown) < len(listing.text):
        left_out = len(listing.text) - len(shown)
        sheet.prose(f"… {left_out:,} more left out; --all shows them", QUIET, indent=2)
    if listing.special:
        names = ", ".join(f"{tokenizer.token(i)} {i}" for i in listing.special[:TOKENS_SHOWN])
        whose = "its" if len(listing.special) == 1 else "their"
        sheet.prose(f"and {names}: no text of {whose} own", indent=2)
    if listing.bytes:
        first, last = listing.bytes[0], listing.bytes[-1]
        sheet.prose(
            f"and {len(listing.bytes)} bytes, ids {first} to {last}: what is not in the list is"
            " spelled by the bytes of its UTF-8, so that any text can be read",
            indent=2,
        )


def _rows(entries: Sequence[str], across: int) -> list[Sequence[str]]:
    return [entries[i : i + across] for i in range(0, len(entries), across)]


def _print_learned(sheet: Sheet, tokenizer: Tokenizer, everything: bool) -> None:
    """Print the merges as training learned them, the first or all."""
    learned = tokenizer.merges_learned
    if not learned:
        return
    shown = learned if everything else learned[:MERGES_SHOWN]
    some = f", {len(shown)} of {len(learned)} (--all shows all)"
    sheet.title(f"The merges that training learned{some if len(shown) < len(learned) else ''}")
    rows = [
        (
            str(merge.rank),
            f"{visible(merge.left)} + {visible(merge.right)}",
            visible(merge.left + merge.right),
            f"{merge.count:,}",
        )
        for merge in shown
    ]
    _print_table(sheet, ("rank", "pair", "becomes", "times it stood in the text"), rows)


def _print_words(sheet: Sheet, replay: TextTrace) -> None:
    """Print each different word's merges, once."""
    sheet.title("From text to tokens")
    if replay.splits_words:
        sheet.prose(f"split into words: {_spaced([word.text for word in replay.words])}")
    times = Counter(word.text for word in replay.words)
    for index, word in enumerate(replay.words):
        again = times.pop(word.text, 0)
        if not again:
            continue  # shown above
        steps = list(word.steps(index, replay.table, replay.show))
        sheet.line()
        often = f" ({again} times)" if again > 1 else ""
        sheet.line((visible(word.text) + often, "bold"))
        rows = [_merge_row(step) for step in steps if step.merge is not None]
        if steps[0].op == "split":
            sheet.prose(f"pieces: {_spaced(steps[0].pieces)}", indent=2, hanging=2)
        if rows:
            _print_table(sheet, ("rank", "merge", "the word after it", "other pairs then"), rows)
        ids = " ".join(map(str, word.ids))
        sheet.prose(f"look up: {_spaced(steps[-1].pieces)} -> {ids}", indent=2, hanging=2)


def _merge_row(step: TextStep) -> tuple[str, str, str, str]:
    merge = step.merge
    assert merge is not None
    others = [pair for pair in step.considered if pair.rank is not None and pair != merge]
    waiting = ", ".join(f"{_plus(pair)} (rank {pair.rank})" for pair in others)
    return str(merge.rank), _plus(merge), _spaced(step.pieces), waiting


def _plus(pair: Pair) -> str:
    return f"{visible(pair.left)} + {visible(pair.right)}"


def _spaced(pieces: Sequence[str]) -> str:
    return " | ".join(map(visible, pieces))


def _print_table(sheet: Sheet, header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print columns as wide as they need; the last one may run over the console's width."""
    spelled = [[sheet.spell(cell) for cell in row] for row in (header, *rows)]
    widths = [max(map(cell_len, column)) for column in zip(*spelled, strict=True)]
    for index, row in enumerate(spelled):
        cells = [sheet.cell(cell, width) for cell, width in zip(row, widths, strict=True)]
        sheet.line(("  " + "  ".join(cells).rstrip(), QUIET if index == 0 else ""))
