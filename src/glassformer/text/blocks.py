"""Blocks of tokens to train on, and to evaluate on: X [batch, pos] and Y, the token after each.

The training blocks are one sequence, cut into batches: every part of the text once, in an order
that the seed decides, then again in another order, and so on. What a step sees follows from seed,
step and the size of a batch, so there is no loader state: a resumed run goes on with the same data.
"""

import math
from collections.abc import Iterator, Sequence
from functools import lru_cache
from itertools import chain, islice, pairwise
from typing import Literal, NamedTuple, TypeAlias

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from glassformer.errors import GlassformerError
from glassformer.text.shard import Shard

IGNORED = -100  # a target that no loss counts, as in torch.nn.functional.cross_entropy

Batch: TypeAlias = tuple[Int[Tensor, "batch pos"], Int[Tensor, "batch pos"]]


class Window(NamedTuple):
    """The targets `first` to `end` of a block, places in the shard; X begins one token before."""

    first: int
    end: int


class Blocks:
    """Blocks of `n_ctx` tokens from a shard, whose last part (a tenth) is kept for validation.

    mode "stream": a training block starts at any token; the split is between any two tokens.
    mode "documents": a training block starts with a document, half of them at the separator before
    it, so that a model learns to begin with and without one. Further documents follow as they do
    in the shard; the last is cut where the block ends. (Only whole documents would let a model
    infer from its place how long a document can be, and so fall below the text's entropy.) The
    split is between two documents.
    mode "whole": for a text so short that all of it is learned and none is held out. Every token
    but the last begins a block of each pass, as every sentence may begin a prompt; what is measured
    is the whole text.

    Y is the next token of the same part; beyond the part's end X is padding and Y is -100.

    within: the places of the shard that count as the text, in mode "stream"; all where None.
    """

    def __init__(
        self,
        shard: Shard,
        n_ctx: int,
        *,
        mode: Literal["stream", "documents", "whole"] = "stream",
        validation: float = 0.1,
        within: range | None = None,
    ) -> None:
        if mode == "whole":
            validation = 0.0
        if not 0 <= validation < 1:
            raise GlassformerError(
                f"validation={validation} is no share of the tokens; give 0.1 for a tenth"
            )
        self.shard, self.n_ctx, self.mode = shard, n_ctx, mode
        self.within = range(len(shard)) if within is None else within
        n_tokens, n_validation = len(self.within), round(validation * len(self.within))
        if validation:
            n_validation = max(1, n_validation)
        # the first token of the validation part
        self.split = self.within.stop - n_validation
        if mode == "documents":
            self._n_documents = self._split_documents()
        if mode == "whole" and n_tokens < 2:
            raise GlassformerError(
                "the text is one token, and there is none after it to learn; give more text"
            )
        if mode != "whole" and self.n_train < n_ctx + 1:
            raise GlassformerError(
                f"the text has {n_tokens:,} tokens, {self.n_train:,} of them to train on, and a "
                f"block of n_ctx={n_ctx} takes {n_ctx + 1:,}; give more text"
                + (f" or n_ctx={self.n_train - 1}" if self.n_train > 1 else "")
            )

    @property
    def n_train(self) -> int:
        """Tokens in the training part, separators included."""
        return self.split - self.within.start

    @property
    def n_validation(self) -> int:
        """Tokens in the validation part, separators included; `evaluation` asks for each once."""
        return self.within.stop - self.split

    def batch(self, step: int, seed: int, batch_size: int) -> Batch:
        """Return X and Y [batch, pos] of a training step (the first is 0).

        The blocks are numbers step * batch_size to (step + 1) * batch_size - 1 of the sequence.
        """
        numbers = np.arange(step * batch_size, (step + 1) * batch_size)
        return blocks_of(self.shard, self.n_ctx, self.windows(numbers, seed))

    def windows(self, numbers: np.ndarray, seed: int) -> list[Window]:
        """The targets of these blocks of the sequence."""
        passes, offsets = np.divmod(numbers, self._n_blocks)
        starts = np.empty_like(numbers)
        for number in np.unique(passes):
            in_pass = passes == number
            starts[in_pass] = self._starts(offsets[in_pass], seed, int(number))
        return [Window(int(start) + 1, self.split) for start in starts]

    @property
    def _n_blocks(self) -> int:
        """Blocks in one pass over the training part."""
        if self.mode == "documents":
            return self._n_documents
        if self.mode == "whole":
            return self.split - 1
        return max(1, (self.n_train - self.n_ctx) // self.n_ctx)

    def _starts(self, offsets: np.ndarray, seed: int, number: int) -> np.ndarray:
        """Where the blocks at some offsets of a pass begin: pass `number`, in its own order."""
        chosen = in_order(self._n_blocks, offsets, seed, number)
        if self.mode == "whole":
            return chosen
        if self.mode == "stream":  # laid end to end around the text, from a place of the pass's own
            n_starts = self.n_train - self.n_ctx
            first = int(_philox(seed, number, part=1).random_raw()) % n_starts
            starts: np.ndarray = self.within.start + (first + chosen * self.n_ctx) % n_starts
        else:
            starts = self.shard.starts(chosen) - offsets % 2  # from the separator on
        return starts

    def evaluation(self, batch_size: int) -> Iterator[Batch]:
        """Yield X and Y [batch, pos] over the whole validation part, always the same.

        In mode "whole" that part is empty, and the text itself is measured, laid end to end.

        Each of its tokens is a target exactly once. In mode "stream" the blocks lie end to end, so
        a token is predicted from the 1 to n_ctx tokens before it. In mode "documents" a block holds
        a separator and as many whole documents as fit after it; a document longer than a block goes
        on in the next. Blocks are not all full: weigh a batch's mean loss by its targets that are
        not -100.
        """
        yield from batches_of(self.shard, self.n_ctx, self.held_out_windows(), batch_size)

    def held_out_windows(self) -> Iterator[Window]:
        """The targets of the blocks that `evaluation` yields."""
        if self.mode == "whole":
            return _end_to_end(1, len(self.shard), self.n_ctx)
        if self.mode == "stream":
            return _end_to_end(self.split, self.within.stop, self.n_ctx)
        return self._document_windows()

    def counts(self) -> Int[Tensor, " vocab"]:
        """Return how often each token is a target in the training part."""
        counts = np.zeros(self.shard.header.vocab_size, dtype=np.int64)
        for first in range(
            self.within.start + 1, self.split, 2**20
        ):  # a part at a time, so that memory stays flat
            tokens = self.shard.ids(slice(first, min(first + 2**20, self.split)))
            counts += np.bincount(tokens, minlength=len(counts))
        return torch.from_numpy(counts)

    def _split_documents(self) -> int:
        """Move the split to a document's start, and return how many documents lie before it."""
        starts = self.shard.documents
        if self.shard.header.eos_id is None:
            raise GlassformerError(
                "blocks of documents need a tokenizer with a separator such as <eos>, and this one "
                "has none; take mode='stream'"
            )
        if self.split == len(self.shard):
            return len(starts)
        if len(starts) < 2:
            raise GlassformerError(
                "the text is one document, which can't be split into documents to train on and to "
                "validate with; take mode='stream', or give more documents"
            )
        n_documents = int(np.searchsorted(starts, self.split))
        n_documents = min(max(n_documents, 1), len(starts) - 1)
        self.split = int(self.shard.starts(slice(n_documents, n_documents + 1))[0])
        return n_documents

    def _document_windows(self) -> Iterator[Window]:
        starts = map(int, self.shard.starts(slice(self._n_documents, None)))
        first = end = self.split
        for start, next_start in pairwise(chain(starts, [len(self.shard)])):
            if end > first and next_start - first > self.n_ctx:
                yield Window(first, end)
                first = start
            end = next_start
            while end - first > self.n_ctx:
                yield Window(first, first + self.n_ctx)
                first += self.n_ctx
        if end > first:
            yield Window(first, end)


def numbers_of_batch(n: int, seed: int, number: int, rows: int) -> np.ndarray:
    """Which of n rows batch `number` (0 is the first) holds: each row once in every pass.

    >>> sorted(int(row) for number in range(3) for row in numbers_of_batch(6, 0, number, 2))
    [0, 1, 2, 3, 4, 5]
    """
    passes, offsets = np.divmod(np.arange(number * rows, (number + 1) * rows), n)
    chosen = np.empty_like(offsets)
    for one in np.unique(passes):
        chosen[passes == one] = in_order(n, offsets[passes == one], seed, int(one))
    return chosen


PAGE = 2**18  # numbers of an order that are in memory together, about


def in_order(n: int, indices: np.ndarray, seed: int, number: int, part: int = 0) -> np.ndarray:
    """What stands at some indices of pass `number`, an order of the numbers 0 to n - 1.

    Each number draws 32 bits, and the order is that of the draws. It is made page by page, of draws
    that begin with the same bits: neighbors in the order take the memory of a page, not of n.
    `part`: another order of the same seed and pass.

    >>> in_order(6, np.arange(6), seed=0, number=0).tolist()
    [1, 0, 5, 3, 4, 2]
    """
    ends = _page_ends(n, seed, number, part)
    pages = np.searchsorted(ends, indices, side="right")
    result = np.empty(len(indices), dtype=np.int64)
    for page in np.unique(pages).tolist():
        here = pages == page
        first = ends[page - 1] if page else 0
        result[here] = _page(n, page, seed, number, part)[indices[here] - first]
    return result


def _page_bits(n: int) -> int:
    """How many bits draws of a page have in common, so that it holds at most about PAGE numbers."""
    return (max(n - 1, 0) // PAGE).bit_length()


@lru_cache(maxsize=32)
def _page_ends(n: int, seed: int, number: int, part: int) -> np.ndarray:
    """Where each page of an order ends."""
    bits = _page_bits(n)
    if not bits:
        return np.array([n])
    counts = np.zeros(2**bits, dtype=np.int64)
    for _, draws in _draws(n, seed, number, part):
        counts += np.bincount(draws >> (32 - bits), minlength=len(counts))
    return counts.cumsum()


@lru_cache(maxsize=16)  # a batch may end one pass and begin the next, of several texts
def _page(n: int, page: int, seed: int, number: int, part: int) -> np.ndarray:
    """The numbers of one page, in order."""
    shift = 32 - _page_bits(n)
    numbers: list[np.ndarray] = []
    drawn: list[np.ndarray] = []
    for first, draws in _draws(n, seed, number, part):
        index = np.flatnonzero(draws >> shift == page)
        numbers.append(first + index)
        drawn.append(draws[index])
    return np.concatenate(numbers)[np.concatenate(drawn).argsort(kind="stable")]


def _draws(n: int, seed: int, number: int, part: int) -> Iterator[tuple[int, np.ndarray]]:
    """The draws of the numbers 0 to n - 1, some at a time, each with the first one's number."""
    random = _philox(seed, number, part)
    for first in range(0, n, PAGE):
        count = min(PAGE, n - first)
        yield first, random.random_raw((count + 1) // 2).view(np.uint32)[:count].astype(np.int64)


def _philox(seed: int, number: int, part: int = 0) -> np.random.Philox:
    # raw bits, because they, unlike NumPy's distributions, never change between versions
    key = np.array([seed % 2**64, number], dtype=np.uint64)
    return np.random.Philox(key=key, counter=[0, 0, 0, part])


def uniform(shape: tuple[int, ...], seed: int, number: int, part: int) -> np.ndarray:
    """Numbers from 0 to 1, 1 excluded: always the same ones for (seed, number, part)."""
    raw = _philox(seed, number, part).random_raw(math.prod(shape))
    return (raw >> np.uint64(11)).reshape(shape) * 2.0**-53


def whole_text(shard: Shard, n_ctx: int, batch_size: int) -> Iterator[Batch]:
    """Yield X and Y [batch, pos] over a shard laid end to end; every token but the first counts.

    >>> import tempfile
    >>> from glassformer.text.shard_writing import write_shard
    >>> from glassformer.text.tokenizer import Tokenizer
    >>> words = Tokenizer.from_words(["a", "b", "c", "d"])
    >>> shard = write_shard(tempfile.mkdtemp(), ["a b c d"], words)
    >>> [(x.tolist(), y.tolist()) for x, y in whole_text(shard, n_ctx=2, batch_size=8)]
    [([[0, 1], [2, 3]], [[1, 2], [3, -100]])]
    """
    yield from batches_of(shard, n_ctx, _end_to_end(1, len(shard), n_ctx), batch_size)


def _end_to_end(first: int, end: int, n_ctx: int) -> Iterator[Window]:
    for start in range(first, end, n_ctx):
        yield Window(start, min(start + n_ctx, end))


def batches_of(
    shard: Shard, n_ctx: int, windows: Iterator[Window], batch_size: int
) -> Iterator[Batch]:
    """X and Y [batch, pos] of these windows, `batch_size` at a time."""
    while chosen := list(islice(windows, batch_size)):
        yield blocks_of(shard, n_ctx, chosen)


def blocks_of(shard: Shard, n_ctx: int, windows: Sequence[Window]) -> Batch:
    """X and Y [batch, pos] of these windows."""
    firsts = np.array([window.first for window in windows], dtype=np.int64)[:, None]
    ends = np.array([window.end for window in windows], dtype=np.int64)[:, None]
    indices = firsts - 1 + np.arange(n_ctx + 1)  # [batch, pos + 1]
    inside = indices < ends
    tokens = shard.ids(np.where(inside, indices, 0))
    x = np.where(inside, tokens, shard.header.eos_id or 0)[:, :-1]
    y = np.where(inside, tokens, IGNORED)[:, 1:]
    return torch.from_numpy(x), torch.from_numpy(y)
