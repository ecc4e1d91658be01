"""Rows of several texts without a compiled step: every text is computed by itself, in turn."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

import torch
from torch import Tensor

from glassformer.generation.cache import Cache
from glassformer.generation.packed import PackedModel, generating
from glassformer.generation.plan import ExecutionPlan


class PlainRows:
    """What `CompiledRows` is, for any model on any device; a prompt is read in one piece."""

    choice = None
    in_pieces = False

    def __init__(self, packed: PackedModel, slots: int, capacity: int) -> None:
        self.slots, self.capacity = slots, capacity
        self._packed = packed
        self._texts: dict[int, tuple[Cache, ExecutionPlan]] = {}
        self._ids: dict[int, list[int]] = {}  # what each slot has read

    @torch.inference_mode()
    def read(
        self, slots: Sequence[int], tokens: Sequence[int], positions: Sequence[int], silent: int = 0
    ) -> Tensor:
        """As `CompiledRows.read`."""
        parts: dict[int, Tensor] = {}
        order = sorted(range(len(slots)), key=lambda row: slots[row])
        with generating(self._packed):
            for slot, group in groupby(order, key=lambda row: slots[row]):
                rows = [*group]
                logits = self._read(slot, [tokens[row] for row in rows], positions[rows[0]])
                parts.update(zip(rows, logits, strict=True))
        return torch.stack([parts[row] for row in range(silent, len(slots))])

    def _read(self, slot: int, ids: list[int], position: int) -> Tensor:
        W_E, config = self._packed.model.embed.W_E, self._packed.model.config
        self._ids[slot] = held = [*self._ids.get(slot, [])[:position], *ids]
        grown = position == config.turns_by_length > 0  # turned anew, all of it
        text = torch.tensor([held if grown else ids], device=W_E.device)
        if position == 0 or grown:
            cache = Cache(config, capacity=self.capacity, dtype=W_E.dtype, device=W_E.device)
            self._texts[slot] = cache, ExecutionPlan(self._packed, cache)
            return self._packed(text, cache)[0, -len(ids) :].cpu()
        return self._texts[slot][1].step(text)[0].cpu()
