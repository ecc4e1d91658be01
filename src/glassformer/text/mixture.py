"""Several texts mixed by weight: so many of every thousand blocks are from each.

The texts lie in one shard, one after the other. Which text a block is from, and which of that
text's blocks it is, follows from the block's number and the seed; each text is gone through pass
after pass, in an order of its own, as `Blocks` does it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from glassformer.describe import about
from glassformer.errors import GlassformerError, did_you_mean
from glassformer.text.blocks import Batch, Blocks, Window, batches_of, blocks_of, in_order
from glassformer.text.hub import PREFIX
from glassformer.text.shard import Shard

PERIOD = 1_000  # blocks, in which each text has exactly its share
COUNTED = 2**40  # targets that a mixture is counted as


class Part(NamedTuple):
    """A text of a mixture: the tokens `first` to `end` of the shard, `weight` of all blocks."""

    name: str
    weight: float
    first: int
    end: int


def parse_weights(text: str) -> dict[str, float]:
    """Weights by name, as they are typed.

    >>> parse_weights("stories=0.7, poems=0.3")
    {'stories': 0.7, 'poems': 0.3}
    """
    weights: dict[str, float] = {}
    for item in filter(None, map(str.strip, text.split(","))):
        name, _, number = item.rpartition("=")
        try:
            weight = float(number)
        except ValueError:
            weight = 0.0
        if not name or not 0 < weight < float("inf") or name in weights:
            raise GlassformerError(
                f"the weight {item!r} is not a name, =, and a number above 0, each name once;"
                " write stories=0.7,poems=0.3"
            )
        weights[name.strip()] = weight
    return weights


def shares(weights: dict[str, float], names: Sequence[str]) -> list[float]:
    """The share of each named text, 1 in all; raises unless each has one weight."""
    twice = {name for name in names if [*names].count(name) > 1}
    if twice:
        raise GlassformerError(
            f"two texts are called {min(twice)!r}, so no weight can name one; rename a file"
        )
    for name in weights:
        if name not in names:
            raise GlassformerError(
                f"the weight of {name!r} is for no text; they are called"
                f" {', '.join(names)}.{did_you_mean(name, names)}"
            )
    missing = [name for name in names if name not in weights]
    if missing:
        raise GlassformerError(
            f"the text {missing[0]!r} has no weight; give each text one:"
            f" {','.join(f'{name}={1 / len(names):.2g}' for name in names)}"
        )
    total = sum(weights.values())
    return [weights[name] / total for name in names]


def name_of(text: str) -> str:
    """What a text is called where it is weighed: its file or folder without what its ending says.

    >>> [name_of(text) for text in ("books/a.txt", "b.jsonl.gz", "data/c/", "hf:someone/d@train")]
    ['a', 'b', 'c', 'd']
    """
    if text.startswith(PREFIX):
        text = re.split("[:@]", text.removeprefix(PREFIX))[0]
    name = Path(text).name
    return name.split(".")[0] or name


def parts_of(
    shard: Shard, names: Sequence[str], weights: dict[str, float], n_documents: Sequence[int]
) -> list[Part]:
    """The texts in a shard that was written one after the other, of so many documents each."""
    before = np.cumsum([0, *n_documents])[:-1]
    separator = 0 if shard.header.eos_id is None else 1
    starts = [int(start) - separator for start in shard.starts(before[1:])]
    bounds = [0, *starts, len(shard)]
    return [
        Part(name, share, first, end)
        for name, share, (first, end) in zip(
            names, shares(weights, names), pairwise(bounds), strict=True
        )
    ]


class Mixture:
    """Blocks of several texts in one shard, as `Blocks` are of one.

    Of every 1,000 blocks a text has its weight's share, rounded to whole blocks. A tenth of each
    text is held out; what is measured are held-out tokens in the same proportions, up to the end of
    the text that is first at its end.
    """

    mode: Literal["stream"] = "stream"

    def __init__(self, shard: Shard, n_ctx: int, parts: Sequence[Part]) -> None:
        self.shard, self.n_ctx, self.parts = shard, n_ctx, [*parts]
        self.quotas = quotas([part.weight for part in parts])
        self.texts: list[Blocks] = []
        for part, quota in zip(parts, self.quotas, strict=True):
            if quota == 0:
                raise GlassformerError(
                    f"the weight of {part.name!r} is less than one block in {PERIOD:,}; give it"
                    " more, or leave the text out"
                )
            try:
                self.texts.append(Blocks(shard, n_ctx, within=range(part.first, part.end)))
            except GlassformerError as error:
                raise GlassformerError(f"{part.name}: {error}") from error
        self._labels = np.repeat(np.arange(len(parts)), self.quotas)  # whose a block is, in order

    @property
    def n_train(self) -> int:
        return sum(text.n_train for text in self.texts)

    @property
    def n_validation(self) -> int:
        return sum(text.n_validation for text in self.texts)

    def batch(self, step: int, seed: int, batch_size: int) -> Batch:
        """X and Y [batch, pos] of a training step (the first is 0)."""
        numbers = range(step * batch_size, (step + 1) * batch_size)
        texts, block_numbers = np.array([self.source(number, seed) for number in numbers]).T
        windows = np.empty(batch_size, dtype=object)
        for index in np.unique(texts):
            rows = np.flatnonzero(texts == index)
            for row, window in zip(
                rows, self.texts[index].windows(block_numbers[rows], seed), strict=True
            ):
                windows[row] = window
        return blocks_of(self.shard, self.n_ctx, [*windows])

    def source(self, number: int, seed: int) -> tuple[int, int]:
        """Which text block `number` is from, and which of that text's blocks it is."""
        period, offset = divmod(number, PERIOD)
        order = self._labels[in_order(PERIOD, np.arange(PERIOD), seed, period, part=2)]
        text = int(order[offset])
        before = int((order[:offset] == text).sum())
        return text, period * self.quotas[text] + before

    def evaluation(self, batch_size: int) -> Iterator[Batch]:
        """X and Y [batch, pos] of held-out blocks in the texts' proportions, always the same."""
        yield from batches_of(self.shard, self.n_ctx, self._held_out(), batch_size)

    def _held_out(self) -> Iterator[Window]:
        """Windows of all texts in turn, in proportion, until one text is at its end."""
        windows = [text.held_out_windows() for text in self.texts]
        shares = [0.0] * len(self.parts)  # of its weight, what each has given
        while True:
            index = shares.index(min(shares))
            window = next(windows[index], None)
            if window is None:
                return
            shares[index] += (window.end - window.first) / self.parts[index].weight
            yield window

    def counts(self) -> Int[Tensor, " vocab"]:
        """How often each token is a target, of 2**40 targets in the texts' proportions."""
        total = torch.zeros(self.shard.header.vocab_size, dtype=torch.float64)
        for part, text in zip(self.parts, self.texts, strict=True):
            counts = text.counts().double()
            total += part.weight * counts / counts.sum()
        return (total * COUNTED).round().long()


def mixture_summary(mixture: Mixture, n_blocks: int) -> str:
    """What a mixture is, in words: each text's share, and how often so many blocks read it."""
    texts = []
    for part, text, quota in zip(mixture.parts, mixture.texts, mixture.quotas, strict=True):
        passes = n_blocks * quota / PERIOD * mixture.n_ctx / text.n_train
        texts.append(f"{quota:,} are from {part.name}, read {about(passes)} times")
    return f"of every {PERIOD:,} blocks {'; '.join(texts)}"


def quotas(weights: Sequence[float]) -> list[int]:
    """How many of PERIOD blocks each weight has; what rounding leaves goes to the largest rests.

    >>> quotas([0.7, 0.3]), quotas([1 / 3, 1 / 3, 1 / 3])
    ([700, 300], [334, 333, 333])
    """
    exact = [weight * PERIOD for weight in weights]
    # 0.7 * 1000 is a hair below 700 in float64
    result = [int(share + 1e-9) for share in exact]
    rests = sorted(range(len(exact)), key=lambda i: result[i] - exact[i])
    for index in rests[: PERIOD - sum(result)]:
        result[index] += 1
    return result
