"""Muon: the step that a matrix takes is its averaged gradient with all singular values made equal.

A gradient's matrix is dominated by a few directions; made orthogonal, all directions learn at the
same speed. Newton-Schulz iterations do that with products alone: an odd polynomial of the matrix
moves every singular value towards 1 and leaves the singular vectors as they are.

Formulas speak of a weight as a matrix [d_model, rest], where `rest` is every other axis of the
weight together; `formula.template.over` writes them out. The Gram matrix is taken over `rest`, so
it is [d_model, other] whatever the weight: the polynomial is the same from either side.
Source: Jordan et al. 2024, "Muon: an optimizer for hidden layers in neural networks".
"""

from __future__ import annotations

import torch
from torch import Tensor

from glassformer.kernels import newton_schulz as kernels
from glassformer.ops.linear import contract
from glassformer.ops.op import Tape, composite, op, template
from glassformer.ops.optimizer import approach, descend

SOURCE = "Jordan et al. 2024, Muon"
NEWTON_SCHULZ = "Jordan et al. 2024, Muon, Newton-Schulz iteration"

look_ahead = approach.using(kernels.look_ahead).over(
    "look_ahead",
    "ahead",
    {"A": "element"},
    {"x": "g", "to": "m"},
    numbers={"rate": "momentum"},
    summary="The averaged gradient, with the newest one counted once more (Nesterov).",
    source=SOURCE,
)

matrix_length = op(
    "matrix_length",
    "length = sqrt(sum(d_model, sum(rest, ahead[d_model, rest] * ahead[d_model, rest])))",
    "ahead",
    kernels.matrix_length,
    summary="The root of all its squares, summed: no singular value is larger.",
    source=NEWTON_SCHULZ,
)

shorten = op(
    "shorten",
    "x[d_model, rest] = ahead[d_model, rest] / (length[()] + tiny)",
    "ahead length",
    kernels.shorten,
    summary="Divided by it, the matrix has singular values of at most 1.",
    source=NEWTON_SCHULZ,
)

gram = contract.using(kernels.gram).over(
    "gram",
    "gram",
    {"O": "d_model other", "I": "rest"},
    {"a": "x[d_model, rest]", "b": "x[other, rest]"},
    summary="Each row is dotted with each row: how far are they from being perpendicular?",
    source=NEWTON_SCHULZ,
)

add_product = template(
    "add_product",
    "y[R, C] = beta[R, C] * x[R, C] + alpha[R, C] * sum(I, left[R, I] * right[I, C])",
    "x left right beta alpha",
    kernels.add_product,
)

polynomial = add_product.using(kernels.polynomial).over(
    "polynomial",
    "poly",
    {"R": "d_model", "C": "other", "I": "between"},
    {"x": "gram", "left": "gram", "right": "gram"},
    numbers={"beta": "b", "alpha": "c"},
    summary="What the rows must take from each other to come closer to being perpendicular.",
    source=NEWTON_SCHULZ,
)

straighten = add_product.using(kernels.straighten).over(
    "straighten",
    "next",
    {"R": "d_model", "C": "rest", "I": "other"},
    {"left": "poly", "right": "x"},
    numbers={"beta": "a"},
    without="alpha",
    summary="Every singular value s becomes a s + b s^3 + c s^5, which is nearer to 1.",
    source=NEWTON_SCHULZ,
)


def _orthogonalize_steps(t: Tape, name: str, ahead: Tensor, dtype: torch.dtype) -> Tensor:
    length = t(f"{name}_length", matrix_length, ahead)
    x = t(f"{name}_0", shorten, ahead, length, tiny=kernels.TINY, dtype=dtype)
    for i in range(1, kernels.ITERATIONS + 1):
        rows = t(f"{name}_gram_{i}", gram, x)
        poly = t(f"{name}_poly_{i}", polynomial, rows, b=kernels.B, c=kernels.C)
        x = t(name if i == kernels.ITERATIONS else f"{name}_{i}", straighten, x, poly, a=kernels.A)
    return x


orthogonalize = composite(
    "orthogonalize",
    kernels.orthogonalize,
    _orthogonalize_steps,
    summary="The nearest matrix whose rows are perpendicular and of equal length, or almost.",
    source=NEWTON_SCHULZ,
)

orthogonal_update = descend.using(kernels.orthogonal_update).over(
    "orthogonal_update",
    "new",
    {"A": "d_model rest"},
    {"x": "decayed", "slope": "step"},
    numbers={"rate": "lr * scale"},
    summary="The weight takes a step of the same length in every direction.",
    source=SOURCE,
)
