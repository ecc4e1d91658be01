"""The choice of a token, sorting no more candidates than it has to."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from glassformer.kernels.finite import refuse_no_numbers


def uniform(seed: int, index: int) -> float:
    """A number u, 0 <= u < 1, for the token `index` of a text: the same on every machine.

    The first 53 bits of BLAKE2b("seed/index"), as a fraction. Nothing but these two numbers goes
    in, so neither a cache nor a batch nor streaming can change what is drawn.

    >>> uniform(0, 0), uniform(0, 1)
    (0.1709622343137528, 0.9998441623847016)
    """
    digest = hashlib.blake2b(f"{seed}/{index}".encode(), digest_size=8).digest()
    return (int.from_bytes(digest, "big") >> 11) / 2**53


def next_logits(logits: Tensor, row: int, last: int) -> Tensor:
    """The scores [vocab] at one place of logits [batch, pos, vocab], in float64 on the CPU.

    Raises GlassformerError for scores from which nothing can be chosen.
    """
    refuse_no_numbers(logits[row, last])
    return logits[row, last].detach().cpu().double()


def penalize(scores: Tensor, ids: Tensor, row: int, penalty: float) -> Tensor:
    """Scores [vocab] in which what row `row` of ids [batch, pos] has already is lowered."""
    penalized = torch.where(scores > 0, scores / penalty, scores * penalty)
    seen = torch.zeros_like(scores, dtype=torch.bool).index_fill_(0, ids[row].cpu(), True)
    return torch.where(seen, penalized, scores)


def accumulate(probs: Tensor, order: Tensor) -> Tensor:
    """Where each candidate's part of the line from 0 to 1 ends, probs [vocab] in this order."""
    running = probs[order].cumsum(-1)
    # divided by the last one, the line ends at exactly 1, however the sum was rounded
    return running / running[-1]


SORTED_WHOLE = 1024
"""Tokens that are sorted in any case, for several texts at once."""

HEAD = 256
"""Candidates that are sorted at first; rarely does a draw or a cut reach beyond them."""


def _leading(scores: Tensor, n: int) -> Tensor:
    """The tokens with the n highest scores, and those equal to the last of these, sorted."""
    if n >= len(scores):
        return scores.argsort(descending=True, stable=True)
    leading = (scores >= scores.topk(n).values[-1]).nonzero()[:, 0]
    return leading[scores[leading].argsort(descending=True, stable=True)]


def choose(
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
    """The id of the chosen token, from logits [batch, pos, vocab]; see `ops.sampling`."""
    scores = next_logits(logits, row, last)
    if repetition_penalty != 1:
        scores = penalize(scores, ids, row, repetition_penalty)
    how = {"temperature": temperature, "top_k": top_k, "top_p": top_p, "min_p": min_p}
    return choose_rows(scores[None], [uniform(seed, index)], **how)[0]


def choose_rows(
    scores: Tensor,
    drawn: Sequence[float],
    *,
    temperature: float,
    top_k: int | None,
    top_p: float | None,
    min_p: float | None,
) -> Tensor:
    """The id that is chosen for each row of scores [row, vocab], by the number drawn for it."""
    if temperature == 0:
        return scores.argmax(-1)
    scores = scores / temperature
    probs = torch.softmax(scores, -1)
    if scores.shape[-1] <= SORTED_WHOLE:
        tokens = scores.argsort(descending=True, stable=True)[:, :top_k]
        ranks = _drawn_ranks(
            probs.gather(-1, tokens), torch.tensor(drawn, dtype=probs.dtype)[:, None], top_p, min_p
        )
        return tokens.gather(-1, ranks[:, None])[:, 0]
    rows = zip(scores, probs, drawn, strict=True)
    return torch.stack([_choose_among_first(*row, top_k, top_p, min_p) for row in rows])


def _drawn_ranks(kept: Tensor, u: Tensor, top_p: float | None, min_p: float | None) -> Tensor:
    """On which of the sorted candidates' parts of the line u [row, 1] falls."""
    if top_p is not None:
        line = kept.cumsum(-1)
        before = F.pad(line[:, :-1] / line[:, -1:], (1, 0))  # the first one always stays
        kept = torch.where(before < top_p, kept, 0.0)
    if min_p is not None:
        kept = torch.where(kept >= min_p * kept[:, :1], kept, 0.0)
    line = kept.cumsum(-1)
    return (line / line[:, -1:] <= u).sum(-1)


def _choose_among_first(
    scores: Tensor,
    probs: Tensor,
    u: float,
    top_k: int | None,
    top_p: float | None,
    min_p: float | None,
) -> Tensor:
    """The same for one text and many tokens: rarely do all of them have to be sorted."""
    cut = top_p is not None or min_p is not None
    for n in (HEAD, len(scores)) if top_k is None else (top_k,):
        tokens = _leading(scores, n)[:top_k]
        complete = top_k is not None or len(tokens) == len(scores)
        kept = probs[tokens]
        if top_p is not None:
            mass = kept.sum() if complete else 1.0
            kept = kept[: int((kept.cumsum(-1) / mass < top_p).sum()) + 1]
        if min_p is not None:
            kept = kept[kept >= min_p * kept[0]]
        complete_head = complete or len(kept) < len(
            tokens
        )  # nothing that was not sorted can be drawn
        line = kept.cumsum(-1)
        rank = int(((line / line[-1] if complete_head else line) <= u).sum())
        if complete_head or (not cut and rank < len(kept)):
            return tokens[rank]
    raise AssertionError("the line ends at 1, so every u < 1 falls on it")


# --- its parts, each of them an op ---


def temper(scores: Tensor, temperature: float) -> Tensor:
    """Scores [vocab] divided by the temperature."""
    return scores / temperature


def nucleus_size(cumulative: Tensor, top_p: float) -> Tensor:
    """How many candidates it takes to reach top_p, from cumulative [rank]."""
    return (cumulative < top_p).sum() + 1


def keep_nucleus(probs: Tensor, ranks: Tensor, nucleus_size: Tensor) -> Tensor:
    """probs [vocab], 0 but for those in the nucleus."""
    return torch.where(ranks < nucleus_size, probs, 0.0)


def keep_min_p(probs: Tensor, order: Tensor, min_p: float) -> Tensor:
    """probs [vocab], 0 for those below min_p times the highest."""
    return torch.where(probs >= min_p * probs[order[0]], probs, 0.0)


def draw(seed: int, index: int) -> Tensor:
    """The number of `uniform`, as a tensor."""
    return torch.tensor(uniform(seed, index), dtype=torch.float64)


def drawn_rank(cumulative: Tensor, u: Tensor) -> Tensor:
    """On which candidate's part of the line [rank] the number u falls."""
    return (cumulative <= u).sum()


def drawn_token(order: Tensor, drawn_rank: Tensor) -> Tensor:
    """The token of that rank."""
    return order[drawn_rank]


def argmax(scores: Tensor, highest: Tensor) -> Tensor:
    """The first token that has the highest score."""
    return (scores == highest).int().argmax()
