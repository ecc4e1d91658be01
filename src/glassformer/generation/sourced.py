"""An encoder-decoder that has read its sources: what `generate` asks of a model, word by word."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import Tensor

from glassformer.generation.cache import Cache
from glassformer.generation.packed import Changes, is_small
from glassformer.model.block import Block
from glassformer.model.config import Config
from glassformer.model.cross_attention import Memory
from glassformer.model.encoder_decoder import EncoderDecoder
from glassformer.model.evaluating import evaluating
from glassformer.model.texts import Texts
from glassformer.trace import SILENT


class SourcedModel:
    """The decoder of two towers, with a source for each text that it writes.

    The encoder runs once, and the keys and values of cross-attention are computed once: they are
    the same for every token of the target.
    """

    compiled = None
    is_flat = False

    def __init__(self, model: EncoderDecoder, source: Texts, n: int) -> None:
        self.model: Any = model
        self.small = is_small(model)
        self._changes = Changes(model)
        ids = torch.zeros(n, 1, dtype=torch.long)
        extra = model.read_extra_inputs(ids, source)
        with torch.inference_mode(), evaluating(model):
            memory = model.memory(extra, SILENT)
            blocks = [cast("Block", block) for block in model.decoder.blocks]
            kept = tuple(block.cross_attn.keys_and_values(memory, SILENT) for block in blocks)
        self._memory = Memory(memory.vectors, memory.seen, kept)

    @property
    def config(self) -> Config:
        """The decoder's: what its cache holds."""
        config: Config = self.model.config.decoder
        return config

    def of_texts(self, rows: Sequence[int]) -> SourcedModel:
        """The same for some of the texts only."""
        one = SourcedModel.__new__(SourcedModel)
        one.__dict__ = {**self.__dict__, "_memory": self._memory.of_rows(rows)}
        return one

    def last_logits(self, ids: Tensor, last: Tensor, cache: Cache | None) -> Tensor:
        """Logits [batch, 1, vocab] after the token at index `last` [batch] of each row."""
        x = self.model.decoder.residual(ids, SILENT, cache, memory=self._memory)
        logits: Tensor = self.model.unembed(x[torch.arange(len(x)), last][:, None], SILENT)
        return logits

    def check_fresh(self) -> None:
        """Raise if the model was changed after the sources were read."""
        self._changes.check_fresh()

    def check_still_fresh(self) -> None:
        """The same before every token."""
        self._changes.check_still_fresh()
