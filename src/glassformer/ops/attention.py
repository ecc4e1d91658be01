"""Attention: every token asks, every earlier token answers, and the answers are mixed."""

from __future__ import annotations

from torch import Tensor

from glassformer.kernels import attention as kernels
from glassformer.ops import softmax
from glassformer.ops.linear import contract
from glassformer.ops.op import Tape, composite, op

SOURCE = "Vaswani et al. 2017, eq. 1"

dot_products = contract.using(kernels.dot_products).over(
    "dot_products",
    "scores_raw",
    {"O": "batch head query key", "I": "d_head"},
    {"a": "q[batch, query, head, d_head]", "b": "k[batch, key, head, d_head]"},
    summary="Each query is dotted with each key: how well do they match?",
    source=SOURCE,
    role="score",
)

scale_scores = op(
    "scale_scores",
    "scores_scaled[batch, head, query, key] = scores_raw[batch, head, query, key] / sqrt(d_head)",
    "scores_raw",
    kernels.scale_scores,
    summary="Divided by the square root of the head's width, so that scores do not grow with it.",
    source=SOURCE,
    role="score",
)

causal_mask = op(
    "causal_mask",
    "attn_scores[batch, head, query, key]"
    " = select(key <= query, scores_scaled[batch, head, query, key], -inf)",
    "scores_scaled",
    kernels.causal_mask,
    summary="A query may not look at later keys: their scores become minus infinity.",
    source="Vaswani et al. 2017, section 3.2.3",
    role="masked_score",
)

mix = contract.using(kernels.mix).over(
    "mix",
    "z",
    {"O": "batch pos head d_head", "I": "key"},
    {"a": "pattern[batch, head, pos, key]", "b": "v[batch, key, head, d_head]"},
    summary="The values are mixed, each with its attention weight.",
    source=SOURCE,
)


def _steps(
    t: Tape, name: str, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, causal: bool
) -> Tensor:
    assert mask is None, "a padded batch is generated from, not watched"
    raw = t("scores_raw", dot_products, q, k)
    if causal:
        scaled = t("scores_scaled", scale_scores, raw, d_head=q.shape[-1])
        scores = t("attn_scores", causal_mask, scaled)
    else:
        scores = t("attn_scores", scale_scores, raw, d_head=q.shape[-1])
    pattern = softmax.steps(t, "pattern", softmax.over_keys, scores)
    return t(name, mix, pattern, v)


attention = composite(
    "attention",
    kernels.attention,
    _steps,
    summary="Who looks at whom, and what is taken from there: softmax(q k / sqrt(d_head)) v.",
    source=SOURCE,
)
