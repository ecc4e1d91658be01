"""Rotary positions: the angles by which every layer turns its queries and keys."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from glassformer import ops
from glassformer.kernels.positions import rotary_angles
from glassformer.model.config import Config
from glassformer.model.fixed_table import FixedTable
from glassformer.ops import Tape

Rotation = tuple[Float[Tensor, "*batch pos d_head"], Float[Tensor, "*batch pos d_head"]]
"""Cosines and sines of the angle at each position and dimension."""


def _turned(function: Callable[[Tensor], Tensor], n_ctx: int, d_head: int, base: float) -> Tensor:
    """Cosine or sine of every angle; a function of a module, so that a model can be pickled."""
    return function(rotary_angles(n_ctx, d_head, base))


class Rotary(nn.Module):
    """Tables of cosines and sines, shared by all layers and heads."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.base, self.d_head = config.rotary_base, config.d_head
        sizes = (config.n_ctx, config.d_head, config.rotary_base)
        self.cos = FixedTable(partial(_turned, torch.cos, *sizes))
        self.sin = FixedTable(partial(_turned, torch.sin, *sizes))

    def forward(self, position: Int[Tensor, "*batch pos"], t: Tape) -> Rotation:
        base, half, width = self.base, self.d_head // 2, self.d_head
        cos, sin = self.cos.values, self.sin.values
        rot_cos = t("rot_cos", ops.rotary_cos, position, cos, base=base, half=half, width=width)
        rot_sin = t("rot_sin", ops.rotary_sin, position, sin, base=base, half=half, width=width)
        return rot_cos, rot_sin
