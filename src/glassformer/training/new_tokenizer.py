"""The tokenizer of a new run: one that is there, or one learned from what the run learns from."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from glassformer.errors import GlassformerError, did_you_mean
from glassformer.text.load import load_tokenizer
from glassformer.text.tokenizer import KINDS, Tokenizer
from glassformer.training.choices import Choices


def new_tokenizer(choices: Choices, table: dict[str, Any], texts: Iterable[str]) -> Tokenizer:
    """The tokenizer that was asked for, or that of a preset's `table`, learned from texts."""
    kind = choices.tokenizer or table.get("kind", "bpe")
    if kind not in KINDS and Path(kind).exists():  # ./words is a folder of that name
        return load_tokenizer(kind)
    if kind not in KINDS:
        raise GlassformerError(
            f"--tokenizer {kind!r} is neither a folder nor one of {', '.join(KINDS)}."
            f"{did_you_mean(kind, KINDS)}"
        )
    if kind != table.get("kind"):  # the preset's further settings are for its own kind
        table = {}
    if "vocabulary" in table and choices.vocab_size is None:
        return Tokenizer.from_words(table["vocabulary"], lowercase=table.get("lowercase", False))
    size = table.get("vocab_size") if choices.vocab_size is None else choices.vocab_size
    if table.get("masked"):
        return Tokenizer.of_masked_words(texts, size, lowercase=table.get("lowercase", True))
    return Tokenizer.train(kind, texts, vocab_size=size, lowercase=table.get("lowercase", False))


def first_characters(texts: Iterable[str], n: int) -> Iterable[str]:
    """Texts up to the one that brings their length to n.

    >>> list(first_characters(["abc", "de", "f"], 4))
    ['abc', 'de']
    """
    lengths, texts = itertools.tee(texts)
    total = itertools.accumulate((len(text) for text in lengths), initial=0)
    return (text for text, before in zip(texts, total, strict=False) if before < n)
