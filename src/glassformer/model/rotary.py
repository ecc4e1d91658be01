"""Rotary positions: the angles by which a layer turns its queries and keys."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from glassformer import ops
from glassformer.kernels.positions import rotary_angles
from glassformer.model.fixed_table import FixedTable
from glassformer.model.parts import RotaryPart
from glassformer.ops import Tape


class Rotation(NamedTuple):
    """Cosines and sines of the angle at each position and dimension; the first `dims` turn."""

    cos: Float[Tensor, "*batch pos d_head"]
    sin: Float[Tensor, "*batch pos d_head"]
    dims: int


def _scaling(part: RotaryPart) -> dict[str, float]:
    return {} if part.scaling is None else part.scaling.params(part.base, part.dims)


def _table(function: Callable[[Tensor], Tensor], part: RotaryPart) -> Tensor:
    """Cosine or sine of every angle; a function of a module, so that a model can be pickled."""
    scaling, kind = _scaling(part), part.scaling.kind if part.scaling else ""
    amplitude = scaling.pop("amplitude", 1.0)
    table = function(rotary_angles(part.n_ctx, part.d_head, part.dims, part.base, kind, **scaling))
    table[:, : part.dims] *= amplitude
    return table


class Rotary(nn.Module):
    """Tables of cosines and sines, shared by heads and by all layers that turn alike."""

    def __init__(self, part: RotaryPart) -> None:
        super().__init__()
        self.dims = part.dims
        sizes = {"base": part.base, "half": part.dims // 2, "width": part.dims}
        self.params = {**sizes, **_scaling(part)}
        plain = "" if part.dims == part.d_head else "part"
        self.ops = ops.ROTATIONS[part.scaling.kind if part.scaling else plain]
        shape = (part.n_ctx, part.d_head)
        self.cos = FixedTable(partial(_table, torch.cos, part), shape)
        self.sin = FixedTable(partial(_table, torch.sin, part), shape)

    def forward(self, position: Int[Tensor, "*batch pos"], t: Tape) -> Rotation:
        rot_cos = t("rot_cos", self.ops.cos, position, self.cos.values, **self.params)
        rot_sin = t("rot_sin", self.ops.sin, position, self.sin.values, **self.params)
        return Rotation(rot_cos, rot_sin, self.dims)
