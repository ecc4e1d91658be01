"""How a gradient becomes a changed weight: clipping and AdamW (`ops.muon` has the other way).

The formulas speak of one `element`, since every number of every weight is treated alike;
`formula.template.over` writes them out for a weight's own axes. Sources: Pascanu et al. 2013
(clipping); Loshchilov and Hutter 2019, algorithm 2 (AdamW; their eta alpha is our lr, their lambda
our weight_decay). The kernels keep the order of operations of
`torch.optim.AdamW(foreach=False, fused=False)`, bit for bit.
"""

from __future__ import annotations

import torch

from glassformer.kernels import elementwise
from glassformer.kernels import optimizer as kernels
from glassformer.ops.elementwise import multiply
from glassformer.ops.linear import contract
from glassformer.ops.op import op, template
from glassformer.ops.rows import row_subtract

CLIPPING = "Pascanu et al. 2013, algorithm 1"
ADAMW = "Loshchilov and Hutter 2019, algorithm 2"

sum_of_squares = contract.using(kernels.sum_of_squares).over(
    "sum_of_squares",
    "sum_sq",
    {"O": "", "I": "element"},
    {"a": "d_w", "b": "d_w"},
    summary="The squares of all this weight's gradients, summed.",
    source=CLIPPING,
)

clip_factor = op(
    "clip_factor",
    "clip = select(grad_norm[()] + 1e-06 > max_norm, max_norm / (grad_norm[()] + 1e-06), 1)",
    "grad_norm",
    kernels.clip_factor,
    summary="A gradient longer than allowed is shortened to the allowed length; others are kept.",
    source=CLIPPING,
)

clipped_gradient = multiply.over(
    "clipped_gradient",
    "g",
    {"B": "element", "A": ""},
    {"x": "d_w", "factor": "clip"},
    summary="The gradient that the optimizer sees.",
    source=CLIPPING,
)

approach = template(
    "approach", "y[*A] = x[*A] + rate[*A] * (to[*A] - x[*A])", "x to rate", torch.lerp
)

first_moment = approach.using(kernels.first_moment).over(
    "first_moment",
    "m",
    {"A": "element"},
    {"x": "m_prev", "to": "g"},
    numbers={"rate": "1 - beta1"},
    summary="A running mean of the gradients: which way, on the whole?",
    source=ADAMW,
)

second_moment = op(
    "second_moment",
    "v[element] = beta2 * v_prev[element] + (1 - beta2) * (g[element] * g[element])",
    "v_prev g",
    kernels.second_moment,
    summary="A running mean of the squared gradients: how large, on the whole?",
    source=ADAMW,
)

bias_correction = template(
    "bias_correction",
    "y[*B] = 1 - beta ** t",
    "",
    kernels.first_correction,
    source=ADAMW,
)

first_correction = bias_correction.using(kernels.first_correction).over(
    "first_correction",
    "bias_1",
    {"B": ""},
    {"beta": "beta1"},
    summary="The running mean started at zero; divided by this, it no longer leans that way.",
)

second_correction = bias_correction.using(kernels.second_correction).over(
    "second_correction",
    "bias_2",
    {"B": ""},
    {"beta": "beta2"},
    summary="The same correction for the squares.",
)

descend = template(
    "descend",
    "y[*A] = x[*A] - rate[*A] * slope[*A]",
    "x rate slope",
    kernels.descended_weight,
)

descended_weight = descend.over(
    "descended_weight",
    "new",
    {"A": "element"},
    {"x": "w", "slope": "d_w"},
    numbers={"rate": "lr"},
    summary="Plain gradient descent: a step against the gradient, as long as it is steep.",
    source="Robbins and Monro 1951, eq. 8; Cauchy 1847",
)

decayed_weight = multiply.using(kernels.decayed_weight).over(
    "decayed_weight",
    "decayed",
    {"B": "element", "A": ""},
    {"x": "w"},
    numbers={"factor": "1 - lr * weight_decay"},
    summary="First the weight shrinks a little towards zero.",
    source=ADAMW,
)

update_scale = op(
    "update_scale",
    "denominator[element] = sqrt(v[element]) / sqrt(bias_2[()]) + eps",
    "v bias_2",
    kernels.update_scale,
    summary="The typical size of this weight's gradients, kept away from zero by eps.",
    source=ADAMW,
)

updated_weight = op(
    "updated_weight",
    "new[element] = decayed[element] - lr / bias_1[()] * (m[element] / denominator[element])",
    "decayed m denominator bias_1",
    kernels.updated_weight,
    summary="Then it steps against the mean gradient, by about lr whatever the gradient's size.",
    source=ADAMW,
)

weight_change = row_subtract.using(elementwise.subtract).over(
    "weight_change",
    "change",
    {"B": "element", "A": ""},
    {"x": "new", "row": "w"},
    summary="By how much the weight moved in this step.",
    role="change",
)
