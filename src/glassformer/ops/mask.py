"""Masks: which keys a query may look at. The scores of the others become minus infinity."""

from __future__ import annotations

from torch import Tensor

from glassformer.kernels import attention as kernels
from glassformer.ops.op import op, template

SCORES = "batch head query key"

mask_beyond = template(
    "mask_beyond",
    "y[*A] = select(distance[*A] <= limit[*A], x[*A], -inf)",
    "x distance limit",
    kernels.causal_mask,
    role="masked_score",
)

causal_mask = mask_beyond.over(
    "causal_mask",
    "attn_scores",
    {"A": SCORES},
    {"x": "scores_scaled"},
    numbers={"distance": "key", "limit": "query"},
    summary="A query may not look at later keys: their scores become minus infinity.",
    source="Vaswani et al. 2017, section 3.2.3",
)

window_mask = op(
    "window_mask",
    "attn_scores[batch, head, query, key] = select(key <= query,"
    " select(query - key < window, scores_scaled[batch, head, query, key], -inf), -inf)",
    "scores_scaled",
    kernels.window_mask,
    summary="A query looks neither at later keys nor at those before its window.",
    source="Beltagy et al. 2020, section 3.1",
    role="masked_score",
)

last_window_mask = mask_beyond.using(kernels.last_window_mask).over(
    "last_window_mask",
    "attn_scores",
    {"A": SCORES},
    {"x": "scores_scaled"},
    numbers={"distance": "size(key) - key", "limit": "window"},
    summary="The last position looks at the keys of its window.",
    source="Beltagy et al. 2020, section 3.1",
)

near_mask = mask_beyond.using(kernels.near_mask).over(
    "near_mask",
    "attn_scores",
    {"A": SCORES},
    {"x": "scores_scaled"},
    numbers={"distance": "abs(query - key)", "limit": "reach"},
    summary="A query looks at the keys near it, before and after: others become minus infinity.",
    source="Beltagy et al. 2020, section 3.1",
)


def _scores_and_seen(scores: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """mask [batch, 1, 1, key] as the formula reads it: [batch, key]."""
    return scores, mask[:, 0, 0]


padding_mask = mask_beyond.using(kernels.padding_mask, _scores_and_seen).over(
    "padding_mask",
    "attn_scores",
    {"A": SCORES},
    {"x": "scores_scaled", "limit": "seen[batch, key]"},
    numbers={"distance": "1"},
    summary="Nobody may look at padding: the scores of its keys become minus infinity.",
    source="Vaswani et al. 2017, section 3.2.3",
)

near_padding_mask = mask_beyond.using(kernels.near_padding_mask, _scores_and_seen).over(
    "near_padding_mask",
    "attn_scores",
    {"A": SCORES},
    {"x": "scores_near", "limit": "seen[batch, key]"},
    numbers={"distance": "select(query == key, 0, 1)"},
    summary="Nobody may look at padding but padding at itself, so that no row is without a key.",
)


def _scores_and_begins(scores: Tensor, begins: Tensor) -> tuple[Tensor, Tensor]:
    """begins [batch, 1, query, 1] as the formula reads it: [batch, query]."""
    return scores, begins[:, 0, :, 0]


document_mask = mask_beyond.using(kernels.document_mask, _scores_and_begins).over(
    "document_mask",
    "attn_scores",
    {"A": SCORES},
    {"x": "scores_causal", "distance": "begins[batch, query]"},
    numbers={"limit": "key"},
    summary="A query may not look into the document before its own: those keys become minus"
    " infinity.",
    source="Grattafiori et al. 2024, section 3.2",
)
