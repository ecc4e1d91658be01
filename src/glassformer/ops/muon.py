"""Muon: the step that a matrix takes is its averaged gradient with all singular values made equal.

A gradient's matrix is dominated by a few directions; made orthogonal, all directions learn at the
same speed. Newton-Schulz iterations do that with products alone: an odd polynomial of the matrix
moves every singular value towards 1 and leaves the singular vectors as they are.

Formulas speak of a weight as a matrix [d_model, rest], where `rest` is every other axis of the
weight together; `ops.optimizer.over` writes them out. The Gram matrix is taken over `rest`, so it
is [d_model, other] whatever the weight: the polynomial is the same from either side.
Source: Jordan et al. 2024, "Muon: an optimizer for hidden layers in neural networks".
"""

from __future__ import annotations

import torch
from torch import Tensor

from glassformer.ops.op import Tape, composite, op

SOURCE = "Jordan et al. 2024, Muon"
NEWTON_SCHULZ = "Jordan et al. 2024, Muon, Newton-Schulz iteration"
A, B, C = 3.4445, -4.7750, 2.0315
"""x -> A x + B x^3 + C x^5 brings singular values from (0, 1] to about 0.7 to 1.2 in few steps."""
ITERATIONS = 5
TINY = 1e-7  # a matrix of zeros stays one

look_ahead = op(
    "look_ahead",
    "ahead[element] = g[element] + momentum * (m[element] - g[element])",
    "g m",
    lambda g, m, momentum, out=None: torch.lerp(g, m, momentum, out=out),
    says="The averaged gradient, with the newest one counted once more (Nesterov).",
    source=SOURCE,
)

matrix_length = op(
    "matrix_length",
    "length = sqrt(sum(d_model, sum(rest, ahead[d_model, rest] * ahead[d_model, rest])))",
    "ahead",
    lambda ahead: ahead.square().sum((-2, -1)).sqrt_(),
    says="The root of all its squares, summed: no singular value is larger.",
    source=NEWTON_SCHULZ,
)

shorten = op(
    "shorten",
    "x[d_model, rest] = ahead[d_model, rest] / (length[()] + tiny)",
    "ahead length",
    lambda ahead, length, tiny, dtype: (ahead / (length + tiny)[..., None, None]).to(dtype),
    says="Divided by it, the matrix has singular values of at most 1.",
    source=NEWTON_SCHULZ,
)

gram = op(
    "gram",
    "gram[d_model, other] = sum(rest, x[d_model, rest] * x[other, rest])",
    "x",
    lambda x: x @ x.mT,
    says="Each row is dotted with each row: how far are they from being perpendicular?",
    source=NEWTON_SCHULZ,
)


def _add_product(base: Tensor, left: Tensor, right: Tensor, beta: float, alpha: float) -> Tensor:
    """beta base + alpha left @ right, for one matrix or a stack of them."""
    fused = torch.addmm if base.ndim == 2 else torch.baddbmm
    return fused(base, left, right, beta=beta, alpha=alpha)


polynomial = op(
    "polynomial",
    "poly[d_model, other] = b * gram[d_model, other]"
    " + c * sum(between, gram[d_model, between] * gram[between, other])",
    "gram",
    lambda gram, b, c: _add_product(gram, gram, gram, b, c),
    says="What the rows must take from each other to come closer to being perpendicular.",
    source=NEWTON_SCHULZ,
)

straighten = op(
    "straighten",
    "next[d_model, rest]"
    " = a * x[d_model, rest] + sum(other, poly[d_model, other] * x[other, rest])",
    "x poly",
    lambda x, poly, a: _add_product(x, poly, x, a, 1.0),
    says="Every singular value s becomes a s + b s^3 + c s^5, which is nearer to 1.",
    source=NEWTON_SCHULZ,
)


def _orthogonalise(ahead: Tensor, dtype: torch.dtype) -> Tensor:
    x = shorten.kernel(ahead, matrix_length.kernel(ahead), tiny=TINY, dtype=dtype)
    for _ in range(ITERATIONS):
        poly = polynomial.kernel(gram.kernel(x), b=B, c=C)
        x = straighten.kernel(x, poly, a=A)
    return x


def _orthogonalise_steps(t: Tape, name: str, ahead: Tensor, dtype: torch.dtype) -> Tensor:
    length = t(f"{name}_length", matrix_length, ahead)
    x = t(f"{name}_0", shorten, ahead, length, tiny=TINY, dtype=dtype)
    for i in range(1, ITERATIONS + 1):
        rows = t(f"{name}_gram_{i}", gram, x)
        poly = t(f"{name}_poly_{i}", polynomial, rows, b=B, c=C)
        x = t(name if i == ITERATIONS else f"{name}_{i}", straighten, x, poly, a=A)
    return x


orthogonalise = composite(
    "orthogonalise",
    _orthogonalise,
    _orthogonalise_steps,
    says="The nearest matrix whose rows are perpendicular and of equal length, or almost.",
    source=NEWTON_SCHULZ,
)

orthogonal_update = op(
    "orthogonal_update",
    "new[d_model, rest] = decayed[d_model, rest] - lr * scale * step[d_model, rest]",
    "decayed step",
    lambda decayed, step, lr, scale: decayed.sub(step.to(decayed.dtype), alpha=lr * scale),
    says="The weight takes a step of the same length in every direction.",
    source=SOURCE,
)
