"""A table of numbers that follow from a formula: not trained, not stored."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn


class FixedTable(nn.Module):
    """What `make` computes in float64, held in the model's dtype, or exactly, and on its device.

    A model of shapes only has a table of that `shape`, with no numbers.
    """

    values: Tensor

    def __init__(
        self, make: Callable[[], Tensor], shape: tuple[int, int], exact: bool = False
    ) -> None:
        super().__init__()
        self.make, self.shape, self.exact = make, shape, exact
        values = self._made().to(torch.float64 if exact else torch.get_default_dtype())
        self.register_buffer("values", values, persistent=False)

    def _made(self) -> Tensor:
        # on the meta device PyTorch's arange imports its compiler, which takes a second or more
        shapes_only = torch.get_default_device().type == "meta"
        return torch.empty(self.shape, dtype=torch.float64) if shapes_only else self.make()

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> FixedTable:
        super()._apply(fn, recurse)
        # a table that was rounded once must not be widened: compute it afresh
        made = self._made()
        self.values = made.to(self.values.device, made.dtype if self.exact else self.values.dtype)
        return self
