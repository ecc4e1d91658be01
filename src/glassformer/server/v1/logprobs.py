"""Tokens and their log-probabilities in the two forms of OpenAI's API."""

from __future__ import annotations

import codecs
from collections.abc import Sequence
from itertools import accumulate

from glassformer.generation.batch import Chosen
from glassformer.server.v1 import schemas
from glassformer.text.tokenizer import Tokenizer


def text_logprobs(
    tokenizer: Tokenizer, before: Sequence[int], chosen: Sequence[Chosen], start: int
) -> schemas.TextLogprobs:
    """Of tokens that follow `before`; the answer's text begins after its first `start` tokens."""
    ids = [one.token for one in chosen]
    lengths = _lengths(
        tokenizer, [*before, *ids], (start, *range(len(before), len(before) + len(ids)))
    )
    return schemas.TextLogprobs(
        tokens=[name(tokenizer, token) for token in ids],
        token_logprobs=[one.logprob for one in chosen],
        top_logprobs=[None if one.logprob is None else _by_name(tokenizer, one) for one in chosen],
        text_offset=[length - lengths[0] for length in lengths[1:]],
    )


def chat_logprobs(tokenizer: Tokenizer, chosen: Sequence[Chosen]) -> schemas.ChatLogprobs:
    """Of the tokens of a message."""
    content: list[schemas.ChatLogprob] = []
    for one in chosen:
        likeliest = [_likely(tokenizer, token, logprob) for token, logprob in one.likeliest]
        likely = _likely(tokenizer, one.token, one.logprob or 0.0)
        content.append(schemas.ChatLogprob(**likely.model_dump(), top_logprobs=likeliest))
    return schemas.ChatLogprobs(content=content)


def name(tokenizer: Tokenizer, token: int) -> str:
    """A token's text; models may have more ids than their tokenizer has tokens."""
    return tokenizer.token(token) if token < tokenizer.vocab_size else f"<{token}>"


def _by_name(tokenizer: Tokenizer, one: Chosen) -> dict[str, float]:
    """The likeliest tokens and the chosen one; where two have one name, the likelier counts."""
    result: dict[str, float] = {}
    for token, logprob in (*one.likeliest, (one.token, one.logprob or 0.0)):
        result.setdefault(name(tokenizer, token), logprob)
    return result


def _likely(tokenizer: Tokenizer, token: int, logprob: float) -> schemas.Likely:
    known = token < tokenizer.vocab_size
    spelled = [*tokenizer.token_bytes(token)] if known else []
    return schemas.Likely(token=name(tokenizer, token), logprob=logprob, bytes=spelled)


def _lengths(tokenizer: Tokenizer, ids: Sequence[int], counts: Sequence[int]) -> list[int]:
    """Characters of the text of the first so many tokens, whatever follows them."""
    decoder = tokenizer.content["decoder"]
    if decoder is None or decoder["type"] != "ByteLevel":
        # spaces that stand between words belong to no token
        return [len(tokenizer.decode_known(ids[:count])) for count in counts]
    utf8 = codecs.getincrementaldecoder("utf-8")("replace")
    known = (tokenizer.token_bytes(one) if one < tokenizer.vocab_size else b"" for one in ids)
    totals = [*accumulate((len(utf8.decode(spelled)) for spelled in known), initial=0)]
    return [totals[count] for count in counts]
