"""The norms, whole and in steps: layer norm, RMS norm, and the RMS norm of queries and keys.

RMS norm is layer norm without the mean: a vector keeps its direction and is brought to a root mean
square of 1. Of every head's query and key it is QK-norm: scores then measure direction alone, and
stay small while the weights grow. Sources: Ba et al. 2016, eq. 3; Zhang and Sennrich 2019, eq. 4;
Henry et al. 2020 (queries and keys).
"""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor

from glassformer.kernels import norm as kernels
from glassformer.kernels import rows
from glassformer.ops.elementwise import square
from glassformer.ops.op import Composite, Op, Role, Tape, composite, template
from glassformer.ops.rows import root, row_divide, row_mean, row_subtract

LAYER, RMS = "Ba et al. 2016, eq. 3", "Zhang and Sennrich 2019, eq. 4"

VECTOR = {"B": "batch pos", "A": "d_model"}
HEADS = {  # over what queries and keys are normed: each head's vector, or all heads' together
    "head": {"B": "batch pos head", "A": "d_head"},
    "kv_head": {"B": "batch pos kv_head", "A": "d_head"},
    "wide": {"B": "batch pos", "A": "head d_head"},
    "kv_wide": {"B": "batch pos", "A": "kv_head d_head"},
}

mean = row_mean.over(
    "mean", "mean", VECTOR, summary="The mean of the vector's numbers.", source=LAYER
)

center = row_subtract.over(
    "center",
    "centered",
    VECTOR,
    {"row": "mean"},
    summary="The mean is taken away, so that the numbers are centered on zero.",
    source=LAYER,
    role="intermediate",
)


class Length(NamedTuple):
    """How long a vector is: every number squared, the mean of the squares, its root."""

    square: Op[..., Tensor]
    mean_square: Op[..., Tensor]
    scale: Op[..., Tensor]


layer_length = Length(
    square.over(
        "square",
        "squared",
        {"B": "", "A": "batch pos d_model"},
        {"x": "centered", "factor": "centered"},
        summary="Each centered number is squared.",
        source=LAYER,
        role="intermediate",
    ),
    row_mean.over(
        "variance",
        "variance",
        VECTOR,
        {"x": "squared"},
        summary="The mean of the squares is the variance.",
        source=LAYER,
    ),
    root.over(
        "norm_scale",
        "scale",
        {"B": "batch pos"},
        {"x": "variance"},
        summary="The square root of the variance, kept away from zero by eps, is the scale.",
        source=LAYER,
    ),
)


def _rms_length(prefix: str, B: str, A: str) -> Length:
    mean_of = row_mean.using(rows.mean_of_heads) if " " in A else row_mean
    return Length(
        square.over(
            f"{prefix}_square",
            "squared",
            {"B": "", "A": f"{B} {A}"},
            {"factor": "x"},
            summary="Each number is squared.",
            source=RMS,
            role="intermediate",
        ),
        mean_of.over(
            f"{prefix}_mean_square",
            "mean_square",
            {"B": B, "A": A},
            {"x": "squared"},
            summary="The mean of the squares.",
            source=RMS,
        ),
        root.over(
            f"{prefix}_scale",
            "scale",
            {"B": B},
            {"x": "mean_square"},
            summary="Its square root, kept away from zero by eps: the typical size of the numbers.",
            source=RMS,
        ),
    )


rms_length = _rms_length("rms", **VECTOR)


def _standardize(
    name: str, x: str, axes: dict[str, str], role: Role, output: str
) -> Op[..., Tensor]:
    layer = x == "centered"
    divide = row_divide.using(rows.divide_heads) if " " in axes["A"] else row_divide
    return divide.over(
        name,
        output,
        axes,
        {"x": x, "row": "scale"},
        summary="Divided by the scale, the numbers have mean 0 and variance 1."
        if layer
        else "Divided by it, the vector keeps its direction and has a standard length.",
        source=LAYER if layer else RMS,
        role=role,
    )


layer_standardize = _standardize("standardize", "centered", VECTOR, "intermediate", "standardized")
layer_normalize = _standardize("normalize", "centered", VECTOR, "normalized", "standardized")
rms_standardize = _standardize("rms_divide", "x", VECTOR, "intermediate", "standardized")
rms_normalize = _standardize("rms_normalize", "x", VECTOR, "normalized", "standardized")

stretch = template(
    "stretch",
    "y[*B, *A] = x[*B, *A] * (stored_from[*A] + w[*A]) + b[*A]",
    "x w b stored_from",
    kernels.gain_and_bias,
    summary="Each dimension is changed as training found best{w:: a gain stretches it}"
    "{b:, a bias shifts it}.",
    source=LAYER,
    role="normalized",
)


class Gain(NamedTuple):
    """A gain as a number, or as its distance from 1."""

    plain: Op[..., Tensor]
    from_one: Op[..., Tensor]


def _gain(prefix: str, axes: dict[str, str], output: str) -> Gain:
    operands = {"x": "standardized"}
    return Gain(
        stretch.over(f"{prefix}gain_and_bias", output, axes, operands, without="stored_from"),
        stretch.using(kernels.gain_from_one).over(
            f"{prefix}gain_from_one",
            output,
            axes,
            operands,
            numbers={"stored_from": "1"},
            summary="A learned gain stretches each dimension; it is stored as its distance from 1.",
            source="Gemma Team 2024, section 2",
        ),
    )


vector_gain = _gain("", VECTOR, "normalized")


def _scale(
    t: Tape, length: Length, x: Tensor, eps: float, prefix: str = "", mean: str = "mean_square"
) -> Tensor:
    squared = t(f"{prefix}squared", length.square, x)
    mean_square = t(f"{prefix}{mean}", length.mean_square, squared)
    return t(f"{prefix}scale", length.scale, mean_square, eps=eps)


def _stretched(
    t: Tape, name: str, gain: Gain, x: Tensor, w: Tensor | None, b: Tensor | None, from_one: bool
) -> Tensor:
    return t(name, gain.from_one if from_one and w is not None else gain.plain, x, w, b)


def _layer_norm_steps(
    t: Tape,
    name: str,
    x: Tensor,
    w: Tensor | None,
    b: Tensor | None,
    eps: float,
    from_one: bool = False,
) -> Tensor:
    centered = t("centered", center, x, t("mean", mean, x))
    scale = _scale(t, layer_length, centered, eps, mean="variance")
    if w is None and b is None:
        return t(name, layer_normalize, centered, scale)
    standardized = t("standardized", layer_standardize, centered, scale)
    return _stretched(t, name, vector_gain, standardized, w, b, from_one)


layer_norm = composite(
    "layer_norm",
    kernels.layer_norm,
    _layer_norm_steps,
    summary="Each token's vector is brought to mean 0 and variance 1, then stretched and shifted.",
    source=LAYER,
)


def _rms_norm_steps(
    t: Tape, name: str, x: Tensor, w: Tensor | None, eps: float, from_one: bool = False
) -> Tensor:
    scale = _scale(t, rms_length, x, eps)
    if w is None:
        return t(name, rms_normalize, x, scale)
    standardized = t("standardized", rms_standardize, x, scale)
    return _stretched(t, name, vector_gain, standardized, w, None, from_one)


rms_norm = composite(
    "rms_norm",
    kernels.rms_norm,
    _rms_norm_steps,
    summary="Each token's vector keeps its direction, gets a standard length, then is stretched.",
    source=RMS,
)


class QKNorm(NamedTuple):
    """The RMS norm of queries or of keys, and what is inside."""

    norm: Composite[..., Tensor]
    length: Length
    standardize: Op[..., Tensor]
    normalize: Op[..., Tensor]
    gain: Gain


def _qk_norm(over: str) -> QKNorm:
    axes = HEADS[over]
    length = _rms_length(over, **axes)
    standardize = _standardize(f"{over}_standardize", "x", axes, "intermediate", "standardized")
    normalize = _standardize(f"{over}_divide", "x", axes, "normalized", "normed")
    gain = _gain(f"{over}_", axes, "normed")

    def steps(
        t: Tape, name: str, x: Tensor, w: Tensor | None, eps: float, from_one: bool = False
    ) -> Tensor:
        scale = _scale(t, length, x, eps, f"{name}_")
        if w is None:
            return t(name, normalize, x, scale)
        standardized = t(f"{name}_standardized", standardize, x, scale)
        return _stretched(t, name, gain, standardized, w, None, from_one)

    wide = over.endswith("wide")
    norm = composite(
        f"{over}_norm",
        kernels.wide_norm if wide else kernels.rms_norm,
        steps,
        summary="All heads' vectors together keep their direction and get a standard length."
        if wide
        else "The vector keeps its direction and gets a standard length.",
        source=RMS,
    )
    return QKNorm(norm, length, standardize, normalize, gain)


QK_NORMS = {over: _qk_norm(over) for over in HEADS}
"""By the keys of `HEADS`."""
