"""Tables of positions, and the rotation by them."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def sinusoid_table(n_ctx: int, d_model: int) -> Tensor:
    """Every sinusoidal position vector, [n_ctx, d_model], computed in float64."""
    position = torch.arange(n_ctx, dtype=torch.float64)[:, None]
    dimension = torch.arange(d_model, dtype=torch.float64)
    angle = position / 10000.0 ** (2 * (dimension // 2) / d_model)
    return torch.where(dimension % 2 == 0, angle.sin(), angle.cos())


def rotary_angles(n_ctx: int, d_head: int, base: float) -> Tensor:
    """The angle of every position and dimension, [n_ctx, d_head], in float64."""
    half = d_head // 2
    dimension = torch.arange(d_head, dtype=torch.float64) % half
    position = torch.arange(n_ctx, dtype=torch.float64)[:, None]
    return position / base ** (2 * dimension / d_head)


def quarter_turn(x: Tensor, half: int) -> Tensor:
    """Every pair (a, b) of x [..., 2 * half], half apart, as (-b, a)."""
    y = x.roll(half, -1)
    y[..., :half].neg_()
    return y


def rotary(x: Tensor, rot_cos: Tensor, rot_sin: Tensor) -> Tensor:
    """x [batch, pos, head, d_head] rotated by angles given as cosines and sines [pos, d_head]."""
    a, b = x.chunk(2, -1)
    half = a.shape[-1]  # both halves have the same angles
    cos, sin = rot_cos[..., None, :half], rot_sin[..., None, :half]
    return torch.cat((torch.addcmul(a * cos, b, sin, value=-1), torch.addcmul(b * cos, a, sin)), -1)


def sinusoid(position: Tensor, table: Tensor, width: int) -> Tensor:
    """Rows of `sinusoid_table` [n_ctx, width] at position [...]."""
    del width  # only the formula, which computes the table anew, reads it
    return F.embedding(position, table)


def rotary_row(
    position: Tensor,
    table: Tensor,
    base: float,
    half: int,
    width: int,
) -> Tensor:
    """Rows of a table of cosines or sines [n_ctx, width] at position [...]."""
    del base, half, width  # only the formula, which computes the table anew, reads them
    return F.embedding(position, table)


def rotate(x: Tensor, turned: Tensor, rot_cos: Tensor, rot_sin: Tensor) -> Tensor:
    """x cos + turned sin for x, turned [batch, pos, head, d_head] and angles [pos, d_head]."""
    return (x * rot_cos[..., None, :]).addcmul_(turned, rot_sin[..., None, :])
