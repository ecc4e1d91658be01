"""Masked tokens as training data: some tokens of a text are hidden, and the model says which.

Source: Devlin et al. 2019, section 3.1; twice the share that is hidden: Warner et al. 2024.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Any

import numpy as np
import torch
from torch import Tensor

from glassformer.errors import GlassformerError
from glassformer.text.blocks import IGNORED, Blocks, uniform
from glassformer.text.mixture import Mixture
from glassformer.text.tokenizer import Tokenizer
from glassformer.training.data import EVALUATED, Batch, BlocksData

SHARE = 0.3  # of a text's tokens are asked for
AS_MASK, AS_OTHER = 0.8, 0.1  # of those stand as [MASK], as any token; the rest as they are
CUT = 0.25  # of the training texts end early, so that a model knows short ones


class MaskedData(BlocksData):
    """Texts with some tokens hidden, another choice in every batch, decided by `seed`.

    A row is the first document of a block, or a whole block where documents do not begin blocks,
    between what the tokenizer's template puts around a text; the rest of the row is padding.
    """

    def __init__(self, blocks: Blocks | Mixture, tokenizer: Tokenizer, seed: int = 0) -> None:
        super().__init__(blocks, seed)  # no floor: it depends on what is hidden together
        self.frame = Frame(tokenizer)

    def batch(self, number: int, rows: int) -> Batch:
        texts = self._texts(self.blocks.batch(number, self.seed, rows))
        drawn = uniform((rows, 2), self.seed, number, part=2)
        cut = [
            text[: 1 + int(length * len(text))] if short < CUT else text
            for text, (short, length) in zip(texts, drawn, strict=True)
        ]
        return self.frame.masked(cut, self.seed, number)

    def held_out(self, rows: int) -> Iterator[Batch]:
        texts = (text for two in self.blocks.evaluation(1) for text in self._parts(two))
        n = 0
        for number, chosen in enumerate(_by(rows, texts)):
            batch = self.frame.masked(chosen, self.seed, number, part=4)
            yield batch
            n += batch.ids.numel()
            if n >= EVALUATED:
                return

    def _texts(self, batch: tuple[Tensor, Tensor]) -> list[list[int]]:
        """The first document of every block."""
        return [
            next(self._parts((ids[None], targets[None])), [])
            for ids, targets in zip(*batch, strict=True)
        ]

    def _parts(self, block: tuple[Tensor, Tensor]) -> Iterator[list[int]]:
        """The documents of one block, or all of it where documents do not begin blocks."""
        ids, targets = (tensor[0].tolist() for tensor in block)
        inside = [i for i, y in zip(ids, [0, *targets], strict=False) if y != IGNORED]
        if self.blocks.mode != "documents":
            yield inside
            return
        part: list[int] = []
        for i in [*inside, self.frame.separator]:
            if i != self.frame.separator:
                part.append(i)
            elif part:
                yield part
                part = []

    def describe(self) -> dict[str, Any]:
        return {**super().describe(), "masked": [SHARE, AS_MASK, AS_OTHER, CUT]}


class Frame:
    """What stands around and in place of an encoder's tokens: [CLS], [SEP], [PAD], [MASK]."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        if tokenizer.mask_id is None:
            raise GlassformerError(
                "an encoder learns from masked tokens, and this tokenizer has no mask token; add"
                " one to its tokenizer.json and name it as mask_token in tokenizer_config.json"
            )
        self.before = tokenizer.begin_ids
        self.after = tokenizer.encode_source("")[len(self.before) :]
        self.mask_id = tokenizer.mask_id
        self.pad_id = tokenizer.pad_id or 0
        self.separator = tokenizer.eos_id
        special = {tokenizer.engine.token_to_id(name) for name in tokenizer.special_names}
        ids = [i for i in range(tokenizer.vocab_size) if i not in special]
        self.ordinary = np.array(ids)

    @property
    def width(self) -> int:
        """How many tokens of a row are no text."""
        return len(self.before) + len(self.after)

    def masked(self, texts: Sequence[list[int]], seed: int, number: int, part: int = 3) -> Batch:
        """Texts with some tokens hidden, always the same ones for (seed, number, part)."""
        longest = max(map(len, texts))
        drawn = uniform((len(texts), 3, longest), seed, number, part)
        hidden = [self.hidden(text, one) for text, one in zip(texts, drawn, strict=True)]
        return self.batch(hidden)

    def hidden(self, text: Sequence[int], drawn: np.ndarray) -> tuple[list[int], list[int]]:
        """A text as it is shown, and what is asked at each position; drawn [3, pos] from 0 to 1."""
        order, kind, other = drawn[:, : len(text)]
        n = max(1, round(SHARE * len(text)))
        ids, targets = [*text], [IGNORED] * len(text)
        for pos in order.argsort(kind="stable")[:n]:
            targets[pos] = text[pos]
            if kind[pos] < AS_MASK:
                ids[pos] = self.mask_id
            elif kind[pos] < AS_MASK + AS_OTHER:
                ids[pos] = int(self.ordinary[int(other[pos] * len(self.ordinary))])
        return ids, targets

    def batch(self, texts: Sequence[tuple[list[int], list[int]]]) -> Batch:
        """Texts and what is asked of them as rows of one length; padding is not seen."""
        longest = self.width + max(len(ids) for ids, _ in texts)
        ids = torch.full((len(texts), longest), self.pad_id)
        targets = torch.full((len(texts), longest), IGNORED)
        seen = torch.zeros((len(texts), longest), dtype=torch.bool)
        for row, (text, asked) in enumerate(texts):
            tokens = [*self.before, *text, *self.after]
            begin = len(self.before)
            ids[row, : len(tokens)] = torch.tensor(tokens)
            targets[row, begin : begin + len(asked)] = torch.tensor(asked)
            seen[row, : len(tokens)] = True
        return Batch(ids, targets, {"seen": seen})


def _by(n: int, texts: Iterable[list[int]]) -> Iterator[list[list[int]]]:
    """Texts, n at a time."""
    texts = iter(texts)
    while chosen := [*islice(texts, n)]:
        yield chosen
