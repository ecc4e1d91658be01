"""Attention: every token asks, every earlier token answers, and the answers are mixed."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from glassformer.ops.linear import affine
from glassformer.ops.op import Tape, composite, op
from glassformer.ops.processor import AMD
from glassformer.ops.softmax import softmax_steps

SOURCE = "Vaswani et al. 2017, eq. 1"


def split_heads(W_QKV: Tensor, n_heads: int) -> tuple[Tensor, Tensor, Tensor]:
    """Views W_Q, W_K, W_V [head, d_model, d_head] of the fused [d_model, 3 * head * d_head]."""
    d_model = W_QKV.shape[0]
    W_Q, W_K, W_V = W_QKV.view(d_model, 3, n_heads, -1).permute(1, 2, 0, 3).unbind(0)
    return W_Q, W_K, W_V


def split_bias(b_QKV: Tensor, n_heads: int) -> tuple[Tensor, Tensor, Tensor]:
    """Views b_Q, b_K, b_V [head, d_head] of the fused [3 * head * d_head]."""
    b_Q, b_K, b_V = b_QKV.view(3, n_heads, -1).unbind(0)
    return b_Q, b_K, b_V


def _project(
    x: Tensor, W_QKV: Tensor, b_QKV: Tensor | None, n_heads: int
) -> tuple[Tensor, Tensor, Tensor]:
    fused = affine(x, W_QKV, b_QKV)  # [batch, pos, 3 * head * d_head]
    q, k, v = fused.view(*x.shape[:-1], 3, n_heads, -1).unbind(-3)
    return q, k, v


def _bind_projections(
    x: Tensor, W_QKV: Tensor, b_QKV: Tensor | None, n_heads: int
) -> tuple[Tensor | None, ...]:
    biases = (None, None, None) if b_QKV is None else split_bias(b_QKV, n_heads)
    return x, *split_heads(W_QKV, n_heads), *biases


project_qkv = op(
    "project_qkv",
    tuple(
        f"{out}[batch, pos, head, d_head] = sum(d_model, x[batch, pos, d_model]"
        f" * W_{out.upper()}[head, d_model, d_head]) + b_{out.upper()}[head, d_head]"
        for out in "qkv"
    ),
    "x W_Q W_K W_V b_Q b_K b_V",
    _project,
    says="Each token's vector is turned into a query, a key and a value for every head.",
    source="Vaswani et al. 2017, section 3.2.2",
    bind=_bind_projections,
)

dot_products = op(
    "dot_products",
    "scores_raw[batch, head, query, key]"
    " = sum(d_head, q[batch, query, head, d_head] * k[batch, key, head, d_head])",
    "q k",
    lambda q, k: q.transpose(1, 2) @ k.permute(0, 2, 3, 1),
    says="Each query is dotted with each key: how well do they match?",
    source=SOURCE,
)

scale_scores = op(
    "scale_scores",
    "scores_scaled[batch, head, query, key] = scores_raw[batch, head, query, key] / sqrt(d_head)",
    "scores_raw",
    lambda scores_raw, d_head: scores_raw / math.sqrt(d_head),
    says="Divided by the square root of the head's width, so that scores do not grow with it.",
    source=SOURCE,
)

causal_mask = op(
    "causal_mask",
    "attn_scores[batch, head, query, key]"
    " = select(key <= query, scores_scaled[batch, head, query, key], -inf)",
    "scores_scaled",
    lambda scores_scaled: scores_scaled.masked_fill(
        _future(scores_scaled.shape[-1], scores_scaled.device), -math.inf
    ),
    says="A query may not look at later keys: their scores become minus infinity.",
    source="Vaswani et al. 2017, section 3.2.3",
)

mix = op(
    "mix",
    "z[batch, pos, head, d_head]"
    " = sum(key, pattern[batch, head, pos, key] * v[batch, key, head, d_head])",
    "pattern v",
    lambda pattern, v: (pattern @ v.transpose(1, 2)).transpose(1, 2),
    says="The values are mixed, each with its attention weight.",
    source=SOURCE,
)


def _merge(z: Tensor, W_O: Tensor, b_O: Tensor | None) -> Tensor:
    return affine(z.flatten(-2), W_O, b_O)


merge_heads = op(
    "merge_heads",
    "attn_out[batch, pos, d_model] = sum(head, sum(d_head,"
    " z[batch, pos, head, d_head] * W_O[head, d_head, d_model])) + b_O[d_model]",
    "z W_O b_O",
    _merge,
    says="The heads' mixes are joined by one more matrix, back to the width of the stream.",
    source="Vaswani et al. 2017, section 3.2.2",
    bind=lambda z, W_O, b_O: (z, W_O.view(z.shape[-2], z.shape[-1], -1), b_O),
)


def _future(n: int, device: torch.device) -> Tensor:
    return torch.ones(n, n, dtype=torch.bool, device=device).triu(1)


QUERIES = 128
"""Queries at a time in `_in_blocks`."""


LONG = 256
"""Positions from which on torch's bf16 attention goes backwards no slower than fp32's on the CPU:
at 64 it takes 2.5 times as long, at 128 1.3 times, at 512 0.8."""


def _in_blocks(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Causal attention for the compiler to fuse: a block of queries looks at no later block's keys.

    Under autocast both products are bf16, and the softmax between them is fp32.
    """
    q, k, v = (x.transpose(1, 2) for x in (q, k, v))  # [batch, head, pos, d_head]
    mixed = []
    for begin in range(0, q.shape[2], QUERIES):
        end = min(begin + QUERIES, q.shape[2])
        scores = (q[:, :, begin:end] @ k[:, :, :end].mT).float() / math.sqrt(q.shape[-1])
        future = torch.ones_like(scores[0, 0], dtype=torch.bool).triu(begin + 1)
        pattern = scores.masked_fill(future, -math.inf).softmax(-1)
        mixed.append(pattern @ v[:, :, :end])
    return torch.cat(mixed, 2).transpose(1, 2)  # [batch, pos, head, d_head]


def _attention(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, causal: bool) -> Tensor:
    if q.requires_grad and q.device.type == "cpu" and torch.is_autocast_enabled("cpu"):
        # on an Intel processor with AMX, torch 2.13 compiles k's gradient from unwritten memory
        if AMD and torch.compiler.is_compiling() and causal and mask is None:
            return _in_blocks(q, k, v)
        if q.shape[1] < LONG:
            with torch.autocast("cpu", enabled=False):
                z = _attention(q.float(), k.float(), v.float(), mask, causal)
            return z.to(q.dtype)
    z = F.scaled_dot_product_attention(
        q.transpose(1, 2),
        k.transpose(1, 2),
        v.transpose(1, 2),
        attn_mask=mask,
        is_causal=causal and mask is None,
    )
    return z.transpose(1, 2)  # [batch, pos, head, d_head]


def _attention_steps(
    t: Tape, name: str, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, causal: bool
) -> Tensor:
    assert mask is None, "a padded batch is generated from, not watched"
    raw = t("scores_raw", dot_products, q, k)
    if causal:
        scaled = t("scores_scaled", scale_scores, raw, d_head=q.shape[-1])
        scores = t("attn_scores", causal_mask, scaled)
    else:
        scores = t("attn_scores", scale_scores, raw, d_head=q.shape[-1])
    pattern = softmax_steps(t, "pattern", scores)
    return t(name, mix, pattern, v)


attention = composite(
    "attention",
    _attention,
    _attention_steps,
    says="Who looks at whom, and what is taken from there: softmax(q k / sqrt(d_head)) v.",
    source=SOURCE,
)
