"""A decoding step for rows of several texts at once, each with the numbers that it has alone."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from glassformer.generation.c_step.choice import CompiledChoice
from glassformer.generation.c_step.library import c_library
from glassformer.generation.c_step.row_products import MOST_ROWS
from glassformer.generation.c_step.step import Capture, addresses
from glassformer.model.decoder import Decoder


class CompiledRows:
    """Reads up to MOST_ROWS tokens at once; `slots` texts have their keys and values here.

    A token belongs to a slot and stands at a position; several of one slot come in the order of
    their positions. The logits of a row are the same to the last bit whatever comes with it. Raises
    as `CompiledStep` does. capacity: positions of a slot.
    """

    in_pieces = True
    """A prompt may be read in parts, and a text may begin with what a slot holds already."""

    def __init__(self, model: Decoder, slots: int, capacity: int) -> None:
        config, capture = model.config, Capture(model)
        self._halves = 2 * config.n_layers
        lines = capture.program.rows(self._halves, config.vocab_size)
        self._run = c_library(capture.source([*lines], rows=True)).rows
        pointer, number = ctypes.c_void_p, ctypes.c_int64
        self._run.argtypes = [pointer] * 5 + [number] * 2 + [pointer]
        self._run.restype = None
        self.slots, self.capacity = slots, capacity
        self._dtype, self._vocab_size = capture.dtype, config.vocab_size
        self.choice = CompiledChoice(capture.dtype, config.vocab_size)
        self._constants = capture.constants  # held, so that their addresses stay theirs
        self._weights = addresses(capture.constants)
        # memory that is never written to is never taken
        half = capacity * config.n_kv_heads * config.d_head
        self._cache = [
            [torch.zeros(half, dtype=capture.dtype) for _ in range(self._halves)]
            for _ in range(slots)
        ]
        self._addresses = [[half.data_ptr() for half in slot] for slot in self._cache]
        self._caches: Any = (pointer * (MOST_ROWS * self._halves))()
        self._slots: list[int] = []  # whose positions stand in it
        self._tokens, self._positions = ((number * MOST_ROWS)() for _ in range(2))
        self._buffers = torch.zeros(MOST_ROWS * capture.program.scratch, dtype=capture.dtype)

    def read(
        self, slots: Sequence[int], tokens: Sequence[int], positions: Sequence[int], silent: int = 0
    ) -> Tensor:
        """Read rows, each a token of a slot and its position; return logits [row, vocab].

        Of so many `silent` rows none are returned; these come first.
        """
        n = len(slots)
        if self._slots != slots:
            self._slots = [*slots]
            halves = [half for slot in slots for half in self._addresses[slot]]
            self._caches[: len(halves)] = halves
        self._tokens[:n], self._positions[:n] = tokens, positions
        logits = torch.empty(n - silent, self._vocab_size, dtype=self._dtype)
        buffers, to = self._buffers.data_ptr(), logits.data_ptr()
        arguments = (self._weights, self._caches, buffers, self._tokens, self._positions)
        self._run(*arguments, n, silent, to)
        return logits
