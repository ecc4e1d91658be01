"""Prompts that suit a model: words that it knows, or the text that it was trained on."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from glassformer.errors import GlassformerError
from glassformer.text.shard import Shard
from glassformer.text.tokenizer import Tokenizer

SHOWN = 4
LETTERS = 40  # of a prompt that is taken from a text
WINDOW = 160  # tokens that are looked through for it

WORDS = (
    ("the easiest trick to teach a dog is", None),
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
    starts = beginnings(tokenizer, data) if data else ()
    own = [(shortened(tokenizer, n_ctx, start), None) for start in starts]
    words = [*own, *WORDS] if own_first else [*WORDS, *own]
    known = words if tokenizer.kind == "words" else own or [*PIECES]
    fitting = (pair for pair in dict.fromkeys(known) if _fits(tokenizer, n_ctx, pair[0]))
    return [*islice(fitting, SHOWN)] or [(tokenizer.token(0), None)]


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


def beginnings(tokenizer: Tokenizer, data: Path) -> Iterator[str]:
    """How sentences of a text begin, from places spread over it."""
    try:
        shard = Shard(data, tokenizer=tokenizer)
        begins = [place * len(shard) // SHOWN for place in range(SHOWN)]
        windows = [shard.ids(slice(begin, begin + WINDOW)).tolist() for begin in begins]
    except GlassformerError:  # moved without its data, damaged, or of another tokenizer
        return
    for place, window in enumerate(windows):
        ids = [i for i in window if i != shard.header.eos_id]
        # the first sentence may have lost its beginning
        sentences = re.split(r"(?<=[.!?\n])\s+", tokenizer.decode(ids).strip())[place > 0 :]
        lines = " ".join(sentences).splitlines() or [""]
        start = lines[0][: LETTERS + 1]
        if len(start) > LETTERS:  # up to a word's end, where the script has spaces
            start = start.rpartition(" ")[0] or start[:LETTERS]
        start = start.strip()
        if start:
            yield start


def _fits(tokenizer: Tokenizer, n_ctx: int, prompt: str) -> bool:
    try:
        n = len(tokenizer.encode_prompt(prompt))
    except GlassformerError:  # words that it does not know
        return False
    return 0 < n <= n_ctx and not tokenizer.unknown_words(prompt)
