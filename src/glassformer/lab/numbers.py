"""The numbers of one value, counted: mean, spread, the largest, and a histogram."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

BINS = 41
"""Odd, so that zero lies in the middle of one."""

AT_A_TIME = 1 << 18  # numbers turned into float64


@dataclass(frozen=True)
class Counted:
    """The numbers of a value that are finite, of which there are `finite`.

    `spread` is their standard deviation, divided by n; `largest` the row-major place of the number
    of largest magnitude. `counts` are those of BINS bins, each `width` wide, from -BINS / 2 widths
    to BINS / 2 widths.
    """

    mean: float
    spread: float
    largest: int
    finite: int
    width: float
    counts: list[int]


def counted(value: Tensor) -> Counted:
    """Count the numbers of a value, in float64.

    >>> result = counted(torch.tensor([[1.0, -3.0], [2.0, torch.nan]]))
    >>> result.mean, result.largest, result.finite, result.counts[0], sum(result.counts)
    (0.0, 1, 3, 1, 3)
    """
    parts = torch.split(value.detach().reshape(-1), AT_A_TIME)
    count, total, reach, largest = 0, 0.0, 0.0, 0
    for k, numbers in enumerate(map(_finite, parts)):
        count += len(numbers)
        total += numbers.sum().item()
        farthest = max(map(abs, map(float, numbers.aminmax()))) if len(numbers) else 0.0
        if farthest > reach:
            index = (parts[k].double().abs() == farthest).nonzero()[0].item()
            reach, largest = farthest, k * AT_A_TIME + int(index)
    mean = total / max(count, 1)
    width = (2 * reach or 1.0) / BINS
    squares = 0.0
    counts = torch.zeros(BINS, dtype=torch.int64)
    for numbers in map(_finite, parts):
        squares += (numbers - mean).square_().sum().item()
        bins = (numbers / width).add_(BINS / 2).floor_().clamp_(0, BINS - 1)
        counts += torch.bincount(bins.long(), minlength=BINS)
    spread = math.sqrt(squares / max(count, 1))
    return Counted(mean, spread, largest, count, width, counts.tolist())


def _finite(part: Tensor) -> Tensor:
    """The finite numbers of a part, in float64."""
    numbers = part.double()
    # a sum is finite where all of it is, and is the quicker question
    return numbers if numbers.sum().isfinite() else numbers[numbers.isfinite()]
