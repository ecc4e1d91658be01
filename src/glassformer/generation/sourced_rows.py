"""Targets of several sources: what an encoder-decoder writes, each text by itself, in turn."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from glassformer.generation.cache import Cache
from glassformer.generation.packed import generating
from glassformer.generation.sourced import SourcedModel
from glassformer.model.encoder_decoder import EncoderDecoder


class SourcedRows:
    """What `CompiledRows` is, for two towers: a slot has a source, and its text is the target."""

    choice = None
    in_pieces = False

    def __init__(self, model: EncoderDecoder, slots: int, capacity: int) -> None:
        self.slots, self.capacity = slots, capacity
        self._model = model
        self._sources: dict[int, list[int]] = {}
        self._texts: dict[int, tuple[SourcedModel, Cache]] = {}

    def begin(self, slot: int, source: list[int]) -> None:
        """Have a slot's next text be of this source, which is read with the text's first token."""
        self._sources[slot] = source

    @torch.inference_mode()
    def read(
        self, slots: Sequence[int], tokens: Sequence[int], positions: Sequence[int], silent: int = 0
    ) -> Tensor:
        """As `CompiledRows.read`."""
        return torch.stack([*map(self._read, slots, tokens, positions)])[silent:]

    def _read(self, slot: int, token: int, position: int) -> Tensor:
        if position == 0:
            self._texts[slot] = self._begun(self._sources[slot])
        model, cache = self._texts[slot]
        W_E = self._model.embed.W_E
        ids = torch.tensor([[token]], device=W_E.device)
        with generating(model):
            return model.last_logits(ids, torch.tensor([0]), cache)[0, 0].cpu()

    def _begun(self, source: list[int]) -> tuple[SourcedModel, Cache]:
        W_E = self._model.embed.W_E
        model = SourcedModel(self._model, torch.tensor([source], device=W_E.device), 1)
        config = model.config
        return model, Cache(config, capacity=self.capacity, dtype=W_E.dtype, device=W_E.device)
