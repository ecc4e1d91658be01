"""What is done to a whole row of numbers at once; a row is the last axis."""

from __future__ import annotations

from torch import Tensor


def largest(x: Tensor) -> Tensor:
    """The largest number of each row of x [..., n]."""
    return x.amax(-1)


def total(x: Tensor) -> Tensor:
    """The sum of each row of x [..., n]."""
    return x.sum(-1)


def mean(x: Tensor) -> Tensor:
    """The mean of each row of x [..., n]."""
    return x.mean(-1)


def first_index(x: Tensor) -> Tensor:
    """Where the largest number of each row of x [..., n] first stands."""
    return x.argmax(-1)


def subtract(x: Tensor, row: Tensor) -> Tensor:
    """x [..., n] less a number of each row [...]."""
    return x - row[..., None]


def mean_of_heads(x: Tensor) -> Tensor:
    """The mean of each x [..., head, n], all heads together."""
    return x.mean((-2, -1))


def divide_heads(x: Tensor, row: Tensor) -> Tensor:
    """x [..., head, n] by a number of all heads [...]."""
    return x / row[..., None, None]


def divide(x: Tensor, row: Tensor) -> Tensor:
    """x [..., n] by a number of each row [...]."""
    return x / row[..., None]


def exponentiate(x: Tensor, largest: Tensor) -> Tensor:
    """exp(x - largest) for x [..., n] and the largest number of each row [...]."""
    # subtract the maximum: exp(89) overflows fp32, exp(710) float64
    return (x - largest[..., None]).exp_()


def root(x: Tensor, eps: float) -> Tensor:
    """sqrt(x + eps)."""
    return (x + eps).sqrt_()


def ranks(x: Tensor) -> Tensor:
    """How many numbers of its row go before each of x [..., n]: larger ones, or equal and left."""
    return x.argsort(dim=-1, descending=True, stable=True).argsort(-1)


def order(ranks: Tensor, k: int | None = None) -> Tensor:
    """The places in the order of their ranks [..., n]; of the first k, [..., k], if it is given."""
    return ranks.argsort(-1)[..., :k]


def keep_top(x: Tensor, ranks: Tensor, k: int) -> Tensor:
    """x [..., n], 0 but for the k of lowest rank."""
    return x.masked_fill(ranks >= k, 0)
