"""Matrix products with the weights on the right: y = x W + b."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from glassformer.ops.op import op
from glassformer.ops.processor import AMD


def affine(x: Tensor, W: Tensor, b: Tensor | None) -> Tensor:
    """x [..., in] @ W [in, out] + b [out]."""
    rows = x.reshape(-1, x.shape[-1])
    return product(rows, W, b).view(*x.shape[:-1], W.shape[-1])


def product(rows: Tensor, W: Tensor, b: Tensor | None) -> Tensor:
    """rows [row, in] @ W [in, out] + b [out]: large ones in fp32 on an AMD processor by oneDNN."""
    if not _suits_onednn(rows, W):
        return rows @ W if b is None else torch.addmm(b, rows, W)
    given = (rows, W) if b is None else (rows, W, b)
    if torch.is_grad_enabled() and any(tensor.requires_grad for tensor in given):
        y: Tensor = _Product.apply(rows, W, b)
        return y
    return _onednn(rows, W, b)


ONEDNN = (
    torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_linear_pointwise") and AMD
)
"""MKL multiplies fp32 at a third of an AMD processor's speed; on Intel's it is the quicker one."""

LEAST_ROWS, LEAST_PRODUCTS = 4, 2**20
"""Below them MKL's shorter call wins: 3 against 13 microseconds for a row times 128 x 384."""


def _suits_onednn(rows: Tensor, W: Tensor) -> bool:
    # narrower types than fp32 are oneDNN's anyway
    return (
        ONEDNN
        and torch.backends.mkldnn.enabled
        and len(rows) >= LEAST_ROWS
        and rows.numel() * W.shape[1] >= LEAST_PRODUCTS
        and rows.dtype == W.dtype == torch.float32
        and rows.device.type == "cpu"
        and not torch.is_autocast_enabled("cpu")
    )


def _onednn(left: Tensor, right: Tensor, b: Tensor | None = None) -> Tensor:
    """left [m, k] @ right [k, n] + b [n], all fp32 on the CPU, in any memory order."""
    if torch.compiler.is_compiling():
        y: Tensor = torch.ops.glassformer.onednn_product(left, right, b)
    else:
        y = torch.ops.mkldnn._linear_pointwise(left, right.T, b, "none", [], "")
    return y


# torch's compiler takes oneDNN's product for weights that never change; under a name of ours it
# calls it as it is
_LIBRARY = torch.library.Library("glassformer", "FRAGMENT")
_LIBRARY.define("onednn_product(Tensor left, Tensor right, Tensor? b) -> Tensor")
_LIBRARY.impl("onednn_product", _onednn, "CPU")


@torch.library.register_fake("glassformer::onednn_product", lib=_LIBRARY)
def _shaped_as_onednn(left: Tensor, right: Tensor, _b: Tensor | None) -> Tensor:
    return left.new_empty(left.shape[0], right.shape[1])


class _Product(torch.autograd.Function):
    """oneDNN's product with its gradients, which torch does not define for it."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor, W: Tensor, b: Tensor | None) -> Tensor:
        ctx.save_for_backward(rows, W)
        return _onednn(rows, W, b)

    @staticmethod
    def backward(ctx: Any, *upstream: Tensor) -> tuple[Tensor | None, ...]:
        # each is a product again, by whom it suits, and can be differentiated in its turn
        (d_y,), (rows, W) = upstream, ctx.saved_tensors
        wanted_rows, wanted_W, wanted_b = ctx.needs_input_grad
        d_rows = product(d_y, W.T, None) if wanted_rows else None
        d_W = None
        if wanted_W:  # in W's own memory order: a tied W_U is the embedding table, turned
            turned = not W.is_contiguous()
            d_W = product(d_y.T, rows, None).T if turned else product(rows.T, d_y, None)
        return d_rows, d_W, d_y.sum(0) if wanted_b else None


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
