"""Keys and values of the tokens read so far, so that each new token costs one position of work."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from glassformer.errors import GlassformerError
from glassformer.model.config import Config


class Cache:
    """Preallocated buffers [layer, batch, position, kv_head, d_head] of keys and of values.

    Texts of different lengths share it: each row is written at its own length, and a row's queries
    see the keys of that row only. The first call reads the texts from position 0, padded on the
    right to the longest (nothing real ever looks at what follows it); `lengths` then says how long
    each one is, and every further call adds one token to each. A single text may also be read in
    pieces of any length. What `extend` returns are views, not copies.
    """

    def __init__(
        self,
        config: Config,
        lengths: Sequence[int] = (),
        *,
        capacity: int | None = None,
        dtype: torch.dtype | None = None,
        device: torch.device | str | None = None,
    ) -> None:
        self.capacity = config.n_ctx if capacity is None else min(capacity, config.n_ctx)
        self.batch = max(len(lengths), 1)
        shape = (2, config.n_layers, self.batch, self.capacity, config.n_kv_heads, config.d_head)
        # zeros: an attention weight of 0 times an uninitialized nan would be nan
        self._hold(*torch.zeros(shape, dtype=dtype, device=device))
        self.length = 0
        self._first_lengths = list(lengths)
        self._lengths: Tensor | None = None  # of each row, once they differ

    def _hold(self, keys: Tensor, values: Tensor) -> None:
        self.keys, self.values = keys, values
        self._by_layer = list(zip(keys.unbind(0), values.unbind(0), strict=True))

    def extend(self, layer: int, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """Append k, v [batch, pos, kv_head, d_head] of one layer; return all of them so far."""
        start, end = self.length, self.end(k.shape[1])
        keys, values = self._by_layer[layer]
        if self._lengths is None:
            keys[:, start:end], values[:, start:end] = k, v
        else:
            rows = torch.arange(len(k), device=k.device)
            keys[rows, self._lengths], values[rows, self._lengths] = k[:, 0], v[:, 0]
        return keys[:, :end], values[:, :end]

    def end(self, n: int) -> int:
        """The length with n more positions; raise if they do not fit."""
        end = self.length + n
        if end > self.capacity:
            raise GlassformerError(
                f"{end} tokens do not fit a cache of {self.capacity} positions; make it larger"
            )
        return end

    def advance(self, n: int) -> None:
        """Say that n more positions are in the cache, in every layer."""
        if self.length == 0 and self._first_lengths:
            self.length = max(self._first_lengths)
            assert n == self.length, "the first call reads every text, padded to the longest"
            if min(self._first_lengths) < self.length:
                self._lengths = torch.tensor(self._first_lengths, device=self.keys.device)
            return
        self.length += n
        if self._lengths is not None:
            self._lengths = self._lengths + n

    def positions(self, n: int, device: torch.device) -> Tensor:
        """Positions of the next n tokens: [pos], or [batch, pos] where the rows differ."""
        if self._lengths is not None:
            return self._lengths[:, None]
        return torch.arange(self.length, self.length + n, device=device)

    def mask(self, n: int) -> Tensor | None:
        """Which keys the next n queries may see, [batch, 1, n, key]; None for plain causal."""
        device = self.keys.device
        if self._lengths is not None:
            key = torch.arange(self.length + 1, device=device)
            return (key <= self._lengths[:, None])[:, None, None]
        if self.length == 0 or n == 1:
            return None
        key = torch.arange(self.length + n, device=device)
        return (key <= key[-n:, None]).expand(self.batch, 1, -1, -1)

    def keep(self, rows: Sequence[int]) -> None:
        """Forget every row but these, in this order."""
        if len(rows) == self.batch:
            return
        self._hold(self.keys[:, rows], self.values[:, rows])
        self.batch = len(rows)
        if self._lengths is not None:
            self._lengths = self._lengths[rows]
            self.length = int(self._lengths.max())
