"""Prompts that suit a model: words that it knows, or the text that it was trained on."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from itertools import groupby, islice
from pathlib import Path

from glassformer.errors import GlassformerError
from glassformer.text.shard import Shard
from glassformer.text.tokenizer import Tokenizer
from glassformer.text.words import is_ended, sentences_of, without_end

SHOWN = 4
LETTERS = 40  # of a prompt that is taken from a text
WINDOW = 160  # tokens that are looked through for it

WORDS = (
    ("the easiest trick to teach a", None),
    ("the cat sat on the", "mat"),
    ("fig is black. apple is green. fig is", None),
    ("tol means sun. mup means tree. tol means", None),
    ("the cat sat on", "the"),
    ("a red cat sat on a", "mat"),
    ("the dog sat on", "mat"),
)
"""Prompts of words, with a word that may come next; a model is shown those whose words it knows."""

PIECES = (
    ("Once upon a time", None),
    ("When Mary and John went to the store, John gave a drink to", None),
    ("one two three four five", None),
)
"""Prompts for models that take text in pieces and know any."""


def examples(
    tokenizer: Tokenizer, n_ctx: int, data: Path | None = None, own_first: bool = False
) -> list[tuple[str, str | None]]:
    """Some prompts of at most `n_ctx` tokens that the model can read, the best first.

    `data`: the tokens that the model was trained on; `own_first`: its text goes before WORDS.
    """
    chosen: list[tuple[str, str | None]] = []
    if data is not None:
        for start in beginnings(tokenizer, data):
            text = shortened(tokenizer, n_ctx, start)
            # a whole sentence would leave nothing to say
            parts = without_end(text) if is_ended(text) else None
            prompt, word = parts or (text, None)
            chosen.append((prompt, word if tokenizer.kind == "words" else None))
    words = [*chosen, *WORDS] if own_first else [*WORDS, *chosen]
    known = words if tokenizer.kind == "words" else chosen or [*PIECES]
    fitting = (pair for pair in dict.fromkeys(known) if _fits(tokenizer, n_ctx, pair[0]))
    return [*islice(fitting, SHOWN)] or [(_any_token(tokenizer), None)]


def blanked(prompt: str, tokenizer: Tokenizer) -> str:
    """A prompt with a blank at its end, for an encoder whose tokenizer has one.

    >>> blanked("the cat", Tokenizer.of_masked_words(["the cat"]))
    'the cat [MASK]'
    """
    return prompt if tokenizer.mask is None else f"{prompt} {tokenizer.mask}"


def _any_token(tokenizer: Tokenizer) -> str:
    """The text of the first token that stands for itself: no special one, and no lone byte."""
    texts = ((i, tokenizer.token(i)) for i in range(tokenizer.vocab_size))
    known = (text for i, text in texts if text.strip() and _known(tokenizer, text) == [i])
    return next(known, tokenizer.token(0))


def shortened(tokenizer: Tokenizer, n_ctx: int, start: str) -> str:
    """As many of a text's first words, or of its first word's letters, as leave room to go on.

    >>> letters = Tokenizer.train("chars", ["all happy families"])
    >>> [shortened(letters, n_ctx, "all happy families") for n_ctx in (64, 12, 3)]
    ['all happy families', 'all happy', 'al']
    """
    words = start.split(" ")
    shorter = [" ".join(words[:n]) for n in range(len(words), 0, -1)]
    shorter += [words[0][:n] for n in range(len(words[0]) - 1, 0, -1)]
    return next((text for text in shorter if _fits(tokenizer, n_ctx - 1, text)), start)


def unfinished(tokenizer: Tokenizer, n_ctx: int, data: Path) -> list[tuple[str, str]]:
    """The first and the last sentence of a text that the model can read, as `without_end`.

    Of a text without full stops, a line of it, or as many of its first words as there is room for.
    """
    windows = _windows(tokenizer, data, lambda n: [0, max(n - WINDOW, 0)])
    result: list[tuple[str, str]] = []
    for index, window in zip((0, -1), windows, strict=False):
        is_end = groupby(window, lambda i: i == tokenizer.eos_id)
        documents = [[*ids] for ends, ids in is_end if not ends] or [[]]
        parts = sentences_of(tokenizer.decode(documents[index]))
        # the first of the last window may have lost its beginning
        in_order = parts if index == 0 else parts[:0:-1] or parts
        ended = [part for part in in_order if is_ended(part)]
        asked = map(without_end, (*ended, *in_order, *map(_short, in_order)))
        fitting = (p for p in asked if p is not None and _fits(tokenizer, n_ctx - 1, p[0]))
        result += islice((p for p in fitting if len(p[0]) <= LETTERS), 1)
    return [*dict.fromkeys(result)]


def beginnings(tokenizer: Tokenizer, data: Path) -> Iterator[str]:
    """How sentences of a text begin, from places spread over it."""
    begins = _windows(tokenizer, data, lambda n: [index * n // SHOWN for index in range(SHOWN)])
    for index, window in enumerate(begins):
        ids = [i for i in window if i != tokenizer.eos_id]
        # the first sentence may have lost its beginning
        sentences = re.split(r"(?<=[.!?\n])\s+", tokenizer.decode(ids).strip())[index > 0 :]
        lines = " ".join(sentences).splitlines() or [""]
        start = _short(lines[0])
        if start:
            yield start


def _short(line: str) -> str:
    """A line's first LETTERS letters, up to a word's end where the script has spaces."""
    start = line[: LETTERS + 1]
    if len(start) > LETTERS:
        start = start.rpartition(" ")[0] or start[:LETTERS]
    return start.strip()


def _windows(
    tokenizer: Tokenizer, data: Path, begins: Callable[[int], list[int]]
) -> list[list[int]]:
    """Tokens that a model was trained on, from some places of so many; none where unreadable."""
    try:
        shard = Shard(data, tokenizer=tokenizer)
        return [shard.ids(slice(at, at + WINDOW)).tolist() for at in begins(len(shard))]
    except GlassformerError:  # moved without its data, damaged, or of another tokenizer
        return []


def _fits(tokenizer: Tokenizer, n_ctx: int, prompt: str) -> bool:
    return 0 < len(_known(tokenizer, prompt)) <= n_ctx


def _known(tokenizer: Tokenizer, prompt: str) -> list[int]:
    """The tokens of a prompt as a model reads it; none where a word is not in the vocabulary."""
    try:
        ids = tokenizer.encode_prompt(prompt)
    except GlassformerError:  # there is no <unk> to put in its place
        return []
    return [] if tokenizer.unknown_words(prompt) else ids
