"""Rotary positions: queries and keys are turned by an angle that grows with their place.

A head's dimensions form pairs (i, i + d_head / 2), each with a wavelength of its own. The dot
product of a turned query and a turned key depends on their distance only.
Source: Su et al. 2021, eq. 34; pairs as in GPT-NeoX, which are the paper's in another order.
"""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor

from glassformer.kernels import positions as kernels
from glassformer.ops.op import Composite, Op, Tape, Template, composite, op, template
from glassformer.ops.rows import row_max

SOURCE = "Su et al. 2021, eq. 34"

cosine, sine = (
    template(
        f"rotary_{name}",
        f"y[P, D] = length[D] * {name}(position[P] * frequency[D])",
        "position length frequency",
        kernels.rotary_row,
        source=SOURCE,
    )
    for name in ("cos", "sin")
)

_ANGLES = {"P": "pos", "D": "d_head"}
_FREQUENCY = "1 / base ** (2 * (d_head % half) / width)"

rotary_cos = cosine.over(
    "rotary_cos",
    "rot_cos",
    _ANGLES,
    numbers={"frequency": _FREQUENCY},
    without="length",
    summary="The cosine of the angle by which each place turns each pair of dimensions.",
)

rotary_sin = sine.over(
    "rotary_sin",
    "rot_sin",
    _ANGLES,
    numbers={"frequency": _FREQUENCY},
    without="length",
    summary="The sine of the same angle.",
)

# Other frequencies. Dimensions from 2 * half on have the frequency 0: nothing turns there.

_WAVES = f"(original * ({_FREQUENCY}) / (2 * pi))"  # how often a pair turns in the original context
_BY_WAVES = (
    f"select({_WAVES} > high, {_FREQUENCY}, select({_WAVES} < low, ({_FREQUENCY}) / factor,"
    f" ({_FREQUENCY}) * ((high - {_WAVES}) / factor + {_WAVES} - low) / (high - low)))"
)
_BY_PAIR = (
    f"select(d_head % half <= low, {_FREQUENCY}, select(d_head % half >= high,"
    f" ({_FREQUENCY}) / factor, ({_FREQUENCY}) * (high - d_head % half"
    " + (d_head % half - low) / factor) / (high - low)))"
)


class Rotation(NamedTuple):
    """The cosines and the sines of a kind of rotation."""

    cos: Op[..., Tensor]
    sin: Op[..., Tensor]


def _rotation(
    kind: str, frequency: str, summary: str, source: str, lengths: tuple[str, ...] = ()
) -> Rotation:
    """`lengths`: what cosines and sines are multiplied by; nothing, where none are given."""

    def row(wave: Template[..., Tensor], name: str, word: str, length: str = "") -> Op[..., Tensor]:
        numbers = {"frequency": f"select(d_head < 2 * half, {frequency}, 0)"}
        return wave.over(
            f"rotary_{name}_{kind}",
            f"rot_{name}",
            _ANGLES,
            numbers=numbers | ({"length": length} if length else {}),
            without="" if length else "length",
            summary=f"The {word} of the angle by which each place turns each pair: {summary}",
            source=source,
        )

    return Rotation(
        row(cosine, "cos", "cosine", *lengths[:1]), row(sine, "sin", "sine", *lengths[1:])
    )


ROTATIONS = {
    "": Rotation(rotary_cos, rotary_sin),
    "part": _rotation(
        "part", _FREQUENCY, "only the first dimensions turn.", "Black et al. 2022, section 2.1"
    ),
    "linear": _rotation(
        "linear",
        f"({_FREQUENCY}) / factor",
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
        ("select(d_head < 2 * half, amplitude, 1)", "amplitude"),
    ),
}
"""By the kind of `RotaryScaling`; "part" where only some dimensions turn, "" for all."""

# A factor for each pair, one in short texts and another in long ones, known when the text is.

LONGROPE = "Ding et al. 2024, section 3"

last_position = row_max.over(
    "last_position",
    "rot_last",
    {"B": "", "A": "pos"},
    {"x": "position"},
    summary="The last place of the text: long texts are turned otherwise than short ones.",
    source=LONGROPE,
)

pair_frequency = op(
    "pair_frequency",
    "rot_frequency[d_head] = select(d_head < 2 * half, 1 / (rot_factors[select(rot_last[()] >="
    " original, 1, 0), d_head % half] * base ** (2 * (d_head % half) / width)), 0)",
    "rot_last rot_factors",
    kernels.pair_frequency,
    summary="How fast each pair of dimensions turns: slower by a factor of its own, another in a"
    " text longer than the original context.",
    source=LONGROPE,
)


def _by_frequency(name: str, length: str) -> Op[..., Tensor]:
    word = {"cos": "cosine", "sin": "sine"}[name]
    return (
        {"cos": cosine, "sin": sine}[name]
        .using(kernels.row_by_length)
        .over(
            f"rotary_{name}_longrope",
            f"rot_{name}",
            _ANGLES,
            {"frequency": "rot_frequency"},
            numbers={"length": length},
            summary=f"The {word} of the angle by which each place turns each pair.",
            source=LONGROPE,
        )
    )


BY_LENGTH = Rotation(
    _by_frequency("cos", "select(d_head < 2 * half, amplitude, 1)"),
    _by_frequency("sin", "amplitude"),
)


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

    fused: Composite[..., Tensor]
    quarter: Op[..., Tensor]
    part: Op[..., Tensor]
    rotate: Op[..., Tensor]


def _turning(prefix: str, head: str) -> Turning:
    axes = {"B": "batch", "P": "pos", "H": head, "D": "d_head"}
    quarter = turn.over(f"{prefix}quarter_turn", "turned", axes)
    part = turn_part.over(f"{prefix}quarter_turn_part", "turned", axes)
    rotate = mix_turned.over(f"{prefix}rotate", "rotated", axes)

    def steps(t: Tape, name: str, x: Tensor, rot_cos: Tensor, rot_sin: Tensor, dims: int) -> Tensor:
        turn_op = quarter if dims == x.shape[-1] else part
        turned = t(f"{name}_turned", turn_op, x, half=dims // 2)
        return t(name, rotate, x, turned, rot_cos, rot_sin)

    fused = composite(
        f"{prefix}rotary",
        kernels.rotary,
        steps,
        summary="A query or key is turned by an angle that tells its place.",
        source=SOURCE,
    )
    return Turning(fused, quarter, part, rotate)


TURNINGS = {"": _turning("", "head"), "shared": _turning("shared_", "kv_head")}
rotary, shared_rotary = TURNINGS[""].fused, TURNINGS["shared"].fused
