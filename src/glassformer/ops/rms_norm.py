"""RMS norm: a vector keeps its direction and is brought to a root mean square of 1.

Of a token's vector it is layer norm without the mean; of every head's query and key it is QK-norm:
scores then measure direction alone, and stay small while the weights grow.
Sources: Zhang and Sennrich 2019, eq. 4; Henry et al. 2020 (queries and keys).
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from glassformer.ops.norm import gain_and_bias
from glassformer.ops.op import Op, Tape, composite, op

SOURCE = "Zhang and Sennrich 2019, eq. 4"


def _in_steps(prefix: str, outer: str, axis: str, result: str) -> tuple[Op, Op, Op, Op]:
    """The ops square, mean square, scale and divide for vectors along `axis`."""
    x, row = f"x[{outer}, {axis}]", f"[{outer}]"
    square = op(
        f"{prefix}_square",
        f"squared[{outer}, {axis}] = {x} * {x}",
        "x",
        lambda x: x * x,
        says="Each number is squared.",
        source=SOURCE,
    )
    mean_square = op(
        f"{prefix}_mean_square",
        f"mean_square{row} = mean({axis}, squared[{outer}, {axis}])",
        "squared",
        lambda squared: squared.mean(-1),
        says="The mean of the squares.",
        source=SOURCE,
    )
    scale = op(
        f"{prefix}_scale",
        f"scale{row} = sqrt(mean_square{row} + eps)",
        "mean_square",
        lambda mean_square, eps: (mean_square + eps).sqrt_(),
        says="Its square root, kept away from zero by eps: the typical size of the numbers.",
        source=SOURCE,
    )
    divide = op(
        f"{prefix}_divide",
        f"{result}[{outer}, {axis}] = {x} / scale{row}",
        "x scale",
        lambda x, scale: x / scale[..., None],
        says="Divided by it, the vector keeps its direction and has a standard length.",
        source=SOURCE,
    )
    return square, mean_square, scale, divide


_square, _mean_square, _scale, _divide = _in_steps("rms", "batch, pos", "d_model", "standardized")
_head_square, _head_mean_square, _head_scale, _head_divide = _in_steps(
    "head", "batch, pos, head", "d_head", "normed"
)


def _rms_norm_steps(t: Tape, name: str, x: Tensor, w: Tensor | None, eps: float) -> Tensor:
    squared = t("squared", _square, x)
    mean_square = t("mean_square", _mean_square, squared)
    scale = t("scale", _scale, mean_square, eps=eps)
    if w is None:
        return t(name, _divide, x, scale)
    standardized = t("standardized", _divide, x, scale)
    return t(name, gain_and_bias, standardized, w, None)


rms_norm = composite(
    "rms_norm",
    lambda x, w, eps: F.rms_norm(x, (x.shape[-1],), w, eps),
    _rms_norm_steps,
    says="Each token's vector keeps its direction and gets a standard length, then is stretched.",
    source=SOURCE,
)


def _head_norm_steps(t: Tape, name: str, x: Tensor, eps: float) -> Tensor:
    squared = t(f"{name}_squared", _head_square, x)
    mean_square = t(f"{name}_mean_square", _head_mean_square, squared)
    scale = t(f"{name}_scale", _head_scale, mean_square, eps=eps)
    return t(name, _head_divide, x, scale)


head_norm = composite(
    "head_norm",
    lambda x, eps: F.rms_norm(x, (x.shape[-1],), None, eps),
    _head_norm_steps,
    says="The vector keeps its direction and gets a standard length.",
    source=SOURCE,
)
