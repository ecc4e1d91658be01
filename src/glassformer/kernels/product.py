"""Matrix products with the weights on the right: y = x W + b, and several that are fused in one."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from glassformer.kernels import choices


def affine(x: Tensor, W: Tensor, b: Tensor | None) -> Tensor:
    """x [..., in] @ W [in, out] + b [out]."""
    rows = x.reshape(-1, x.shape[-1])
    return product(rows, W, b).view(*x.shape[:-1], W.shape[-1])


def product(rows: Tensor, W: Tensor, b: Tensor | None) -> Tensor:
    """rows [row, in] @ W [in, out] + b [out]: by oneDNN where `choices` says so."""
    if not _suits_onednn(rows, W):
        return rows @ W if b is None else torch.addmm(b, rows, W)
    arguments = (rows, W) if b is None else (rows, W, b)
    if torch.is_grad_enabled() and any(tensor.requires_grad for tensor in arguments):
        y: Tensor = _Product.apply(rows, W, b)
        return y
    return _onednn(rows, W, b)


ONEDNN = choices.PRODUCTS_BY_ONEDNN.value
LEAST_ROWS = choices.ONEDNN_LEAST_ROWS.value
LEAST_PRODUCTS = choices.ONEDNN_LEAST_PRODUCTS.value


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
        if wanted_W:  # in W's own memory order: a tied W_U is the embedding table, transposed
            transposed = not W.is_contiguous()
            d_W = product(d_y.T, rows, None).T if transposed else product(rows.T, d_y, None)
        return d_rows, d_W, d_y.sum(0) if wanted_b else None


def widths(columns: int, n_heads: int, n_kv_heads: int) -> tuple[int, int, int]:
    """Columns of queries, keys and values, of all columns of the fused matrix."""
    d_head = columns // (n_heads + 2 * n_kv_heads)
    return n_heads * d_head, n_kv_heads * d_head, n_kv_heads * d_head


def split_heads(W_QKV: Tensor, n_heads: int, n_kv_heads: int) -> tuple[Tensor, Tensor, Tensor]:
    """Views W_Q [head, d_model, d_head], W_K and W_V [kv_head, ...] of the fused [d_model, ...]."""
    parts = torch.split(W_QKV, [*widths(W_QKV.shape[1], n_heads, n_kv_heads)], 1)
    counts = (n_heads, n_kv_heads, n_kv_heads)
    W_Q, W_K, W_V = (per_head(part, count) for part, count in zip(parts, counts, strict=True))
    return W_Q, W_K, W_V


def split_bias(b_QKV: Tensor, n_heads: int, n_kv_heads: int) -> tuple[Tensor, Tensor, Tensor]:
    """Views b_Q [head, d_head], b_K and b_V [kv_head, d_head] of the fused bias."""
    parts = torch.split(b_QKV, [*widths(len(b_QKV), n_heads, n_kv_heads)])
    counts = (n_heads, n_kv_heads, n_kv_heads)
    b_Q, b_K, b_V = (
        torch.unflatten(part, 0, (count, -1)) for part, count in zip(parts, counts, strict=True)
    )
    return b_Q, b_K, b_V


def heads_of(fused: Tensor, n_heads: int, n_kv_heads: int) -> tuple[Tensor, Tensor, Tensor]:
    """q [batch, pos, head, d_head], k and v [batch, pos, kv_head, d_head] of one product."""
    if n_heads == n_kv_heads:
        q, k, v = fused.view(*fused.shape[:-1], 3, n_heads, -1).unbind(-3)
        return q, k, v
    q, k, v = torch.split(fused, [*widths(fused.shape[-1], n_heads, n_kv_heads)], -1)
    return (
        torch.unflatten(q, -1, (n_heads, -1)),
        torch.unflatten(k, -1, (n_kv_heads, -1)),
        torch.unflatten(v, -1, (n_kv_heads, -1)),
    )


def project_qkv(
    x: Tensor, W_QKV: Tensor, b_QKV: Tensor | None, n_heads: int, n_kv_heads: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Queries, keys and values of x [batch, pos, d_model], from one product."""
    return heads_of(affine(x, W_QKV, b_QKV), n_heads, n_kv_heads)


def bind_qkv(
    x: Tensor, W_QKV: Tensor, b_QKV: Tensor | None, n_heads: int, n_kv_heads: int
) -> tuple[Tensor | None, ...]:
    """The operands of `project_qkv` as its formulas name them: x, W_Q, W_K, W_V, b_Q, b_K, b_V."""
    biases = (None, None, None) if b_QKV is None else split_bias(b_QKV, n_heads, n_kv_heads)
    return x, *split_heads(W_QKV, n_heads, n_kv_heads), *biases


def per_head(W: Tensor, n_heads: int) -> Tensor:
    """A view [head, in, d_head] of a matrix [in, head * d_head] with all heads side by side."""
    return torch.unflatten(W, 1, (n_heads, -1)).transpose(0, 1)


def project_q(x: Tensor, W_Q: Tensor, b_Q: Tensor | None, n_heads: int) -> Tensor:
    """Queries [batch, pos, head, d_head] of x [batch, pos, d_model]."""
    return torch.unflatten(affine(x, W_Q, b_Q), -1, (n_heads, -1))


def bind_q(x: Tensor, W_Q: Tensor, b_Q: Tensor | None, n_heads: int) -> tuple[Tensor | None, ...]:
    """The operands of `project_q` as its formula names them."""
    return (
        x,
        per_head(W_Q, n_heads),
        None if b_Q is None else torch.unflatten(b_Q, 0, (n_heads, -1)),
    )


def project_kv(
    x: Tensor, W_KV: Tensor, b_KV: Tensor | None, n_kv_heads: int
) -> tuple[Tensor, Tensor]:
    """Keys and values [batch, pos, kv_head, d_head] of x [batch, pos, d_model], by one product."""
    k, v = torch.unflatten(affine(x, W_KV, b_KV), -1, (2, n_kv_heads, -1)).unbind(-3)
    return k, v


def bind_kv(
    x: Tensor, W_KV: Tensor, b_KV: Tensor | None, n_kv_heads: int
) -> tuple[Tensor | None, ...]:
    """The operands of `project_kv` as its formulas name them: x, W_K, W_V, b_K, b_V."""
    W_K, W_V = (per_head(W, n_kv_heads) for W in W_KV.chunk(2, 1))
    biases: tuple[Tensor | None, ...] = (None, None)
    if b_KV is not None:
        biases = tuple(torch.unflatten(b, 0, (n_kv_heads, -1)) for b in b_KV.chunk(2))
    return x, W_K, W_V, *biases


def merge_heads(z: Tensor, W_O: Tensor, b_O: Tensor | None) -> Tensor:
    """z [batch, pos, head, d_head], its heads side by side, times W_O [head * d_head, d_model]."""
    return affine(z.flatten(-2), W_O, b_O)


def contract(a: Tensor, b: Tensor) -> Tensor:
    """a [..., rows, inner] @ b [..., inner, columns]."""
    return a @ b


def bind_merge_heads(z: Tensor, W_O: Tensor, b_O: Tensor | None) -> tuple[Tensor | None, ...]:
    """W_O as the formula reads it, [head, d_head, d_model]."""
    return z, W_O.view(z.shape[-2], z.shape[-1], -1), b_O
