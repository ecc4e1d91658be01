"""Training on chats: whole conversations are read, the assistant's tokens alone are asked for."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from glassformer.describe import counted
from glassformer.errors import GlassformerError
from glassformer.text.blocks import IGNORED, numbers_of_batch
from glassformer.text.chat import PLAIN, usual_template
from glassformer.text.chat_rows import messages_of, render_row
from glassformer.text.corpus import Corpus
from glassformer.text.rows import Row
from glassformer.text.shard import Shard
from glassformer.text.shard_writing import Encoded, write_asked
from glassformer.text.tokenizer import Tokenizer
from glassformer.training.data import Batch, filled

HELD_OUT, MOST_HELD_OUT = 0.05, 200  # of the conversations, the last ones
LOOKED_AT = 1_000  # conversations
SPARE = 4  # tokens for the ends of messages
LONGEST_CONTEXT = 1024
FEWEST = 20  # with fewer conversations all are learned


def held_out_of(n: int) -> int:
    """How many of n conversations are held out; of few, none."""
    return 0 if n < FEWEST else min(max(1, round(HELD_OUT * n)), MOST_HELD_OUT)


def first_fields(corpus: Corpus) -> Collection[str]:
    """The fields of a corpus' first row; none where a part of it is no rows.

    >>> import pathlib, tempfile
    >>> file = pathlib.Path(tempfile.mkdtemp()) / "rows.jsonl"
    >>> _ = file.write_text('{"messages": [{"role": "user", "content": "Hello."}]}')
    >>> first_fields(Corpus(file))
    ('messages',)
    """
    if not all(source.has_rows for source in corpus.sources):
        return ()
    return tuple(next(corpus.rows(), Row("", {})).values)


def for_chats(tokenizer: Tokenizer) -> Tokenizer:
    """The tokenizer with a template of chats: its own, or a plain one."""
    return tokenizer if usual_template(tokenizer) else tokenizer.with_chat_template(PLAIN)


def context_of(corpus: Corpus, tokenizer: Tokenizer) -> int:
    """A context, a power of two, that holds nearly all of the first conversations."""
    chats = islice(corpus.rows(), LOOKED_AT)
    lengths = [len(tokenizer.encode(corpus.document(row))) for row in chats]
    longest = int(np.quantile(lengths, 0.99, method="higher")) + 2 * SPARE
    return min(1 << (longest - 1).bit_length(), LONGEST_CONTEXT)


def write_chats(
    folder: Path,
    corpus: Corpus,
    tokenizer: Tokenizer,
    n_ctx: int,
    progress: Callable[[float], object] = lambda share: None,
) -> tuple[Shard, tuple[str, ...]]:
    """Write conversations of at most n_ctx + 1 tokens; say how many were cut or left out."""
    template = usual_template(tokenizer)
    assert template is not None, "for_chats gave it one"
    cut = f"cut at the context of {n_ctx:,} tokens"
    silent = f"left out, since the assistant says nothing in the first {n_ctx:,} tokens"
    counts = {cut: 0, silent: 0}

    def documents() -> Iterator[Encoded]:
        has_any = False
        for row in corpus.rows():
            ids, is_reply = render_row(row, template, tokenizer)
            if not is_reply[1 : n_ctx + 1].any():
                counts[silent] += 1
                continue
            counts[cut] += len(ids) > n_ctx + 1
            n_bytes = sum(len(message["content"].encode()) for message in messages_of(row))
            yield Encoded(ids[: n_ctx + 1], True, n_bytes, is_reply[: n_ctx + 1])
            has_any = True
        if not has_any:
            refuse_none(counts, "conversation")

    shard = write_asked(
        folder,
        documents(),
        tokenizer,
        progress=lambda n_bytes: progress(corpus.n_read / (corpus.n_bytes or 1)),
    )
    assert shard.asked is not None, "just written"
    n_asked = int(np.count_nonzero(shard.asked))
    learned = (
        f"{counted(len(shard.documents), 'conversation')}: {n_asked:,} of {len(shard):,} tokens are"
        " the assistant's, and only these are learned"
    )
    return shard, (learned, *notes_of(counts, "conversation"))


def notes_of(counts: Mapping[str, int], noun: str) -> Iterator[str]:
    """What happened to how many, where it did.

    >>> list(notes_of({"cut": 0, "left out": 2}, "pair"))
    ['left out: 2 pairs']
    """
    return (f"{what}: {counted(n, noun)}" for what, n in counts.items() if n)


def refuse_none(counts: Mapping[str, int], noun: str) -> None:
    """Raise where all were left out, and say why."""
    if any(counts.values()):
        raise GlassformerError(
            f"there is no {noun} to learn from: {'; '.join(notes_of(counts, noun))}; give others,"
            " or leave --n-ctx out"
        )


class ChatData:
    """Conversations, pass after pass in an order that `seed` decides.

    A batch holds whole ones, filled up to the longest; the targets that are not the assistant's are
    `IGNORED`.
    """

    together = 1
    """Conversations that are learned from as one, and stand one behind the other."""

    def __init__(self, shard: Shard, seed: int, floor: float | None = None) -> None:
        if shard.asked is None:
            raise GlassformerError(
                f"{shard.folder} does not say which tokens the assistant said; train again"
            )
        n = len(shard.documents) // self.together
        self.shard, self.asked, self.seed, self._floor = shard, shard.asked, seed, floor
        self.n_validation = held_out_of(n)
        self.n_train = n - self.n_validation
        self._starts = shard.starts(slice(None))
        separator = 0 if shard.header.eos_id is None else 1
        self._ends = np.append(self._starts[1:], len(shard)) - separator

    def batch(self, number: int, rows: int) -> Batch:
        return self._batch(numbers_of_batch(self.n_train, self.seed, number, rows))

    def held_out(self, rows: int) -> Iterator[Batch]:
        n = self.n_train + self.n_validation
        for first in range(self.n_train if self.holds_out else 0, n, rows):
            yield self._batch(np.arange(first, min(first + rows, n)))

    def _batch(self, chosen: np.ndarray) -> Batch:
        return self.conversations(chosen)

    def conversations(self, numbers: np.ndarray) -> Batch:
        """These conversations as a batch."""
        ids: list[list[int]] = []
        targets: list[list[int]] = []
        for one in numbers:
            span = slice(self._starts[one], self._ends[one])
            tokens, asked = self.shard.ids(span), self.asked[span].astype(bool)
            ids.append(tokens[:-1].tolist())
            targets.append(np.where(asked, tokens, IGNORED)[1:].tolist())
        return Batch(filled(ids, 0), filled(targets, IGNORED))

    @property
    def holds_out(self) -> bool:
        return self.n_validation > 0

    def counts(self) -> Int[Tensor, " vocab"]:
        """How often the assistant says each token."""
        end = self.n_tokens
        ids = self.shard.ids(slice(0, end))[self.asked[:end].astype(bool)]
        return torch.from_numpy(np.bincount(ids, minlength=self.shard.header.vocab_size))

    @property
    def n_tokens(self) -> int:
        return int(self._ends[self.n_train * self.together - 1])

    @property
    def floor(self) -> float | None:
        return self._floor

    def verify(self) -> None:
        self.shard.verify()

    def describe(self) -> dict[str, Any]:
        header = self.shard.header
        return {
            "tokens_sha256": header.sha256,
            "asked_sha256": header.asked_sha256,
            "tokenizer": header.tokenizer,
            "n_train": self.n_train,
            "n_validation": self.n_validation,
            "order": "passes",
            "seed": self.seed,
        }
