"""Softmax over the keys of attention, in the steps that keep it from overflowing."""

from __future__ import annotations

from torch import Tensor

from glassformer.ops.op import Tape, op

row_max = op(
    "row_max",
    "pattern_max[batch, head, query] = max(key, attn_scores[batch, head, query, key])",
    "attn_scores",
    lambda attn_scores: attn_scores.amax(-1),
    says="The largest score of the row.",
)

row_exp = op(
    "row_exp",
    "pattern_exp[batch, head, query, key]"
    " = exp(attn_scores[batch, head, query, key] - pattern_max[batch, head, query])",
    "attn_scores pattern_max",
    # subtract the maximum: exp(89) overflows fp32
    lambda attn_scores, pattern_max: (attn_scores - pattern_max[..., None]).exp_(),
    says="Every score is exponentiated, after the largest was subtracted.",
)

row_sum = op(
    "row_sum",
    "pattern_sum[batch, head, query] = sum(key, pattern_exp[batch, head, query, key])",
    "pattern_exp",
    lambda pattern_exp: pattern_exp.sum(-1),
    says="The exponentials of the row are summed.",
)

row_divide = op(
    "row_divide",
    "pattern[batch, head, query, key]"
    " = pattern_exp[batch, head, query, key] / pattern_sum[batch, head, query]",
    "pattern_exp pattern_sum",
    lambda pattern_exp, pattern_sum: pattern_exp / pattern_sum[..., None],
    says="Divided by their sum, they are weights between 0 and 1 that sum to 1.",
    source="Vaswani et al. 2017, eq. 1",
)


def softmax_steps(t: Tape, name: str, attn_scores: Tensor) -> Tensor:
    """[batch, head, query, key] scores to weights; the sub-steps are named after `name`."""
    largest = t(f"{name}_max", row_max, attn_scores)
    exponentials = t(f"{name}_exp", row_exp, attn_scores, largest)
    total = t(f"{name}_sum", row_sum, exponentials)
    return t(name, row_divide, exponentials, total)
