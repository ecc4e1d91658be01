"""Matrix products with the weights on the right: y = x W + b."""

from __future__ import annotations

import torch
from torch import Tensor

from glassformer.ops.op import op


def affine(x: Tensor, W: Tensor, b: Tensor | None) -> Tensor:
    """x [..., in] @ W [in, out] + b [out]."""
    flat = x.reshape(-1, x.shape[-1])
    y = flat @ W if b is None else torch.addmm(b, flat, W)
    return y.view(*x.shape[:-1], W.shape[-1])


mlp_in = op(
    "mlp_in",
    "pre[batch, pos, d_mlp]"
    " = sum(d_model, x[batch, pos, d_model] * W_in[d_model, d_mlp]) + b_in[d_mlp]",
    "x W_in b_in",
    affine,
    says="Every neuron weighs the numbers of the token's vector and adds its bias.",
    source="Vaswani et al. 2017, eq. 2",
)

mlp_out = op(
    "mlp_out",
    "mlp_out[batch, pos, d_model]"
    " = sum(d_mlp, post[batch, pos, d_mlp] * W_out[d_mlp, d_model]) + b_out[d_model]",
    "post W_out b_out",
    affine,
    says="What the active neurons write is summed, back to the width of the stream.",
    source="Vaswani et al. 2017, eq. 2",
)

unembed = op(
    "unembed",
    "logits[batch, pos, vocab]"
    " = sum(d_model, x[batch, pos, d_model] * W_U[d_model, vocab]) + b_U[vocab]",
    "x W_U b_U",
    affine,
    says="Each vocabulary entry's column is dotted with the final vector: its score, or logit.",
    source="Vaswani et al. 2017, section 3.4",
)
