"""A matrix, or a stack of them, with all singular values brought near 1 by products alone.

Source: Jordan et al. 2024, "Muon: an optimizer for hidden layers in neural networks".
"""

from __future__ import annotations

import torch
from torch import Tensor

A, B, C = 3.4445, -4.7750, 2.0315
"""x -> A x + B x^3 + C x^5 brings singular values from (0, 1] to about 0.7 to 1.2 in few steps."""
ITERATIONS = 5
TINY = 1e-7  # a matrix of zeros stays one


def work_dtype(weight: Tensor, products: str) -> torch.dtype:
    """In what the iterations run: as all products of training (`Recipe.dtype`).

    bfloat16 is enough to bring singular values near 1; float32 gives the same numbers, to rounding,
    in whatever order a gradient was summed.
    """
    bf16 = products == "bf16" and weight.dtype == torch.float32
    return torch.bfloat16 if bf16 else weight.dtype


def shorten(ahead: Tensor, length: Tensor, tiny: float, dtype: torch.dtype) -> Tensor:
    """ahead [..., d_model, rest] divided by its length [...], in `dtype`."""
    return (ahead / (length + tiny)[..., None, None]).to(dtype)


def matrix_length(ahead: Tensor) -> Tensor:
    """The root of all squares of ahead [..., d_model, rest], summed."""
    return ahead.square().sum((-2, -1)).sqrt_()


def add_product(base: Tensor, left: Tensor, right: Tensor, beta: float, alpha: float) -> Tensor:
    """beta base + alpha left @ right, for one matrix or a stack of them."""
    fused = torch.addmm if base.ndim == 2 else torch.baddbmm
    return fused(base, left, right, beta=beta, alpha=alpha)


def look_ahead(g: Tensor, m: Tensor, momentum: float, out: Tensor | None = None) -> Tensor:
    """g + momentum (m - g), into `out` where it is given."""
    return torch.lerp(g, m, momentum, out=out)


def gram(x: Tensor) -> Tensor:
    """x [..., d_model, rest] times itself, [..., d_model, other]."""
    return x @ x.mT


def polynomial(gram: Tensor, b: float, c: float) -> Tensor:
    """b gram + c gram^2."""
    return add_product(gram, gram, gram, b, c)


def straighten(x: Tensor, poly: Tensor, a: float) -> Tensor:
    """a x + poly x."""
    return add_product(x, poly, x, a, 1.0)


def orthogonal_update(decayed: Tensor, step: Tensor, lr: float, scale: float) -> Tensor:
    """decayed - lr scale step, in the dtype of the weight."""
    return decayed.sub(step.to(decayed.dtype), alpha=lr * scale)


def orthogonalize(ahead: Tensor, dtype: torch.dtype) -> Tensor:
    """The nearest matrix to ahead [..., d_model, rest] whose rows are perpendicular, or almost."""
    x = shorten(ahead, matrix_length(ahead), TINY, dtype)
    for _ in range(ITERATIONS):
        x = straighten(x, polynomial(gram(x), B, C), A)
    return x
