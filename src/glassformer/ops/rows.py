"""Steps over a whole row of numbers: its largest, its sum, its mean, and what each takes from them.

Softmax and the norms are made of these. A row lies along the axis or axes A.
"""

from __future__ import annotations

import torch

from glassformer.ops.op import template

row_max = template("row_max", "y[*B] = max(*A, x[*B, *A])", "x", lambda x: x.amax(-1))

row_sum = template("row_sum", "y[*B] = sum(*A, x[*B, *A])", "x", lambda x: x.sum(-1))

row_mean = template("row_mean", "y[*B] = mean(*A, x[*B, *A])", "x", lambda x: x.mean(-1))

row_argmax = template(
    "row_argmax",
    "y[*B] = -max(A, select(x[*B, A] == largest[*B], -A, -inf))",
    "x largest",
    lambda x, largest: (x == largest[..., None]).int().argmax(-1),
)

row_subtract = template(
    "row_subtract",
    "y[*B, *A] = x[*B, *A] - row[*B]",
    "x row",
    lambda x, row: x - row[..., None],
)

row_divide = template(
    "row_divide",
    "y[*B, *A] = x[*B, *A] / row[*B]",
    "x row",
    lambda x, row: x / row[..., None],
)

row_exp = template(
    "row_exp",
    "y[*B, *A] = exp(x[*B, *A] - row[*B])",
    "x row",
    # subtract the maximum: exp(89) overflows fp32, exp(710) float64
    lambda x, row: (x - row[..., None]).exp_(),
)

root = template(
    "root",
    "y[*B] = sqrt(x[*B] + eps)",
    "x",
    lambda x, eps: (x + eps).sqrt_(),
)

square = template("square", "y[*A] = x[*A] * x[*A]", "x", torch.square)
