"""Rotary positions: queries and keys are turned by an angle that grows with their place.

A head's dimensions form pairs (i, i + d_head / 2), each with a wavelength of its own. The dot
product of a turned query and a turned key depends on their distance only.
Source: Su et al. 2021, eq. 34; pairs as in GPT-NeoX, which are the paper's in another order.
"""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor

from glassformer.kernels import positions as kernels
from glassformer.ops.op import Composite, Op, Tape, composite, op, template

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

# Other frequencies. Dimensions from 2 * half on have the angle 0: nothing turns there.

_FREQUENCY = "(1 / base ** (2 * (d_head % half) / width))"
_WAVES = f"(original * {_FREQUENCY} / (2 * pi))"  # how often a pair turns in the original context
_BY_WAVES = (
    f"select({_WAVES} > high, {_FREQUENCY}, select({_WAVES} < low, {_FREQUENCY} / factor,"
    f" {_FREQUENCY} * ((high - {_WAVES}) / factor + {_WAVES} - low) / (high - low)))"
)
_BY_PAIR = (
    f"select(d_head % half <= low, {_FREQUENCY}, select(d_head % half >= high,"
    f" {_FREQUENCY} / factor, {_FREQUENCY} * (high - d_head % half"
    " + (d_head % half - low) / factor) / (high - low)))"
)


class Rotation(NamedTuple):
    """The cosines and the sines of a kind of rotation."""

    cos: Op
    sin: Op


def _rotation(
    kind: str, frequency: str, summary: str, source: str, amplitude: str = ""
) -> Rotation:
    angle = f"select(d_head < 2 * half, position[pos] * {frequency}, 0)"
    if amplitude:
        beyond = {"cos": f"select(d_head < 2 * half, {amplitude}, 1) * ", "sin": f"{amplitude} * "}
    else:
        beyond = {"cos": "", "sin": ""}
    cos, sin = (
        op(
            f"rotary_{name}_{kind}",
            f"rot_{name}[pos, d_head] = {beyond[name]}{name}({angle})",
            "position",
            kernels.rotary_row,
            summary=f"The {word} of the angle by which each place turns each pair: {summary}",
            source=source,
        )
        for name, word in {"cos": "cosine", "sin": "sine"}.items()
    )
    return Rotation(cos, sin)


ROTATIONS = {
    "": Rotation(rotary_cos, rotary_sin),
    "part": _rotation(
        "part", _FREQUENCY, "only the first dimensions turn.", "Black et al. 2022, section 2.1"
    ),
    "linear": _rotation(
        "linear",
        f"({_FREQUENCY} / factor)",
        "slower by a factor, for longer texts.",
        "Chen et al. 2023, section 2.3",
    ),
    "llama3": _rotation(
        "llama3",
        _BY_WAVES,
        "long waves are slower by a factor, short ones as they were.",
        "Grattafiori et al. 2024, section 3.4.3",
    ),
    "yarn": _rotation(
        "yarn",
        _BY_PAIR,
        "late pairs are slower by a factor, early ones as they were.",
        "Peng et al. 2023, section 3.2",
        amplitude="amplitude",
    ),
}
"""By the kind of `RotaryScaling`; "part" where only some dimensions turn, "" for all."""


_PAIR = (
    "select(D < half, -x[B, P, H, (D + half) % (2 * half)], x[B, P, H, (D + half) % (2 * half)])"
)

turn = template(
    "turn",
    f"y[B, P, H, D] = {_PAIR}",
    "x",
    kernels.quarter_turn,
    summary="Each pair (a, b) of the vector becomes (-b, a): a turn by 90 degrees.",
    source=SOURCE,
)

turn_part = template(
    "turn_part",
    f"y[B, P, H, D] = select(D < 2 * half, {_PAIR}, 0)",
    "x",
    kernels.quarter_turn_part,
    summary="Each pair (a, b) that turns becomes (-b, a), a quarter turn; the rest is nothing.",
    source=SOURCE,
)

mix_turned = template(
    "mix_turned",
    "y[B, P, H, D] = x[B, P, H, D] * rot_cos[P, D] + turned[B, P, H, D] * rot_sin[P, D]",
    "x turned rot_cos rot_sin",
    kernels.rotate,
    summary="A mix of the vector and its quarter turn: the vector, turned by its place's angle.",
    source=SOURCE,
)


class Turning(NamedTuple):
    """The rotation of queries or of keys, and what is inside."""

    whole: Composite
    quarter: Op
    part: Op
    rotate: Op


def _turning(prefix: str, head: str) -> Turning:
    axes = {"B": "batch", "P": "pos", "H": head, "D": "d_head"}
    quarter = turn.over(f"{prefix}quarter_turn", "turned", axes)
    part = turn_part.over(f"{prefix}quarter_turn_part", "turned", axes)
    rotate = mix_turned.over(f"{prefix}rotate", "rotated", axes)

    def steps(t: Tape, name: str, x: Tensor, rot_cos: Tensor, rot_sin: Tensor, dims: int) -> Tensor:
        own = quarter if dims == x.shape[-1] else part
        turned = t(f"{name}_turned", own, x, half=dims // 2)
        return t(name, rotate, x, turned, rot_cos, rot_sin)

    whole = composite(
        f"{prefix}rotary",
        kernels.rotary,
        steps,
        summary="A query or key is turned by an angle that tells its place.",
        source=SOURCE,
    )
    return Turning(whole, quarter, part, rotate)


TURNINGS = {"": _turning("", "head"), "shared": _turning("shared_", "kv_head")}
rotary, shared_rotary = TURNINGS[""].whole, TURNINGS["shared"].whole
