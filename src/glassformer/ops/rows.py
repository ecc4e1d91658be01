"""Steps over a whole row of numbers: its largest, its sum, its mean, and what each takes from them.

Softmax and the norms are made of these. A row lies along the axis or axes A.
"""

from __future__ import annotations

from glassformer.kernels import rows as kernels
from glassformer.ops.op import template

row_max = template("row_max", "y[*B] = max(*A, x[*B, *A])", "x", kernels.largest)

row_sum = template("row_sum", "y[*B] = sum(*A, x[*B, *A])", "x", kernels.total)

row_mean = template("row_mean", "y[*B] = mean(*A, x[*B, *A])", "x", kernels.mean)

row_argmax = template(
    "row_argmax",
    "y[*B] = argmax(A, x[*B, A])",
    "x",
    kernels.first_index,
)

row_subtract = template(
    "row_subtract",
    "y[*B, *A] = x[*B, *A] - row[*B]",
    "x row",
    kernels.subtract,
)

row_divide = template(
    "row_divide",
    "y[*B, *A] = x[*B, *A] / row[*B]",
    "x row",
    kernels.divide,
)

row_exp = template(
    "row_exp",
    "y[*B, *A] = exp(x[*B, *A] - row[*B])",
    "x row",
    kernels.exponentiate,
)

root = template(
    "root",
    "y[*B] = sqrt(x[*B] + eps)",
    "x",
    kernels.root,
)

row_ranks = template(
    "row_ranks",
    "y[*B, A] = sum(other, select(x[*B, other] > x[*B, A], 1, 0)"
    " + select(x[*B, other] == x[*B, A], select(other < A, 1, 0), 0))",
    "x",
    kernels.ranks,
)

row_order = template(
    "row_order",
    "y[*B, R] = sum(A, select(ranks[*B, A] == R, A, 0))",
    "ranks",
    kernels.order,
)

row_keep_top = template(
    "row_keep_top",
    "y[*B, *A] = select(ranks[*B, *A] < k[*B], x[*B, *A], 0)",
    "x ranks k",
    kernels.keep_top,
)
