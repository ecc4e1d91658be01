"""Attention in one call: torch's own kernel, or blocks of queries for the compiler to fuse."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from glassformer.kernels import choices

IN_BLOCKS = choices.ATTENTION_IN_BLOCKS.value
QUERIES = choices.QUERIES_PER_BLOCK.value
LONG = choices.BF16_ATTENTION_FROM.value


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


def attention(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, causal: bool) -> Tensor:
    """softmax(q k / sqrt(d_head)) v for q, k, v [batch, pos, head, d_head]."""
    if q.requires_grad and q.device.type == "cpu" and torch.is_autocast_enabled("cpu"):
        if IN_BLOCKS and torch.compiler.is_compiling() and causal and mask is None:
            return _in_blocks(q, k, v)
        if q.shape[1] < LONG:
            with torch.autocast("cpu", enabled=False):
                z = attention(q.float(), k.float(), v.float(), mask, causal)
            return z.to(q.dtype)
    z = F.scaled_dot_product_attention(
        q.transpose(1, 2),
        k.transpose(1, 2),
        v.transpose(1, 2),
        attn_mask=mask,
        is_causal=causal and mask is None,
    )
    return z.transpose(1, 2)  # [batch, pos, head, d_head]


def causal_mask(scores: Tensor) -> Tensor:
    """Scores [..., query, key] with minus infinity where the key is later than the query."""
    n = scores.shape[-1]
    future = torch.ones(n, n, dtype=torch.bool, device=scores.device).triu(1)
    return scores.masked_fill(future, -math.inf)


def dot_products(q: Tensor, k: Tensor) -> Tensor:
    """Every query with every key: q, k [batch, pos, head, d_head], [batch, head, query, key]."""
    return q.transpose(1, 2) @ k.permute(0, 2, 3, 1)


def scale_scores(scores_raw: Tensor, d_head: int) -> Tensor:
    """Scores divided by the root of the head's width."""
    return scores_raw / math.sqrt(d_head)


def mix(pattern: Tensor, v: Tensor) -> Tensor:
    """v [batch, pos, head, d_head] mixed by pattern [batch, head, query, key]."""
    return (pattern @ v.transpose(1, 2)).transpose(1, 2)
