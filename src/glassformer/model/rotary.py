"""Rotary positions: the angles by which a layer turns its queries and keys."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from glassformer import ops
from glassformer.kernels.positions import pair_frequencies, rotary_angles
from glassformer.model.fixed_table import FixedTable
from glassformer.model.parts import LONGROPE, RotaryPart
from glassformer.ops import Tape
from glassformer.trace import Recorder


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
        self.params: dict[str, Any] = {**sizes, **_scaling(part)}
        plain = "" if part.dims == part.d_head else "part"
        self.ops = ops.ROTATIONS[part.scaling.kind if part.scaling else plain]
        shape = (part.n_ctx, part.d_head)
        self.cos = FixedTable(partial(_table, torch.cos, part), shape)
        self.sin = FixedTable(partial(_table, torch.sin, part), shape)

    def forward(self, position: Int[Tensor, "*batch pos"], t: Tape) -> Rotation:
        rot_cos = t("rot_cos", self.ops.cos, position, self.cos.values, **self.params)
        rot_sin = t("rot_sin", self.ops.sin, position, self.sin.values, **self.params)
        return Rotation(rot_cos, rot_sin, self.dims)


def _factors(part: RotaryPart) -> Tensor:
    """One for each pair, [2, pair]: of short texts and of long ones; in fp32, as they are meant."""
    assert part.scaling is not None
    return torch.tensor([part.scaling.short, part.scaling.long], dtype=torch.float32).double()


def _frequencies(part: RotaryPart) -> Tensor:
    return pair_frequencies(_factors(part), part.d_head, part.base)


def _rows(function: Callable[[Tensor], Tensor], part: RotaryPart, original: int) -> Tensor:
    """Cosine or sine of every angle, of texts of at most `original` tokens, then of longer ones."""
    assert part.scaling is not None
    ends = zip((original, part.n_ctx), _frequencies(part), strict=True)
    table = torch.cat([torch.outer(torch.arange(n).double(), row) for n, row in ends])
    table = function(table)
    table[:, : part.dims] *= part.scaling.amplitude
    return table


class RotaryByLength(nn.Module):
    """Angles that follow from the length of the whole text (longrope)."""

    def __init__(self, part: RotaryPart) -> None:
        super().__init__()
        assert part.scaling is not None
        self.dims, half = part.dims, part.dims // 2
        original = part.scaling.original_n_ctx
        sizes = {"base": part.base, "half": half, "width": part.dims}
        self.of_frequency: dict[str, Any] = {"original": original, **sizes}
        self.of_row: dict[str, Any] = {
            "original": original,
            "half": half,
            "amplitude": part.scaling.amplitude,
        }
        self.factors = FixedTable(partial(_factors, part), (2, half), exact=True)
        shape = (2, part.d_head)
        self.frequencies = FixedTable(partial(_frequencies, part), shape, exact=True)
        shape = (original + part.n_ctx, part.d_head)
        self.cos = FixedTable(partial(_rows, torch.cos, part, original), shape)
        self.sin = FixedTable(partial(_rows, torch.sin, part, original), shape)

    def forward(self, position: Int[Tensor, "*batch pos"], t: Tape) -> Rotation:
        factors = self.factors.values
        if isinstance(t, Recorder):
            t.leaf("const", "rot_factors", factors, ("choice", "d_head"))
        last = t("rot_last", ops.last_position, position)
        tables = (factors, self.frequencies.values)
        frequency = t("rot_frequency", ops.pair_frequency, last, *tables, **self.of_frequency)
        known = (position, frequency, last)
        rot_cos = t("rot_cos", ops.BY_LENGTH.cos, *known, self.cos.values, **self.of_row)
        rot_sin = t("rot_sin", ops.BY_LENGTH.sin, *known, self.sin.values, **self.of_row)
        return Rotation(rot_cos, rot_sin, self.dims)


def rotary_of(part: RotaryPart) -> Rotary | RotaryByLength:
    """What turns queries and keys as the part says."""
    kind = part.scaling.kind if part.scaling else ""
    return RotaryByLength(part) if kind == LONGROPE else Rotary(part)
