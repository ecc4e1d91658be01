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
    tokenizer: Tokenizer, n_ctx: int, data: Path | None = None
) -> list[tuple[str, str | None]]:
    """Some prompts of at most `n_ctx` tokens that the model can read, the best first.

    `data`: the tokens that the model was trained on.
    """
    own = [(prompt, None) for prompt in beginnings(tokenizer, data)] if data else []
    known = [*WORDS, *own] if tokenizer.kind == "words" else own or [*PIECES]
    fitting = (pair for pair in dict.fromkeys(known) if _fits(tokenizer, n_ctx, pair[0]))
    return [*islice(fitting, SHOWN)] or [(tokenizer.token(0), None)]


def beginnings(tokenizer: Tokenizer, data: Path) -> Iterator[str]:
    """How sentences of a text begin, from places spread over it."""
    try:
        shard = Shard(data, tokenizer=tokenizer)
    except GlassformerError:  # the run was moved without its data, or it is of another tokenizer
        return
    separator = shard.header.eos_id
    for place in range(SHOWN):
        begin = place * len(shard) // SHOWN
        ids = [i for i in shard.tokens[begin : begin + WINDOW].tolist() if i != separator]
        # the first sentence may have lost its beginning
        sentences = re.split(r"(?<=[.!?\n])\s+", tokenizer.decode(ids).strip())[place > 0 :]
        start = " ".join(sentences)[: LETTERS + 1].rpartition(" ")[0].strip()
        if start:
            yield start


def _fits(tokenizer: Tokenizer, n_ctx: int, prompt: str) -> bool:
    try:
        n = len(tokenizer.encode(prompt))
    except GlassformerError:  # words that it does not know
        return False
    return 0 < n <= n_ctx and not tokenizer.unknown_words(prompt)
