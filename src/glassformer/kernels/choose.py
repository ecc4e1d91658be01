"""The choice of a token, sorting no more candidates than it has to."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from glassformer.kernels.finite import refuse_no_numbers

_UNIFORM = hashlib.blake2b(digest_size=8)  # a copy is had in half the time of a new one


def uniform(seed: int, index: int) -> float:
    """A number u, 0 <= u < 1, for the token `index` of a text: the same on every machine.

    The first 53 bits of BLAKE2b("seed/index"), as a fraction. Nothing but these two numbers goes
    in, so neither a cache nor a batch nor streaming can change what is drawn.

    >>> uniform(0, 0), uniform(0, 1)
    (0.1709622343137528, 0.9998441623847016)
    """
    drawn = _UNIFORM.copy()
    drawn.update(f"{seed}/{index}".encode())
    return (int.from_bytes(drawn.digest()) >> 11) / 2**53


def next_logits(logits: Tensor, row: int, last: int) -> Tensor:
    """The scores [vocab] at one place of logits [batch, pos, vocab], in float64 on the CPU.

    Raises GlassformerError for scores from which nothing can be chosen.
    """
    scores = logits[row, last].detach()
    refuse_no_numbers(scores)
    return scores.cpu().double()


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
"""Tokens that are sorted in any case."""

HEAD = 256
"""Candidates, about, that are sorted at first; rarely does a draw or a cut reach beyond them."""

SAMPLED = 64
"""Of so many scores one is looked at, to guess how high the head of them begins."""

Numbers = NDArray[np.float64]
Ids = NDArray[np.int64]


def _in_order(scores: Numbers) -> Ids:
    """The tokens of scores [row, vocab], by falling score; of equal ones the first comes first."""
    falling = -scores
    tokens = falling.argsort(-1)  # three times as fast as a sort that keeps the order of equals
    in_order = _at(falling, tokens)
    if (in_order[:, 1:] == in_order[:, :-1]).any():
        tokens = falling.argsort(-1, kind="stable")
    return tokens


def _at(values: Numbers, tokens: Ids) -> Numbers:
    """Of values [row, vocab] those of tokens [row, rank]."""
    begins = np.arange(0, values.size, values.shape[-1])
    return values.ravel().take(tokens + begins[:, None])


def _leading(scores: Numbers, least: float) -> Ids:
    """The tokens whose score is at least so high, sorted."""
    tokens = np.flatnonzero(scores >= least)
    in_order: Ids = tokens[_in_order(scores[None, tokens])[0]]
    return in_order


def _heads(scores: Numbers, top_k: int | None) -> Iterator[Ids]:
    """The leading tokens, sorted: all that top-k keeps, or ever more of them, to the last."""
    if top_k is not None:
        n = min(top_k, len(scores))
        yield _leading(scores, float(torch.from_numpy(scores).topk(n).values[-1]))[:n]
        return
    sample = np.sort(scores[::SAMPLED])
    for n in (HEAD, 16 * HEAD):
        if n < len(scores):
            yield _leading(scores, float(sample[-max(n // SAMPLED, 1)]))
    yield _in_order(scores[None])[0]


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
    if temperature == 0:
        return scores.argmax()  # nothing is drawn
    how: dict[str, Any] = {
        "temperature": temperature,
        "top_k": top_k,
        "top_p": top_p,
        "min_p": min_p,
    }
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
    if temperature != 1:
        scores = scores / temperature
    cuts = top_p, min_p
    if scores.shape[-1] <= SORTED_WHOLE:
        tokens = _in_order(scores.numpy())[:, :top_k]
        probs = _at(torch.softmax(scores, -1).numpy(), tokens)
        ranks = _drawn_ranks(probs, np.array(drawn)[:, None], *cuts)
        return torch.from_numpy(tokens[np.arange(len(tokens)), ranks])
    # row by row: memory for many large rows at once is slower to get than to fill
    return torch.tensor(
        [_choose_among_first(row, u, top_k, *cuts) for row, u in zip(scores, drawn, strict=True)]
    )


def _drawn_ranks(kept: Numbers, u: Numbers, top_p: float | None, min_p: float | None) -> Ids:
    """On which of the sorted candidates' parts of the line u [row, 1] falls."""
    if top_p is not None:
        line = kept.cumsum(-1)
        before = line[:, :-1] / line[:, -1:]  # the first one always stays
        kept = kept.copy()
        kept[:, 1:][before >= top_p] = 0
    if min_p is not None:
        kept = np.where(kept >= min_p * kept[:, :1], kept, 0.0)
    line = kept.cumsum(-1)
    ranks: Ids = (line / line[:, -1:] <= u).sum(-1)
    return ranks


def _choose_among_first(
    scores: Tensor, u: float, top_k: int | None, top_p: float | None, min_p: float | None
) -> int:
    """The same for one text and many tokens: rarely do all of them have to be sorted."""
    probs = torch.softmax(scores, -1).numpy()
    cut = top_p is not None or min_p is not None
    for tokens in _heads(scores.numpy(), top_k):
        complete = top_k is not None or len(tokens) == len(scores)
        kept = probs[tokens]
        if top_p is not None:
            mass = kept.sum() if complete else 1.0
            kept = kept[: int((kept.cumsum() / mass < top_p).sum()) + 1]
        if min_p is not None:
            kept = kept[kept >= min_p * kept[0]]
        # nothing that was not sorted can be drawn
        complete_head = complete or len(kept) < len(tokens)
        line = kept.cumsum()
        rank = int(((line / line[-1] if complete_head else line) <= u).sum())
        if complete_head or (not cut and rank < len(kept)):
            return int(tokens[rank])
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


def argmax(scores: Tensor) -> Tensor:
    """The first token that has the highest score."""
    return scores.argmax()
