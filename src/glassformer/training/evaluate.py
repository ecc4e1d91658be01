"""How good is a model on a text: loss, perplexity, bits per byte."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import NamedTuple

import torch

from glassformer.errors import GlassformerError
from glassformer.model.evaluating import evaluating
from glassformer.model.kinds import AnyModel
from glassformer.training.data import Batch
from glassformer.training.device import autocast, sent
from glassformer.training.ranks import ALONE, Ranks


class Score(NamedTuple):
    """The surprise of a model at a text; `n_bytes` is the text's length in UTF-8."""

    nats: float
    n_tokens: int
    n_bytes: int | None = None

    @property
    def loss(self) -> float:
        """Mean surprise, nats per token."""
        return self.nats / self.n_tokens

    @property
    def perplexity(self) -> float:
        """exp(loss): as unsure as if it chose among so many equally probable tokens."""
        return perplexity(self.loss)

    @property
    def bits_per_byte(self) -> float | None:
        """nats / ln 2 / bytes: to be compared between models with different tokenizers.

        >>> Score(nats=math.log(2) * 30, n_tokens=4, n_bytes=10).bits_per_byte
        3.0
        """
        return None if self.n_bytes is None else self.nats / math.log(2) / self.n_bytes


def perplexity(loss: float) -> float:
    """exp(loss), infinite where float64 ends."""
    return math.exp(loss) if loss < 700 else math.inf  # exp(709) is the last in fp64


@torch.no_grad()
def evaluate(
    model: AnyModel,
    batches: Iterable[Batch],
    n_bytes: int | None = None,
    dtype: str = "fp32",
    ranks: Ranks = ALONE,
) -> Score:
    """The model's surprise at every target of the batches, without dropout.

    Of several ranks each takes its rows of every batch, and all get the one score.
    """
    device = next(model.parameters()).device
    nats, n_tokens = 0.0, 0
    with evaluating(model):
        for batch in batches:
            if not batch.n_asked:
                continue
            share = ranks.share(batch)
            n = share.n_asked
            local = share.map(lambda tensor: sent(tensor, device))
            targets = local.targets if n else local.targets.clamp(min=0)  # others wait for it
            with autocast(device, dtype):
                loss = model.loss(local.ids, targets, **local.extra)
            nats += loss.item() * n
            n_tokens += n
    if ranks.size > 1:
        sums = torch.tensor([nats, n_tokens], dtype=torch.float64)
        nats, counted = ranks.total(sums).tolist()
        n_tokens = round(counted)
    if not n_tokens:
        raise GlassformerError(
            "no target is asked for in any batch, so there is no loss to measure"
        )
    return Score(nats, n_tokens, n_bytes)
