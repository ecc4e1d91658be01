"""Rotary positions: queries and keys are turned by an angle that grows with their place.

A head's dimensions form pairs (i, i + d_head / 2), each with a wavelength of its own. The dot
product of a turned query and a turned key depends on their distance only.
Source: Su et al. 2021, eq. 34; pairs as in GPT-NeoX, which are the paper's in another order.
"""

from __future__ import annotations

from torch import Tensor

from glassformer.kernels import positions as kernels
from glassformer.ops.op import Tape, composite, op

SOURCE = "Su et al. 2021, eq. 34"
_ANGLE = "position[pos] / base ** (2 * (d_head % half) / width)"


rotary_cos = op(
    "rotary_cos",
    f"rot_cos[pos, d_head] = cos({_ANGLE})",
    "position",
    kernels.rotary_row,
    summary="The cosine of the angle by which each place turns each pair of dimensions.",
    source=SOURCE,
)

rotary_sin = op(
    "rotary_sin",
    f"rot_sin[pos, d_head] = sin({_ANGLE})",
    "position",
    kernels.rotary_row,
    summary="The sine of the same angle.",
    source=SOURCE,
)


quarter_turn = op(
    "quarter_turn",
    "turned[batch, pos, head, d_head] = select(d_head < half,"
    " -x[batch, pos, head, (d_head + half) % (2 * half)],"
    " x[batch, pos, head, (d_head + half) % (2 * half)])",
    "x",
    kernels.quarter_turn,
    summary="Each pair (a, b) of the vector becomes (-b, a): a turn by 90 degrees.",
    source=SOURCE,
)

rotate = op(
    "rotate",
    "rotated[batch, pos, head, d_head] = x[batch, pos, head, d_head] * rot_cos[pos, d_head]"
    " + turned[batch, pos, head, d_head] * rot_sin[pos, d_head]",
    "x turned rot_cos rot_sin",
    kernels.rotate,
    summary="A mix of the vector and its quarter turn: the vector, turned by its place's angle.",
    source=SOURCE,
)


def _rotary_steps(t: Tape, name: str, x: Tensor, rot_cos: Tensor, rot_sin: Tensor) -> Tensor:
    turned = t(f"{name}_turned", quarter_turn, x, half=x.shape[-1] // 2)
    return t(name, rotate, x, turned, rot_cos, rot_sin)


rotary = composite(
    "rotary",
    kernels.rotary,
    _rotary_steps,
    summary="A query or key is turned by an angle that tells its place.",
    source=SOURCE,
)
