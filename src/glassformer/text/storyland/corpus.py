"""Storyland's documents, and what is known of them exactly: each one's surprise, and its mean.

Training and held-out documents are documents of different seeds.
"""

import math
import random
from collections.abc import Iterable, Iterator

from glassformer.errors import GlassformerError
from glassformer.text.storyland.derivation import Document, Grammar
from glassformer.text.storyland.grammar import KINDS, POOLS, RULES
from glassformer.text.tokenizer import Tokenizer

GRAMMAR = Grammar(KINDS, RULES, POOLS)


def documents(seed: int | str) -> Iterator[Document]:
    """Yield documents without end; the seed decides every one of them.

    >>> document = next(documents(seed=1))
    >>> document == next(documents(seed=1)), -log_prob(document.text) == document.nats
    (True, True)
    """
    generator = random.Random(f"storyland {seed}")
    while True:
        yield GRAMMAR.write(generator)


def texts(seed: int | str) -> Iterator[str]:
    """Yield the texts of `documents(seed)`."""
    return (document.text for document in documents(seed))


def log_prob(text: str) -> float:
    """The natural logarithm of the probability that a document is exactly this text, in nats.

    A text that is not a document, or only the beginning of one, is an error.
    """
    derivations = [*GRAMMAR.read(text)]
    if not derivations:
        raise GlassformerError(
            f"Storyland has no document {text!r}; give a whole document as `documents` writes them"
        )
    return -derivations[0]  # the only one: the grammar is unambiguous


def in_place(text: str, begin: int, end: int, words: Iterable[str]) -> dict[str, float]:
    """How probable each word is in place of text[begin:end] of a document, given all around it.

    p(word | rest) = p(document with the word) / sum over words; words that can't stand there are
    left out. A sentence's first word may be written with a capital or without.

    >>> text = next(documents("x")).text
    >>> text[17:21], in_place(text, 17, 21, ["hole", "moon"])
    ('hole', {'hole': 1.0})
    """
    each: dict[str, float] = {}
    for word in dict.fromkeys(words):
        for written in {word, word[:1].upper() + word[1:]}:
            for nats in GRAMMAR.read(text[:begin] + written + text[end:]):
                each[word] = each.get(word, 0.0) + math.exp(-nats)
    total = sum(each.values())
    return {word: p / total for word, p in each.items()}


def entropy() -> float:
    """The expected surprise -log p of a document in nats, exactly."""
    return GRAMMAR.expect(lambda word: 0)[0]


def expected_tokens(tokenizer: Tokenizer) -> float:
    """The expected tokens of a document, the separator that ends it included, exactly.

    entropy() / expected_tokens(tokenizer) is a perfect model's expected loss in nats per token.
    The tokenizer must take words one by one, as those trained here do.
    """
    return GRAMMAR.expect(lambda word: len(tokenizer.encode(word)))[1] + 1


def floor(documents: Iterable[Document], tokenizer: Tokenizer) -> float:
    """These documents' own surprise in nats per token: the loss that no model can beat on them.

    floor = sum_d -log p(d) / sum_d (tokens(d) + 1); the 1 is the separator that ends a document.
    """
    sample = [*documents]
    encoded = tokenizer.encode_batch([document.text for document in sample])
    return sum(document.nats for document in sample) / sum(len(ids) + 1 for ids in encoded)
