"""Tables of positions, and the rotation by them."""

from __future__ import annotations

import math
from functools import cache

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor


def sinusoid_table(n_ctx: int, d_model: int, halves: bool = False) -> Tensor:
    """Every sinusoidal position vector, [n_ctx, d_model], computed in float64.

    Sines and cosines take turns; as halves, all sines stand before all cosines.
    """
    position = torch.arange(n_ctx, dtype=torch.float64)[:, None]
    dimension = torch.arange(d_model, dtype=torch.float64)
    pair, is_sine = dimension // 2, dimension % 2 == 0
    if halves:
        half = (d_model + 1) // 2
        pair, is_sine = dimension % half, dimension < half
    angle = position / 10000.0 ** (2 * pair / d_model)
    return torch.where(is_sine, angle.sin(), angle.cos())


def distance_buckets(
    position: Tensor, n_keys: int, exact: int, last: int, far: int, half: int
) -> Tensor:
    """The bucket of the distance from each query's position [...] to each of n_keys keys.

    The first `exact` buckets are for one distance each, up to `last` for ranges that grow up to
    `far`; keys after the query have buckets of their own, from `half` on (0: none are seen). In
    fp32, as T5 does, since a distance may lie on the border of two ranges.
    """
    away = torch.arange(n_keys, device=position.device) - position[..., None]
    distance = away.abs() if half else (-away).clamp(min=0)
    buckets = torch.tensor(_buckets(exact, last, far), device=position.device)
    return buckets[distance.clamp(max=far)] + (away > 0) * half


@cache
def _buckets(exact: int, last: int, far: int) -> tuple[int, ...]:
    """The bucket of each distance up to `far`."""
    wide = np.arange(exact, far + 1, dtype=np.float32) / np.float32(exact)
    share = np.log(wide) / np.float32(math.log(far / exact))
    ranges = exact + (share * np.float32(last + 1 - exact)).astype(int)
    return (*range(exact), *(min(int(bucket), last) for bucket in ranges))


def rotary_angles(
    n_ctx: int, d_head: int, dims: int, base: float, kind: str = "", **scaling: float
) -> Tensor:
    """The angle of every position and dimension, [n_ctx, d_head], in float64.

    The first `dims` of a head's dimensions turn. `kind` and `scaling`: how their frequencies are
    changed, as `ops.ROTATIONS` names it.
    """
    pair = torch.arange(d_head, dtype=torch.float64) % (dims // 2)
    period = base ** (2 * pair / dims)
    position = torch.arange(n_ctx, dtype=torch.float64)[:, None]
    angle = position * _scaled(1 / period, pair, kind, **scaling) if scaling else position / period
    angle[:, dims:] = 0
    return angle


def _scaled(
    frequency: Tensor,
    pair: Tensor,
    kind: str,
    factor: float,
    low: float = 0.0,
    high: float = 0.0,
    original: float = 0.0,
) -> Tensor:
    if kind == "linear":
        return frequency / factor
    turns = original * frequency / (2 * math.pi)
    kept = (turns - low) if kind == "llama3" else (high - pair)
    kept = (kept / (high - low)).clamp(0, 1)  # 1: as it was
    return frequency * ((1 - kept) / factor + kept)


def quarter_turn(x: Tensor, half: int) -> Tensor:
    """Every pair (a, b) of x [..., 2 * half], half apart, as (-b, a)."""
    y = x.roll(half, -1)
    y[..., :half].neg_()
    return y


def sinusoid(position: Tensor, table: Tensor, width: int, half: int = 0) -> Tensor:
    """Rows of `sinusoid_table` [n_ctx, width] at position [...]."""
    del width, half  # only the formula, which computes the table anew, reads them
    return F.embedding(position, table)


def rotary_row(
    position: Tensor,
    table: Tensor,
    base: float,
    half: int,
    width: int,
    **scaling: float,
) -> Tensor:
    """Rows of a table of cosines or sines [n_ctx, d_head] at position [...]."""
    del base, half, width, scaling  # only the formula, which computes the table anew, reads them
    return F.embedding(position, table)


def pair_frequency(
    last: Tensor, factors: Tensor, table: Tensor, original: int, **formula: float
) -> Tensor:
    """The row of `pair_frequencies` for a text whose last position is `last` []."""
    del factors, formula  # only the formula, which computes the row anew, reads them
    return F.embedding((last >= original).long(), table)


def pair_frequencies(factors: Tensor, d_head: int, base: float) -> Tensor:
    """Frequencies [2, d_head] in float64: each pair's own, divided by its factors [2, pair]."""
    half = factors.shape[1]
    pair = torch.arange(half, dtype=torch.float64)
    return F.pad((1 / (factors * base ** (pair / half))).repeat(1, 2), (0, d_head - 2 * half))


def row_by_length(
    position: Tensor,
    frequency: Tensor,
    last: Tensor,
    table: Tensor,
    original: int,
    **formula: float,
) -> Tensor:
    """Rows at position [pos] of a table of cosines or sines [original + n_ctx, d_head].

    The first `original` are those of a text that ends there, the others those of a longer one.
    """
    del frequency, formula  # only the formula, which computes the table anew, reads them
    return F.embedding(position + (last >= original) * original, table)


def rotate(x: Tensor, turned: Tensor, rot_cos: Tensor, rot_sin: Tensor) -> Tensor:
    """x cos + turned sin for x, turned [batch, pos, head, d_head] and angles [pos, d_head]."""
    return (x * rot_cos[..., None, :]).addcmul_(turned, rot_sin[..., None, :])


def quarter_turn_part(x: Tensor, half: int) -> Tensor:
    """The same for the first 2 * half of x [..., d_head], and zeros."""
    y = torch.zeros_like(x)
    y[..., :half] = x[..., half : 2 * half]
    y[..., :half].neg_()
    y[..., half : 2 * half] = x[..., :half]
    return y


def rotary(x: Tensor, rot_cos: Tensor, rot_sin: Tensor, dims: int) -> Tensor:
    """x [batch, pos, head, d_head], its first `dims` turned by angles given as cosines and sines.

    These are [pos, d_head].
    """
    half = dims // 2
    a, b, rest = torch.split(x, [half, half, x.shape[-1] - dims], -1)
    cos, sin = rot_cos[..., None, :half], rot_sin[..., None, :half]  # both halves have the same
    halves = (torch.addcmul(a * cos, b, sin, value=-1), torch.addcmul(b * cos, a, sin))
    return torch.cat((*halves, rest) if rest.shape[-1] else halves, -1)
