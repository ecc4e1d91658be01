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


def attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    mask: Tensor | None,
    causal: bool,
    scale: float = 0.0,
    window: int = 0,
    cap: float = 0.0,
    alibi: Tensor | None = None,
    sinks: Tensor | None = None,
    reach: int = 0,
    bias: Tensor | None = None,
    rounded: bool = False,
) -> Tensor:
    """softmax(q k / sqrt(d_head)) v for q [batch, pos, head, d_head], k and v [..., kv_head, ...].

    mask: which keys are seen, [batch, 1, query or 1, key], or whole numbers [batch, 1, query, 1],
    the key at which each query's document begins.
    scale: of the scores, in place of 1 / sqrt(d_head); window: how many keys a query sees; cap:
    where scores level off; alibi: what keys add to scores, [head, n_ctx]; sinks: scores [head] that
    take a share and give nothing; reach: how far a query sees, before and after; bias:
    what is added to scores, [query, key, head] or [batch, query, key, head]. 0 and None: none.
    rounded: whether `alibi` was, for the formula alone.
    """
    del rounded
    if q.requires_grad and q.device.type == "cpu" and torch.is_autocast_enabled("cpu"):
        plain = not (scale or window or cap or reach) and alibi is bias is sinks is None
        compiling = IN_BLOCKS and torch.compiler.is_compiling()
        if compiling and plain and causal and mask is None and q.shape[2] == k.shape[2]:
            return _in_blocks(q, k, v)
        if q.shape[1] < LONG:
            with torch.autocast("cpu", enabled=False):
                z = attention(
                    *(q.float(), k.float(), v.float(), mask, causal),
                    *(scale, window, cap, alibi, sinks, reach, bias),
                )
            return z.to(q.dtype)
    # [batch, head, pos, d_head]
    q, k, v = q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2)
    if mask is not None and mask.dtype != torch.bool:
        mask = _in_document(_in_window(_visible(q, k, None, True), window or k.shape[2]), mask)
        window = 0
    if window and window < k.shape[2]:
        mask = _in_window(_visible(q, k, mask, causal), window)
    if reach and (mask is not None or reach < k.shape[2] - 1):
        mask = _within_reach(q, k, mask, reach)
    if cap or alibi is not None or sinks is not None:
        visible = _visible(q, k, mask, causal)
        return _by_hand(q, k, v, visible, scale, cap, alibi, sinks, bias).transpose(1, 2)
    if bias is not None:
        visible = _visible(q, k, mask, causal)
        mask = bias.movedim(-1, -3).to(q.dtype).masked_fill(~visible, -math.inf)
    z = F.scaled_dot_product_attention(
        q,
        k,
        v,
        attn_mask=mask,
        is_causal=causal and mask is None,
        scale=scale or None,
        enable_gqa=q.shape[1] != k.shape[1],
    )
    return z.transpose(1, 2)  # [batch, pos, head, d_head]


def _visible(q: Tensor, k: Tensor, mask: Tensor | None, causal: bool) -> Tensor:
    """Which keys each query may see, [..., query, key]."""
    if mask is not None:
        return mask
    seen = torch.ones(q.shape[2], k.shape[2], dtype=torch.bool, device=q.device)
    return seen.tril() if causal else seen


def _in_window(visible: Tensor, window: int) -> Tensor:
    """The last `window` of the keys that a query sees; what it sees begins with the first key."""
    key = torch.arange(visible.shape[-1], device=visible.device)
    return visible & (key >= visible.sum(-1, keepdim=True) - window)


def _in_document(visible: Tensor, begins: Tensor) -> Tensor:
    """The keys that a query sees from the place on where its document begins."""
    return visible & (torch.arange(visible.shape[-1], device=visible.device) >= begins)


def _within_reach(q: Tensor, k: Tensor, mask: Tensor | None, reach: int) -> Tensor:
    """The keys at most `reach` away that the mask lets a query see, itself always."""
    query, key = (torch.arange(x.shape[2], device=x.device) for x in (q, k))
    away = (query[:, None] - key).abs()
    return away <= reach if mask is None else (away <= reach) & mask | (away == 0)


def _by_hand(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    visible: Tensor,
    scale: float,
    cap: float,
    alibi: Tensor | None,
    sinks: Tensor | None,
    bias: Tensor | None,
) -> Tensor:
    """Attention with scores that torch's kernel does not know."""
    group = q.shape[1] // k.shape[1]
    if group > 1:
        k, v = k.repeat_interleave(group, 1), v.repeat_interleave(group, 1)
    scores = (q @ k.mT) * (scale or 1 / math.sqrt(q.shape[-1]))
    if cap:
        scores = torch.tanh(scores / cap) * cap
    if alibi is not None:
        scores = scores + alibi[:, None, : scores.shape[-1]]
    if bias is not None:
        scores = scores + bias.movedim(-1, -3)
    scores = scores.masked_fill(~visible, -math.inf)
    if sinks is None:
        return scores.softmax(-1) @ v
    sink = sinks[:, None, None].to(scores.dtype).expand(*scores.shape[:-1], 1)
    return torch.cat([scores, sink], -1).softmax(-1)[..., :-1] @ v


def alibi_slopes(n_heads: int) -> Tensor:
    """Press et al. 2022, section 3: 2 ** (-8 (head + 1) / n) for n heads, n a power of two.

    Of other numbers of heads the first n, the largest power of two below, are as for n heads; the
    rest take every other slope of 2 n heads.
    """
    n = alibi_even(n_heads)
    head = torch.arange(n_heads, dtype=torch.float64)
    return torch.where(head < n, 2 ** (-8 * (head + 1) / n), 2 ** (-4 * (2 * (head - n) + 1) / n))


def alibi_table(n_heads: int, n_ctx: int, d_head: int = 0) -> Tensor:
    """What each key adds to a head's scores, [head, n_ctx], in float64.

    `d_head`: as Falcon has it, computed in bfloat16 and divided by sqrt(d_head).
    """
    slopes, key = alibi_slopes(n_heads)[:, None], torch.arange(n_ctx, dtype=torch.float64)
    if not d_head:
        return slopes * key
    return (slopes.bfloat16() * key.bfloat16()).double() / math.sqrt(d_head)


def alibi_even(n_heads: int) -> int:
    """The largest power of two that is no more than n_heads."""
    return 1 << (n_heads.bit_length() - 1)


def causal_mask(scores: Tensor) -> Tensor:
    """Scores [..., query, key] with minus infinity where the key is later than the query."""
    return scores.masked_fill(~_causal(scores), -math.inf)


def window_mask(scores: Tensor, window: int) -> Tensor:
    """The same, and where the key is `window` or more places before the query."""
    return scores.masked_fill(~_in_window(_causal(scores), window), -math.inf)


def last_window_mask(scores: Tensor, window: int) -> Tensor:
    """Scores [..., 1, key] of the last position with minus infinity outside of its window."""
    seen = torch.ones_like(scores, dtype=torch.bool)
    return scores.masked_fill(~_in_window(seen, window), -math.inf)


def near_mask(scores: Tensor, reach: int) -> Tensor:
    """Scores [..., query, key] with minus infinity where the key is more than `reach` away."""
    n = scores.shape[-1]
    key = torch.arange(n, device=scores.device)
    return scores.masked_fill((key[:, None] - key).abs() > reach, -math.inf)


def padding_mask(scores: Tensor, mask: Tensor) -> Tensor:
    """Scores [batch, head, query, key], minus infinity where mask [batch, 1, 1, key] is False."""
    return scores.masked_fill(~mask, -math.inf)


def near_padding_mask(scores: Tensor, mask: Tensor) -> Tensor:
    """The same, but a query that is padding itself sees itself."""
    diagonal = torch.eye(scores.shape[-1], dtype=torch.bool, device=scores.device)
    return scores.masked_fill(~(mask | diagonal), -math.inf)


def document_mask(scores: Tensor, begins: Tensor) -> Tensor:
    """The same for keys before begins [batch, 1, query, 1], where the query's document begins."""
    key = torch.arange(scores.shape[-1], device=scores.device)
    return scores.masked_fill(key < begins, -math.inf)


def _causal(scores: Tensor) -> Tensor:
    n = scores.shape[-1]
    return torch.ones(n, n, dtype=torch.bool, device=scores.device).tril()


def dot_products(q: Tensor, k: Tensor) -> Tensor:
    """Every query with every key: q, k [batch, pos, head, d_head], [batch, head, query, key]."""
    return q.transpose(1, 2) @ k.permute(0, 2, 3, 1)


def scale_scores(scores_raw: Tensor, d_head: int) -> Tensor:
    """Scores divided by the root of the head's width."""
    return scores_raw / math.sqrt(d_head)


def mix(pattern: Tensor, v: Tensor) -> Tensor:
    """v [batch, pos, head, d_head] mixed by pattern [batch, head, query, key]."""
    return (pattern @ v.transpose(1, 2)).transpose(1, 2)


def shared_scores(q: Tensor, k: Tensor, group: int) -> Tensor:
    """q [batch, query, head, d_head] dotted with k [batch, key, kv_head, d_head]."""
    return q.transpose(1, 2) @ k.repeat_interleave(group, 2).permute(0, 2, 3, 1)


def shared_mix(pattern: Tensor, v: Tensor, group: int) -> Tensor:
    """pattern [batch, head, query, key] times v [batch, key, kv_head, d_head]."""
    return (pattern @ v.repeat_interleave(group, 2).transpose(1, 2)).transpose(1, 2)


def slope_scores(scores_scaled: Tensor, table: Tensor, even: int, d_head: int = 0) -> Tensor:
    """Scores [batch, head, query, key] plus `alibi_table` [head, n_ctx] of `even` heads."""
    del even, d_head  # only the formula, which computes the table anew, reads it
    return scores_scaled + table[:, None, : scores_scaled.shape[-1]]


def add_bias(scores: Tensor, bias: Tensor) -> Tensor:
    """Scores [batch, head, query, key] plus bias [query, key, head]."""
    return scores + bias.movedim(-1, -3)


def sink_max(scores_max: Tensor, sinks: Tensor) -> Tensor:
    """The larger one of scores_max [batch, head, query] and the head's sink [head]."""
    return torch.where(scores_max > sinks[:, None], scores_max, sinks[:, None])


def sink_exp(sinks: Tensor, pattern_max: Tensor) -> Tensor:
    """exp(sink - pattern_max) for each head's sink [head], [batch, head, query]."""
    return (sinks[:, None] - pattern_max).exp_()
