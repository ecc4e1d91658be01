"""Byte-level BPE of large texts by tiktoken: the same ids from the same merges, many times as fast.

tiktoken merges any two neighbors that make a token, the lowest id first; the merges of a
tokenizer.json are pairs in order. Both give the same ids where every token is made by one pair,
ids grow in the order of the merges, and each token, spelled out, merges back into itself. What
training learns is such; a vocabulary that is not is left to its own engine.
Source: github.com/openai/tiktoken, `CoreBPE`.
"""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import chain, pairwise
from os import cpu_count
from typing import Any

import numpy as np
import tiktoken
import tokenizers

from glassformer.text.reading import in_groups
from glassformer.text.vocabulary import spelling

GPT2_SPLIT = r"'(?:[sdmt]|ll|ve|re)| ?\p{L}++| ?\p{N}++| ?[^\s\p{L}\p{N}]++|\s++$|\s+(?!\S)|\s"
"""GPT-2's words as `ByteLevel` splits them, written so that no alternative is tried twice."""

GROUPS = 4  # for each core: one that has done its share early takes another

_SPLITS_AS_GPT2 = {"type": "ByteLevel", "add_prefix_space": False, "use_regex": True}

_UNLIKE_GPT2 = (
    "dropout",
    "byte_fallback",
    "ignore_merges",
    "continuing_subword_prefix",
    "end_of_word_suffix",
)


class Bulk:
    """Encodes texts on all cores, into arrays of ids."""

    def __init__(self, encoding: tiktoken.Encoding) -> None:
        self._encoding = encoding

    def encode(self, texts: Sequence[str]) -> list[np.ndarray]:
        """The ids of each text; ValueError for a run of spaces too long for tiktoken's splitter."""
        workers = cpu_count() or 1
        # handing over one of millions of short rows takes longer than encoding it
        groups = in_groups(texts, len, sum(map(len, texts)) // (GROUPS * workers))
        with ThreadPoolExecutor(workers) as pool:
            return list(chain.from_iterable(pool.map(self._encode, groups)))

    def _encode(self, texts: Sequence[str]) -> list[np.ndarray]:
        return [self._encoding.encode_to_numpy(text, disallowed_special=()) for text in texts]


def bulk(engine: tokenizers.Tokenizer, content: dict[str, Any]) -> Bulk | None:
    """tiktoken with a tokenizer's merges, or None where it would not give the same ids."""
    model = content["model"]
    if (
        model["type"] != "BPE"
        or any(model.get(setting) for setting in _UNLIKE_GPT2)
        or content["normalizer"] is not None
        or not _SPLITS_AS_GPT2.items() <= (content["pre_tokenizer"] or {}).items()
        or any(not token["special"] for token in content["added_tokens"])
    ):
        return None
    vocab: dict[str, int] = model["vocab"]
    made = [left + right for left, right in model["merges"]]
    if not all(vocab[a] < vocab[b] for a, b in pairwise(made)):
        return None
    if any([token.value for token in engine.model.tokenize(name)] != [name] for name in made):
        return None
    spell = spelling(content)
    special = {token["content"] for token in content["added_tokens"]}
    ranks = {spell(name): index for name, index in vocab.items() if name not in special}
    if sum(len(token) == 1 for token in ranks) != 256 or len(ranks) != 256 + len(made):
        return None
    # tiktoken looks for special tokens even where none is allowed, and for no token it stops at
    # every letter; for one, which may then not be taken, it reads twice as fast
    none_allowed = {"<eos>": len(vocab)}
    return Bulk(
        tiktoken.Encoding(
            "bulk", pat_str=GPT2_SPLIT, mergeable_ranks=ranks, special_tokens=none_allowed
        )
    )
