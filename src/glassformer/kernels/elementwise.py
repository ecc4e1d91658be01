"""Number by number: copied, added, multiplied, dropped."""

from __future__ import annotations

import torch
from torch import Tensor


def copy(x: Tensor) -> Tensor:
    """x itself."""
    return x


def transposed(W_E: Tensor) -> Tensor:
    """W_E [vocab, d_model] as [d_model, vocab]."""
    return W_E.T


def add(x: Tensor, more: Tensor) -> Tensor:
    """x [..., n] + more [n]."""
    return torch.add(x, more)


def subtract(x: Tensor, less: Tensor) -> Tensor:
    """x - less."""
    return torch.sub(x, less)


def put(edited: Tensor, new: Tensor, computed: Tensor) -> Tensor:
    """new where edited is 1, computed elsewhere; no gradient flows into what was replaced."""
    return torch.where(edited == 1, new, computed)


def multiply(x: Tensor, factor: Tensor) -> Tensor:
    """x [..., n] times factor [n]."""
    return torch.mul(x, factor)


def square(x: Tensor) -> Tensor:
    """x times x."""
    return torch.square(x)


def tanh(x: Tensor) -> Tensor:
    """The hyperbolic tangent of x."""
    return torch.tanh(x)


def sigmoid(x: Tensor) -> Tensor:
    """1 / (1 + exp(-x))."""
    return torch.sigmoid(x)


def dropout(x: Tensor, p: float) -> tuple[Tensor, Tensor]:
    """x with numbers set to 0 by probability p and the others scaled up, and which were kept."""
    # native_dropout hands out its mask, so a watched pass can be replayed
    return torch.native_dropout(x, p, True)


def scale(x: Tensor, factor: float) -> Tensor:
    """x times a constant."""
    return x * factor


def divide(x: Tensor, cap: float) -> Tensor:
    """x divided by a constant."""
    return x / cap


def level_off(x: Tensor, cap: float) -> Tensor:
    """cap * tanh(x / cap): x where it is small, and never more than the cap."""
    return torch.tanh(x / cap) * cap


def where_above(x: Tensor, above: Tensor, below: Tensor) -> Tensor:
    """`above` where x is positive, `below` elsewhere."""
    return torch.where(x > 0, above, below)


def no_less_than(x: Tensor, limit: float) -> Tensor:
    """x, and minus the limit where x is smaller."""
    return x.clamp(min=-limit)


def no_more_than(x: Tensor, limit: float) -> Tensor:
    """x, and the limit where x is larger."""
    return x.clamp(max=limit)


def add_one(x: Tensor) -> Tensor:
    """x + 1."""
    return x + 1
