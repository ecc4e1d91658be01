"""QK-norm: every head's query and key is brought to a root mean square of 1.

Scores then measure direction alone, and stay small while the weights grow.
Sources: Zhang and Sennrich 2019, eq. 4 (RMS norm); Henry et al. 2020 (queries and keys).
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from glassformer.ops.op import Tape, composite, op

SOURCE = "Zhang and Sennrich 2019, eq. 4"
_X = "x[batch, pos, head, d_head]"

head_square = op(
    "head_square",
    f"squared[batch, pos, head, d_head] = {_X} * {_X}",
    "x",
    lambda x: x * x,
    says="Each number is squared.",
    source=SOURCE,
)

head_mean_square = op(
    "head_mean_square",
    "mean_square[batch, pos, head] = mean(d_head, squared[batch, pos, head, d_head])",
    "squared",
    lambda squared: squared.mean(-1),
    says="The mean of the squares.",
    source=SOURCE,
)

head_scale = op(
    "head_scale",
    "scale[batch, pos, head] = sqrt(mean_square[batch, pos, head] + eps)",
    "mean_square",
    lambda mean_square, eps: (mean_square + eps).sqrt_(),
    says="Its square root, kept away from zero by eps: the typical size of the numbers.",
    source=SOURCE,
)

head_divide = op(
    "head_divide",
    f"normed[batch, pos, head, d_head] = {_X} / scale[batch, pos, head]",
    "x scale",
    lambda x, scale: x / scale[..., None],
    says="Divided by it, the vector keeps its direction and has a standard length.",
    source=SOURCE,
)


def _steps(t: Tape, name: str, x: Tensor, eps: float) -> Tensor:
    squared = t(f"{name}_squared", head_square, x)
    mean_square = t(f"{name}_mean_square", head_mean_square, squared)
    scale = t(f"{name}_scale", head_scale, mean_square, eps=eps)
    return t(name, head_divide, x, scale)


head_norm = composite(
    "head_norm",
    lambda x, eps: F.rms_norm(x, (x.shape[-1],), None, eps),
    _steps,
    says="The vector keeps its direction and gets a standard length.",
    source=SOURCE,
)
