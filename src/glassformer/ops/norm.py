"""Layer normalisation, whole and in steps."""

from __future__ import annotations

import torch
from torch import Tensor

from glassformer.ops.op import Tape, composite, op

SOURCE = "Ba et al. 2016, eq. 3"

mean = op(
    "mean",
    "mean[batch, pos] = mean(d_model, x[batch, pos, d_model])",
    "x",
    lambda x: x.mean(-1),
    says="The mean of the vector's numbers.",
    source=SOURCE,
)

centre = op(
    "centre",
    "centred[batch, pos, d_model] = x[batch, pos, d_model] - mean[batch, pos]",
    "x mean",
    lambda x, mean: x - mean[..., None],
    says="The mean is taken away, so that the numbers are centred on zero.",
    source=SOURCE,
)

square = op(
    "square",
    "squared[batch, pos, d_model] = centred[batch, pos, d_model] * centred[batch, pos, d_model]",
    "centred",
    lambda centred: centred * centred,
    says="Each centred number is squared.",
    source=SOURCE,
)

variance = op(
    "variance",
    "variance[batch, pos] = mean(d_model, squared[batch, pos, d_model])",
    "squared",
    lambda squared: squared.mean(-1),
    says="The mean of the squares is the variance.",
    source=SOURCE,
)

norm_scale = op(
    "norm_scale",
    "scale[batch, pos] = sqrt(variance[batch, pos] + eps)",
    "variance",
    lambda variance, eps: (variance + eps).sqrt_(),
    says="The square root of the variance, kept away from zero by eps, is the scale.",
    source=SOURCE,
)

standardise = op(
    "standardise",
    "standardized[batch, pos, d_model] = centred[batch, pos, d_model] / scale[batch, pos]",
    "centred scale",
    lambda centred, scale: centred / scale[..., None],
    says="Divided by the scale, the numbers have mean 0 and variance 1.",
    source=SOURCE,
)


def _gain_and_bias(x: Tensor, w: Tensor | None, b: Tensor | None) -> Tensor:
    if w is None:
        return x if b is None else x + b
    return x * w if b is None else torch.addcmul(b, x, w)


gain_and_bias = op(
    "gain_and_bias",
    "normalized[batch, pos, d_model] = standardized[batch, pos, d_model] * w[d_model] + b[d_model]",
    "standardized w b",
    _gain_and_bias,
    says="A learned gain stretches each dimension; a learned bias, where there is one, shifts it.",
    source=SOURCE,
)


def _layer_norm(x: Tensor, w: Tensor | None, b: Tensor | None, eps: float) -> Tensor:
    return torch.layer_norm(x, (x.shape[-1],), w, b, eps)


def _layer_norm_steps(
    t: Tape, name: str, x: Tensor, w: Tensor | None, b: Tensor | None, eps: float
) -> Tensor:
    mu = t("mean", mean, x)
    centred = t("centred", centre, x, mu)
    squared = t("squared", square, centred)
    var = t("variance", variance, squared)
    scale = t("scale", norm_scale, var, eps=eps)
    if w is None and b is None:
        return t(name, standardise, centred, scale)
    standardized = t("standardized", standardise, centred, scale)
    return t(name, gain_and_bias, standardized, w, b)


layer_norm = composite(
    "layer_norm",
    _layer_norm,
    _layer_norm_steps,
    says="Each token's vector is brought to mean 0 and variance 1, then stretched and shifted.",
    source=SOURCE,
)
