"""Snapshots of a training as a page holds them: each as its difference from the next one.

Weights change little from one snapshot to the next, so on a common grid most differences are small
whole numbers, which compress to a third of what the weights take. The weights that a page opens
with are not rounded.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from math import floor, log2

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from glassformer.server.packing import pack_words
from glassformer.server.schemas import PackedSnapshots
from glassformer.training.train_state import TrainState
from glassformer.watch.watchable import NO_EXTRA_INPUTS, ExtraInputs

GRID = 64
"""A snapshot's weights are rounded to at most this part of their tensor's spread."""


def packed_snapshots(
    state: TrainState, past: Sequence[TrainState], ids: Tensor, more: ExtraInputs = NO_EXTRA_INPUTS
) -> PackedSnapshots:
    """`past`: the model at earlier steps, in order.

    `ids` [1, pos], and what the model reads beside them: a text to tell what rounding does to.
    """
    final = state.model.weights()
    grids = {name: grid(weight) for name, weight in final.items()}
    codes = _codes(final, grids)
    steps: dict[int, str] = {}
    moved = 0.0
    for earlier in reversed(past):
        current = _codes(earlier.model.weights(), grids)
        steps[earlier.done] = pack_words(_zigzag(current - codes))
        codes = current
        moved = max(moved, probability_moved(earlier, grids, ids, more))
    return PackedSnapshots(
        grids=[*grids.values()], steps=dict(reversed(steps.items())), grid=GRID, moved=moved
    )


def grid(weight: Tensor) -> float:
    """The largest power of two that is at most a GRIDth of the standard deviation, or of the size.

    A power of two: what is rounded to it is exact in float32, and dividing by it loses nothing.

    >>> grid(torch.tensor([1.0, -1.0])), grid(torch.ones(3)), grid(torch.zeros(2))
    (0.015625, 0.015625, 1.0)
    """
    numbers = weight.double()
    spread = numbers.std(correction=0).item() or numbers.abs().max().item()
    return 2.0 ** floor(log2(spread / GRID)) if spread else 1.0


def rounded(weight: Tensor, to: float) -> Tensor:
    """A weight's numbers on its grid; halves go up."""
    return (weight.double() / to + 0.5).floor() * to


def probability_moved(
    state: TrainState,
    grids: Mapping[str, float],
    ids: Tensor,
    more: ExtraInputs = NO_EXTRA_INPUTS,
) -> float:
    """The largest change of a token's probability in a text when all weights are rounded."""
    model = copy.deepcopy(state.model)
    with torch.no_grad():
        before = model(ids, **more).softmax(-1)
        for name, weight in model.weights().items():
            weight.copy_(rounded(weight, grids[name]))
        return float((model(ids, **more).softmax(-1) - before).abs().max())


def _codes(weights: Mapping[str, Tensor], grids: Mapping[str, float]) -> npt.NDArray[np.int64]:
    """The whole number of every weight on its grid."""
    parts = [(rounded(weight, grids[name]) / grids[name]) for name, weight in weights.items()]
    return torch.cat([part.flatten() for part in parts]).long().numpy()


def _zigzag(numbers: npt.NDArray[np.int64]) -> npt.NDArray[np.uint32]:
    """0, -1, 1, -2, ... as 0, 1, 2, 3, ...: small numbers have small words whatever their sign."""
    return ((numbers << 1) ^ (numbers >> 63)).astype(np.uint32)
