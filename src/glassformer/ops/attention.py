"""Attention: every token asks, every earlier token answers, and the answers are mixed."""

from __future__ import annotations

import torch
from torch import Tensor

from glassformer.kernels import attention as kernels
from glassformer.ops import softmax
from glassformer.ops.distance import bias_scores, rounded_slope_scores, slope_scores
from glassformer.ops.elementwise import add_to, cap_over, scale_by, where_above
from glassformer.ops.linear import contract
from glassformer.ops.mask import (
    SCORES,
    causal_mask,
    document_mask,
    last_window_mask,
    near_mask,
    near_padding_mask,
    padding_mask,
    window_mask,
)
from glassformer.ops.op import Tape, composite
from glassformer.ops.rows import row_divide, row_exp, row_max, row_sum

SOURCE = "Vaswani et al. 2017, eq. 1"
GROUPED = "Ainslie et al. 2023, section 2.2"

dot_products = contract.using(kernels.dot_products).over(
    "dot_products",
    "scores_raw",
    {"O": "batch head query key", "I": "d_head"},
    {"a": "q[batch, query, head, d_head]", "b": "k[batch, key, head, d_head]"},
    summary="Each query is dotted with each key: how well do they match?",
    source=SOURCE,
    role="score",
)

shared_dot_products = contract.using(kernels.shared_scores).over(
    "shared_dot_products",
    "scores_raw",
    {"O": "batch head query key", "I": "d_head"},
    {"a": "q[batch, query, head, d_head]", "b": "k[batch, key, head // group, d_head]"},
    summary="Each query is dotted with each key of the head that its group shares.",
    source=GROUPED,
    role="score",
)

scale_scores = row_divide.using(kernels.scale_scores).over(
    "scale_scores",
    "scores_scaled",
    {"B": "", "A": SCORES},
    {"x": "scores_raw"},
    numbers={"row": "sqrt(d_head)"},
    summary="Divided by the square root of the head's width, so that scores do not grow with it.",
    source=SOURCE,
    role="score",
)

multiply_scores = scale_by.over(
    "multiply_scores",
    "scores_scaled",
    {"B": SCORES, "A": ""},
    {"x": "scores_raw"},
    numbers={"factor": "factor"},
    summary="The scores are multiplied by a constant of the model's own.",
    role="score",
)

capped_scores = cap_over("scores", SCORES, "scores_scaled", "scores_capped")

mix = contract.using(kernels.mix).over(
    "mix",
    "z",
    {"O": "batch pos head d_head", "I": "key"},
    {"a": "pattern[batch, head, pos, key]", "b": "v[batch, key, head, d_head]"},
    summary="The values are mixed, each with its attention weight.",
    source=SOURCE,
)


shared_mix = contract.using(kernels.shared_mix).over(
    "shared_mix",
    "z",
    {"O": "batch pos head d_head", "I": "key"},
    {"a": "pattern[batch, head, pos, key]", "b": "v[batch, key, head // group, d_head]"},
    summary="The values that the group shares are mixed, each with its attention weight.",
    source=GROUPED,
)


# --- a sink: a score of each head's own that takes a share of the attention and gives nothing ---

SINK = "Xiao et al. 2023, section 3.3"

scores_max, exponentials_sum = (
    template.over(
        name,
        name,
        softmax.KEYS,
        {"x": x},
        summary=summary,
        role="intermediate",
    )
    for template, name, x, summary in (
        (row_max, "scores_max", "attn_scores", "The largest score of the row."),
        (row_sum, "keys_sum", "pattern_exp", "The exponentials of all keys are summed."),
    )
)

sink_max = where_above.using(kernels.sink_max).over(
    "sink_max",
    "pattern_max",
    {"A": "batch head query"},
    {
        "x": "scores_max",
        "limit": "sinks[head]",
        "above": "scores_max",
        "below": "sinks[head]",
    },
    summary="The largest score, the head's sink among them.",
    source=SINK,
    role="intermediate",
)

sink_exp = row_exp.using(kernels.sink_exp).over(
    "sink_exp",
    "sink_exp",
    {"B": "batch head query", "A": ""},
    {"x": "sinks[head]", "row": "pattern_max"},
    summary="The head's sink is exponentiated like every score.",
    source=SINK,
    role="intermediate",
)

sink_sum = add_to.over(
    "sink_sum",
    "pattern_sum",
    {"B": "", "A": "batch head query"},
    {"x": "keys_sum", "more": "sink_exp"},
    summary="The sink's exponential is added: it takes its share of the attention.",
    source=SINK,
    role="intermediate",
)


sink_divide = row_divide.over(
    "sink_divide",
    "pattern",
    softmax.KEYS,
    {"x": "pattern_exp", "row": "pattern_sum"},
    summary="Divided by their sum, the sink's part among it, they are weights between 0 and 1; the"
    " sink has the rest.",
    source=SINK,
    role="probability",
)


def _pattern_with_sink(t: Tape, scores: Tensor, sinks: Tensor) -> Tensor:
    exponentials = softmax.over_keys.exponentials
    largest = t("pattern_max", sink_max, t("scores_max", scores_max, scores), sinks)
    each = t("pattern_exp", exponentials, scores, largest)
    of_sink = t("sink_exp", sink_exp, sinks, largest)
    total = t("pattern_sum", sink_sum, t("keys_sum", exponentials_sum, each), of_sink)
    return t("pattern", sink_divide, each, total)


def _steps(
    t: Tape,
    name: str,
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
    documents = mask is not None and mask.dtype != torch.bool
    by_query = not documents and mask is not None and (causal or mask.shape[2] > 1)
    assert not by_query, "a padded batch of prompts is generated from, not watched"
    group = q.shape[2] // k.shape[2]
    if group == 1:
        scores = t("scores_raw", dot_products, q, k)
    else:
        scores = t("scores_raw", shared_dot_products, q, k, group=group)
    masked = causal or window > 0 or reach > 0 or mask is not None
    more = bool(cap) or alibi is not None or bias is not None
    last = "attn_scores" if not (masked or more) else "scores_scaled"
    if scale:
        scores = t(last, multiply_scores, scores, factor=scale)
    else:
        scores = t(last, scale_scores, scores, d_head=q.shape[-1])
    if cap:
        last = "scores_capped" if masked or alibi is not None or bias is not None else "attn_scores"
        scores = t(last, capped_scores.fused, scores, cap=cap)
    if alibi is not None:
        even = kernels.alibi_even(q.shape[2])
        last = "scores_biased" if masked else "attn_scores"
        if rounded:
            width = q.shape[-1]
            scores = t(last, rounded_slope_scores, scores, alibi, even=even, d_head=width)
        else:
            scores = t(last, slope_scores, scores, alibi, even=even)
    if bias is not None:
        scores = t("scores_biased" if masked else "attn_scores", bias_scores, scores, bias)
    last = "scores_causal" if documents else "attn_scores"
    if window and causal:
        scores = t(last, window_mask, scores, window=window)
    elif window:
        scores = t("attn_scores", last_window_mask, scores, window=window)
    elif causal:
        scores = t(last, causal_mask, scores)
    elif reach:
        last = "attn_scores" if mask is None else "scores_near"
        scores = t(last, near_mask, scores, reach=reach)
    if mask is not None and documents:
        scores = t("attn_scores", document_mask, scores, mask)
    elif mask is not None:
        scores = t("attn_scores", near_padding_mask if reach else padding_mask, scores, mask)
    if sinks is None:
        pattern = softmax.steps(t, "pattern", softmax.over_keys, scores)
    else:
        pattern = _pattern_with_sink(t, scores, sinks)
    if group == 1:
        return t(name, mix, pattern, v)
    return t(name, shared_mix, pattern, v, group=group)


attention = composite(
    "attention",
    kernels.attention,
    _steps,
    summary="Who looks at whom, and what is taken from there: softmax(q k / sqrt(d_head)) v.",
    source=SOURCE,
)
