"""The choice of a token: scores become probabilities, some are cut, and one number is drawn.

The candidates lie on the line from 0 to 1, the most probable first, each as wide as its
probability; the drawn number falls on one of them. All of it is float64 on the CPU, whatever the
model's dtype, so that a choice can be redone anywhere; equal scores are ranked by token id.
"""

from __future__ import annotations

import hashlib

import torch
from torch import Tensor

from glassformer.ops.op import Tape, composite, op

NUCLEUS = "Holtzman et al. 2019, section 3.1"

next_logits = op(
    "next_logits",
    "next_logits[vocab] = logits[row, last, vocab]",
    "logits",
    lambda logits, row, last: logits[row, last].detach().cpu().double(),
    says="The scores after the last token: one for every token that could come next.",
)


def _penalise(scores: Tensor, ids: Tensor, row: int, penalty: float) -> Tensor:
    penalised = torch.where(scores > 0, scores / penalty, scores * penalty)
    seen = torch.zeros_like(scores, dtype=torch.bool).index_fill_(0, ids[row].cpu(), True)
    return torch.where(seen, penalised, scores)


penalise = op(
    "penalise",
    "penalised[vocab] = select(sum(pos, select(ids[row, pos] == vocab, 1, 0)) > 0,"
    " select(scores[vocab] > 0, scores[vocab] / penalty, scores[vocab] * penalty), scores[vocab])",
    "scores ids",
    _penalise,
    says="A token that the text already has gets a lower score.",
    source="Keskar et al. 2019, section 4.1",
)

temper = op(
    "temper",
    "scaled[vocab] = scores[vocab] / temperature",
    "scores",
    lambda scores, temperature: scores / temperature,
    says="Divided by the temperature: below 1 the differences grow, above 1 they shrink.",
    source="Ackley et al. 1985, eq. 5",
)

highest = op(
    "highest",
    "highest = max(vocab, scores[vocab])",
    "scores",
    lambda scores: scores.amax(-1),
    says="The highest score.",
)

exponentiate = op(
    "exponentiate",
    "exponentials[vocab] = exp(scores[vocab] - highest[()])",
    "scores highest",
    # subtract the maximum: exp(710) overflows float64
    lambda scores, highest: (scores - highest).exp_(),
    says="Every score is exponentiated, after the highest was subtracted.",
)

total = op(
    "total",
    "total = sum(vocab, weights[vocab])",
    "weights",
    lambda weights: weights.sum(-1),
    says="What all candidates have together.",
)

share = op(
    "share",
    "share[vocab] = weights[vocab] / total[()]",
    "weights total",
    torch.div,
    says="Divided by what all have together, they are probabilities that sum to 1.",
    source="Bridle 1990",
)

ranks = op(
    "ranks",
    "ranks[vocab] = sum(other, select(scores[other] > scores[vocab], 1, 0)"
    " + select(scores[other] == scores[vocab], select(other < vocab, 1, 0), 0))",
    "scores",
    lambda scores: scores.argsort(descending=True, stable=True).argsort(),
    says="How many tokens have a higher score; of equal scores the lower token id goes first.",
)

order = op(
    "order",
    "order[rank] = sum(vocab, select(ranks[vocab] == rank, vocab, 0))",
    "ranks",
    torch.argsort,
    says="The tokens sorted, the most probable first.",
)

keep_top_k = op(
    "keep_top_k",
    "top_k[vocab] = select(ranks[vocab] < k, probs[vocab], 0)",
    "probs ranks",
    lambda probs, ranks, k: torch.where(ranks < k, probs, 0.0),
    says="Only the k most probable tokens may be drawn.",
    source="Fan et al. 2018, section 5.4",
)


def _accumulate(probs: Tensor, order: Tensor) -> Tensor:
    running = probs[order].cumsum(-1)
    # divided by the last one, the line ends at exactly 1, however the sum was rounded
    return running / running[-1]


accumulate = op(
    "accumulate",
    "cumulative[rank] = sum(other, select(other <= rank, probs[order[other]], 0))"
    " / sum(other, probs[order[other]])",
    "probs order",
    _accumulate,
    says="Where each candidate's part of the line from 0 to 1 ends, the most probable first.",
)

nucleus_size = op(
    "nucleus_size",
    "nucleus_size = 1 + sum(rank, select(cumulative[rank] < top_p, 1, 0))",
    "cumulative",
    lambda cumulative, top_p: (cumulative < top_p).sum() + 1,
    says="How many of the most probable tokens it takes to have top_p together.",
    source=NUCLEUS,
)

keep_nucleus = op(
    "keep_nucleus",
    "top_p[vocab] = select(ranks[vocab] < nucleus_size[()], probs[vocab], 0)",
    "probs ranks nucleus_size",
    lambda probs, ranks, nucleus_size: torch.where(ranks < nucleus_size, probs, 0.0),
    says="Only the smallest set of most probable tokens that has top_p together may be drawn.",
    source=NUCLEUS,
)

keep_min_p = op(
    "keep_min_p",
    "min_p[vocab] = select(probs[vocab] >= min_p * probs[order[0]], probs[vocab], 0)",
    "probs order",
    lambda probs, order, min_p: torch.where(probs >= min_p * probs[order[0]], probs, 0.0),
    says="Only tokens at least min_p times as probable as the most probable one may be drawn.",
    source="Nguyen et al. 2024, section 3",
)


def uniform(seed: int, index: int) -> float:
    """A number u, 0 <= u < 1, for the token `index` of a text: the same on every machine.

    The first 53 bits of BLAKE2b("seed/index"), as a fraction. Nothing but these two numbers goes
    in, so neither a cache nor a batch nor streaming can change what is drawn.

    >>> uniform(0, 0), uniform(0, 1)
    (0.1709622343137528, 0.9998441623847016)
    """
    digest = hashlib.blake2b(f"{seed}/{index}".encode(), digest_size=8).digest()
    return (int.from_bytes(digest, "big") >> 11) / 2**53


draw = op(
    "draw",
    "u = drawn",
    "",
    lambda seed, index: torch.tensor(uniform(seed, index), dtype=torch.float64),
    says="A number drawn evenly between 0 and 1, from the seed and the token's index.",
)

drawn_rank = op(
    "drawn_rank",
    "drawn_rank = sum(rank, select(cumulative[rank] <= u[()], 1, 0))",
    "cumulative u",
    lambda cumulative, u: (cumulative <= u).sum(),
    says="The candidate on whose part of the line the drawn number fell.",
)

drawn_token = op(
    "drawn_token",
    "token = order[drawn_rank[()]]",
    "order drawn_rank",
    lambda order, drawn_rank: order[drawn_rank],
    says="The token of that rank: the one that was chosen.",
)

argmax = op(
    "argmax",
    "token = -max(vocab, select(scores[vocab] == highest[()], -vocab, -inf))",
    "scores highest",
    lambda scores, highest: (scores == highest).int().argmax(),
    says="The token with the highest score; of equal ones the lowest token id.",
)

# --- all of it, fast and in steps ---------------------------------------------------------------

HEAD = 256
"""Candidates that are sorted at first; rarely does a draw or a cut reach beyond them."""


def _leading(scores: Tensor, n: int) -> Tensor:
    """The tokens with the n highest scores, and those equal to the last of these, sorted."""
    if n >= len(scores):
        return scores.argsort(descending=True, stable=True)
    leading = (scores >= scores.topk(n).values[-1]).nonzero()[:, 0]
    return leading[scores[leading].argsort(descending=True, stable=True)]


def _choose(
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
    scores = next_logits.kernel(logits, row, last)
    if repetition_penalty != 1:
        scores = penalise.kernel(scores, ids, row, repetition_penalty)
    if temperature == 0:
        return scores.argmax()
    probs = torch.softmax(scores / temperature, -1)
    u = uniform(seed, index)
    cut = top_p is not None or min_p is not None
    for n in (HEAD, len(scores)) if top_k is None else (top_k,):
        tokens = _leading(scores / temperature, n)[:top_k]
        complete = top_k is not None or len(tokens) == len(scores)
        kept = probs[tokens]
        if top_p is not None:
            mass = kept.sum() if complete else 1.0
            kept = kept[: int((kept.cumsum(-1) / mass < top_p).sum()) + 1]
        if min_p is not None:
            kept = kept[kept >= min_p * kept[0]]
        whole = complete or len(kept) < len(tokens)  # nothing that was not sorted can be drawn
        line = kept.cumsum(-1)
        place = int(((line / line[-1] if whole else line) <= u).sum())
        if whole or (not cut and place < len(kept)):
            return tokens[place]
    raise AssertionError("the line ends at 1, so every u < 1 falls on it")


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
        scores = t("penalised", penalise, scores, ids, row=row, penalty=repetition_penalty)
    if temperature == 0:
        return t(name, argmax, scores, t("highest", highest, scores))
    if temperature != 1:
        scores = t("scaled", temper, scores, temperature=temperature)
    exponentials = t("exponentials", exponentiate, scores, t("highest", highest, scores))
    cut = any(setting is not None for setting in (top_k, top_p, min_p))
    sum_of_all = t("total", total, exponentials)
    probs = t("softmax" if cut else "probs", share, exponentials, sum_of_all)
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
        probs = t("probs", share, probs, t("kept", total, probs))
    line = t("cumulative", accumulate, probs, tokens)
    u = t("u", draw, seed=seed, index=index)
    return t(name, drawn_token, tokens, t("drawn_rank", drawn_rank, line, u))


choose = composite(
    "choose",
    _choose,
    _choose_steps,
    says="One token is chosen: the most probable one, or one drawn by its probability.",
)
