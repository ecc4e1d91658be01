"""A table of numbers that follow from a formula: not trained, not stored."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn


class FixedTable(nn.Module):
    """What `make` computes in float64, held in the model's dtype and on its device."""

    def __init__(self, make: Callable[[], Tensor]) -> None:
        super().__init__()
        self.make = make
        self.register_buffer("values", make().to(torch.get_default_dtype()), persistent=False)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> FixedTable:
        super()._apply(fn, recurse)
        # a table that was rounded once must not be widened: compute it afresh
        self.values = self.make().to(self.values)
        return self
