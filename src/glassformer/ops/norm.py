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
from glassformer.ops.op import Op, Role, Tape, composite, op
from glassformer.ops.rows import root, row_divide, row_mean, row_subtract, square

LAYER, RMS = "Ba et al. 2016, eq. 3", "Zhang and Sennrich 2019, eq. 4"

VECTOR = {"B": "batch pos", "A": "d_model"}
HEAD = {"B": "batch pos head", "A": "d_head"}

mean = row_mean.over(
    "mean", "mean", VECTOR, summary="The mean of the vector's numbers.", source=LAYER
)

center = row_subtract.over(
    "center",
    "centred",
    VECTOR,
    {"row": "mean"},
    summary="The mean is taken away, so that the numbers are centered on zero.",
    source=LAYER,
    role="intermediate",
)


class Length(NamedTuple):
    """How long a vector is: every number squared, the mean of the squares, its root."""

    square: Op
    mean_square: Op
    scale: Op


layer_length = Length(
    square.over(
        "square",
        "squared",
        {"A": "batch pos d_model"},
        {"x": "centred"},
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
    return Length(
        square.over(
            f"{prefix}_square",
            "squared",
            {"A": f"{B} {A}"},
            summary="Each number is squared.",
            source=RMS,
            role="intermediate",
        ),
        row_mean.over(
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


rms_length, head_length = _rms_length("rms", **VECTOR), _rms_length("head", **HEAD)


def _standardize(name: str, x: str, axes: dict[str, str], role: Role, output: str) -> Op:
    layer = x == "centred"
    return row_divide.over(
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


layer_standardize = _standardize("standardize", "centred", VECTOR, "intermediate", "standardized")
layer_normalize = _standardize("normalize", "centred", VECTOR, "normalized", "standardized")
rms_standardize = _standardize("rms_divide", "x", VECTOR, "intermediate", "standardized")
rms_normalize = _standardize("rms_normalize", "x", VECTOR, "normalized", "standardized")
head_normalize = _standardize("head_divide", "x", HEAD, "normalized", "normed")

gain_and_bias = op(
    "gain_and_bias",
    "normalized[batch, pos, d_model] = standardized[batch, pos, d_model] * w[d_model] + b[d_model]",
    "standardized w b",
    kernels.gain_and_bias,
    summary="A learned gain stretches each dimension; a learned bias, if there is one, shifts it.",
    source=LAYER,
    role="normalized",
)


def _scale(
    t: Tape, length: Length, x: Tensor, eps: float, prefix: str = "", mean: str = "mean_square"
) -> Tensor:
    squared = t(f"{prefix}squared", length.square, x)
    mean_square = t(f"{prefix}{mean}", length.mean_square, squared)
    return t(f"{prefix}scale", length.scale, mean_square, eps=eps)


def _layer_norm_steps(
    t: Tape, name: str, x: Tensor, w: Tensor | None, b: Tensor | None, eps: float
) -> Tensor:
    centered = t("centred", center, x, t("mean", mean, x))
    scale = _scale(t, layer_length, centered, eps, mean="variance")
    if w is None and b is None:
        return t(name, layer_normalize, centered, scale)
    standardized = t("standardized", layer_standardize, centered, scale)
    return t(name, gain_and_bias, standardized, w, b)


layer_norm = composite(
    "layer_norm",
    kernels.layer_norm,
    _layer_norm_steps,
    summary="Each token's vector is brought to mean 0 and variance 1, then stretched and shifted.",
    source=LAYER,
)


def _rms_norm_steps(t: Tape, name: str, x: Tensor, w: Tensor | None, eps: float) -> Tensor:
    scale = _scale(t, rms_length, x, eps)
    if w is None:
        return t(name, rms_normalize, x, scale)
    standardized = t("standardized", rms_standardize, x, scale)
    return t(name, gain_and_bias, standardized, w, None)


rms_norm = composite(
    "rms_norm",
    kernels.rms_norm,
    _rms_norm_steps,
    summary="Each token's vector keeps its direction, gets a standard length, then is stretched.",
    source=RMS,
)


def _head_norm_steps(t: Tape, name: str, x: Tensor, eps: float) -> Tensor:
    return t(name, head_normalize, x, _scale(t, head_length, x, eps, f"{name}_"))


head_norm = composite(
    "head_norm",
    kernels.head_norm,
    _head_norm_steps,
    summary="The vector keeps its direction and gets a standard length.",
    source=RMS,
)
