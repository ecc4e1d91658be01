"""What a model is given, as a text or as ids, and the words for whoever looks at what it did."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor

from glassformer.errors import GlassformerError
from glassformer.model.ids import Ids
from glassformer.ops import IGNORED
from glassformer.text.tokenizer import Tokenizer

Texts = str | Sequence[str] | Ids
"""A text, texts of as many tokens each, or their ids [pos] or [batch, pos]."""


def known_tokenizer(tokenizer: Tokenizer | None) -> Tokenizer:
    """The tokenizer of a model, or an error that says how to go on without one."""
    if tokenizer is None:
        raise GlassformerError(
            "this model has no tokenizer, so it can't read a text; give token ids, or set"
            " model.tokenizer"
        )
    return tokenizer


def ids_of(texts: Texts, tokenizer: Tokenizer | None) -> Ids:
    """The ids of a text [pos] or of several [batch, pos]; ids are what they are.

    Errors: a text without tokens, texts of different lengths (a pass has no padding: what it would
    record there is no part of any text), a model without a tokenizer.

    >>> ids_of(["the cat", "a cat"], Tokenizer.from_words(["the", "a", "cat"]))
    [[0, 2], [1, 2]]
    """
    listing = _listing(texts)
    if listing is None:
        return cast("Ids", texts)
    rows = [known_tokenizer(tokenizer).encode_prompt(text) for text in listing]
    for text, row in zip(listing, rows, strict=True):
        if not row:
            raise GlassformerError(f"the text {text!r} has no tokens; give it a word")
        if len(row) != len(rows[0]):
            raise GlassformerError(
                f"the texts {listing[0]!r} and {text!r} have {len(rows[0])} and {len(row)} tokens,"
                " and a pass reads texts of one length; lengthen one, or read them one by one"
            )
    return rows[0] if isinstance(texts, str) else rows


def source_ids(source: Texts, tokenizer: Tokenizer | None, pad_id: int) -> Ids:
    """The ids of what an encoder reads: of several texts [batch, pos], filled up at their ends."""
    listing = _listing(source)
    if listing is None:
        return cast("Ids", source)
    rows = [known_tokenizer(tokenizer).encode_source(text) for text in listing]
    longest = max(map(len, rows))
    return [row + [pad_id] * (longest - len(row)) for row in rows]


def _listing(texts: Texts) -> Sequence[str] | None:
    """The texts, if they are that and not ids."""
    if isinstance(texts, str):
        return [texts]
    listed = isinstance(texts, list | tuple) and len(texts) > 0
    if listed and all(isinstance(text, str) for text in texts):
        return cast("Sequence[str]", texts)
    return None


def next_tokens(ids: Tensor, last: int = IGNORED) -> Tensor:
    """What comes after each of ids [batch, pos]: the text's own next token, and at the end `last`.

    >>> next_tokens(torch.tensor([[5, 6, 7]]), last=8)
    tensor([[6, 7, 8]])
    """
    return torch.cat([ids[:, 1:], ids.new_full((len(ids), 1), last)], dim=1)


def labels(tokenizer: Tokenizer, ids: Tensor) -> dict[str, Sequence[str]]:
    """Words for a trace of ids [batch, pos]: for the vocabulary, and for positions.

    Of several texts it has the text for `batch`, since a position has no one word.
    """
    words, rows = tokenizer.words, ids.tolist()
    if len(rows) > 1:
        texts = [tokenizer.decode(i for i in row if i < len(words)) for row in rows]
        return {"batch": texts, "vocab": words}
    return {"pos": [tokenizer.shown(i) for i in rows[0]], "vocab": words}
