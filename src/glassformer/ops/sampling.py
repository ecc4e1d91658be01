"""The choice of a token: scores become probabilities, some are cut, and one number is drawn.

The candidates lie on the line from 0 to 1, the most probable first, each as wide as its
probability; the drawn number falls on one of them. All of it is float64 on the CPU, whatever the
model's dtype, so that a choice can be redone anywhere; equal scores are ranked by token id.
"""

from __future__ import annotations

from torch import Tensor

from glassformer.kernels import choose as kernels
from glassformer.ops import softmax
from glassformer.ops.embedding import look_up
from glassformer.ops.op import Tape, composite, op
from glassformer.ops.rows import row_argmax, row_divide, row_keep_top, row_order, row_ranks

NUCLEUS = "Holtzman et al. 2019, section 3.1"

next_logits = op(
    "next_logits",
    "next_logits[vocab] = logits[row, last, vocab]",
    "logits",
    kernels.next_logits,
    summary="The scores after the last token: one for every token that could come next.",
    role="score",
)


penalize = op(
    "penalize",
    "penalized[vocab] = select(sum(pos, select(ids[row, pos] == vocab, 1, 0)) > 0,"
    " select(scores[vocab] > 0, scores[vocab] / penalty, scores[vocab] * penalty), scores[vocab])",
    "scores ids",
    kernels.penalize,
    summary="A token that the text already has gets a lower score.",
    source="Keskar et al. 2019, section 4.1",
    role="score",
)

temper = row_divide.using(kernels.temper).over(
    "temper",
    "scaled",
    softmax.CANDIDATES,
    {"x": "scores"},
    numbers={"row": "temperature"},
    summary="Divided by the temperature: below 1 the differences grow, above 1 they shrink.",
    source="Ackley et al. 1985, eq. 5",
    role="score",
)

ranks = row_ranks.over(
    "ranks",
    "ranks",
    softmax.CANDIDATES,
    {"x": "scores"},
    summary="How many tokens have a higher score; of equal scores the lower token id goes first.",
)

order = row_order.over(
    "order",
    "order",
    {**softmax.CANDIDATES, "R": "rank"},
    summary="The tokens sorted, the most probable first.",
    role="token",
)

keep_top_k = row_keep_top.over(
    "keep_top_k",
    "top_k",
    softmax.CANDIDATES,
    {"x": "probs"},
    numbers={"k": "k"},
    summary="Only the k most probable tokens may be drawn.",
    source="Fan et al. 2018, section 5.4",
    role="probability",
)


accumulate = op(
    "accumulate",
    "cumulative[rank] = sum(other, select(other <= rank, probs[order[other]], 0))"
    " / sum(other, probs[order[other]])",
    "probs order",
    kernels.accumulate,
    summary="Where each candidate's part of the line from 0 to 1 ends, the most probable first.",
    role="probability",
)

nucleus_size = op(
    "nucleus_size",
    "nucleus_size = 1 + sum(rank, select(cumulative[rank] < top_p, 1, 0))",
    "cumulative",
    kernels.nucleus_size,
    summary="How many of the most probable tokens it takes to have top_p together.",
    source=NUCLEUS,
)

keep_nucleus = row_keep_top.using(kernels.keep_nucleus).over(
    "keep_nucleus",
    "top_p",
    softmax.CANDIDATES,
    {"x": "probs", "k": "nucleus_size"},
    summary="Only the smallest set of most probable tokens that has top_p together may be drawn.",
    source=NUCLEUS,
    role="probability",
)

keep_min_p = op(
    "keep_min_p",
    "min_p[vocab] = select(probs[vocab] >= min_p * probs[order[0]], probs[vocab], 0)",
    "probs order",
    kernels.keep_min_p,
    summary="Only tokens at least min_p times as probable as the most probable one may be drawn.",
    source="Nguyen et al. 2024, section 3",
    role="probability",
)


draw = op(
    "draw",
    "u = drawn",
    "",
    kernels.draw,
    summary="A number drawn evenly between 0 and 1, from the seed and the token's index.",
)

drawn_rank = op(
    "drawn_rank",
    "drawn_rank = sum(rank, select(cumulative[rank] <= u[()], 1, 0))",
    "cumulative u",
    kernels.drawn_rank,
    summary="The candidate on whose part of the line the drawn number fell.",
)

drawn_token = look_up.using(kernels.drawn_token).over(
    "drawn_token",
    "token",
    {"B": "", "O": ""},
    {"W": "order", "ids": "drawn_rank"},
    summary="The token of that rank: the one that was chosen.",
    role="token",
)

argmax = row_argmax.using(kernels.argmax).over(
    "argmax",
    "token",
    softmax.CANDIDATES,
    {"x": "scores"},
    summary="The token with the highest score; of equal ones the lowest token id.",
    role="token",
)

# --- all of it, in steps ------------------------------------------------------------------------


def _choose_steps(
    t: Tape,
    name: str,
    logits: Tensor,
    ids: Tensor,
    *,
    row: int,
    last: int,
    temperature: float,
    top_k: int | None,
    top_p: float | None,
    min_p: float | None,
    repetition_penalty: float,
    seed: int,
    index: int,
) -> Tensor:
    scores = t("next_logits", next_logits, logits, row=row, last=last)
    if repetition_penalty != 1:
        scores = t("penalized", penalize, scores, ids, row=row, penalty=repetition_penalty)
    if temperature == 0:
        return t(name, argmax, scores)
    if temperature != 1:
        scores = t("scaled", temper, scores, temperature=temperature)
    of_all = softmax.over_candidates
    largest = t("highest", of_all.largest, scores)
    exponentials = t("exponentials", of_all.exponentials, scores, largest)
    cut = any(setting is not None for setting in (top_k, top_p, min_p))
    sum_of_all = t("total", of_all.total, exponentials)
    probs = t("softmax" if cut else "probs", of_all.share, exponentials, sum_of_all)
    rank_of = t("ranks", ranks, scores)
    tokens = t("order", order, rank_of)
    if top_k is not None:
        probs = t("top_k", keep_top_k, probs, rank_of, k=top_k)
    if top_p is not None:
        line = t("nucleus_cumulative", accumulate, probs, tokens)
        size = t("nucleus_size", nucleus_size, line, top_p=top_p)
        probs = t("top_p", keep_nucleus, probs, rank_of, size)
    if min_p is not None:
        probs = t("min_p", keep_min_p, probs, tokens, min_p=min_p)
    if cut:
        probs = t("probs", of_all.share, probs, t("kept", of_all.total, probs))
    line = t("cumulative", accumulate, probs, tokens)
    u = t("u", draw, seed=seed, index=index)
    return t(name, drawn_token, tokens, t("drawn_rank", drawn_rank, line, u))


choose = composite(
    "choose",
    kernels.choose,
    _choose_steps,
    summary="One token is chosen: the most probable one, or one drawn by its probability.",
)
