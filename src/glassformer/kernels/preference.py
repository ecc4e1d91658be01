"""Direct preference optimization: the loss of pairs of replies, chosen and rejected by turns."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from glassformer.kernels.cross_entropy import token_surprise


def unembed_preference(
    x: Tensor,
    W_U: Tensor,
    b_U: Tensor | None,
    targets: Tensor,
    reference: Tensor,
    beta: Tensor,
    cap: float = 0.0,
) -> Tensor:
    """Mean of -log sigmoid(score of the chosen reply - score of the rejected one).

    A score is beta (reference - surprise), with the surprise at all targets of a row together; of
    x [batch, pos, d_model] and targets [batch, pos] the rows 2 i are chosen, 2 i + 1 rejected.
    `reference` and `beta` are [batch]. Source: Rafailov et al. 2023, eq. 7.
    """
    surprise = token_surprise(x, W_U, b_U, targets, cap).sum(-1)
    scores = pair_scores(gain(reference, surprise), beta)
    return -F.logsigmoid(scores[:, 0] - scores[:, 1]).mean()


def gain(reference: Tensor, surprise: Tensor) -> Tensor:
    """reference - surprise, of each reply."""
    return reference - surprise


def pair_scores(gain: Tensor, beta: Tensor) -> Tensor:
    """gain times beta [batch], as [pair, reply]."""
    return torch.unflatten(gain * beta, 0, (-1, 2))


def pair_loss(log_partition: Tensor, scores: Tensor) -> Tensor:
    """log_partition [pair] less the score of the first reply, of scores [pair, reply]."""
    return log_partition - scores[:, 0]
