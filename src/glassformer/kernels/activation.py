"""What a neuron does with its sum, whole and in parts."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor


def relu(pre: Tensor) -> Tensor:
    """max(pre, 0)."""
    return F.relu(pre)


def relu_squared(pre: Tensor) -> Tensor:
    """max(pre, 0) squared."""
    return F.relu(pre).square()


def step(pre: Tensor) -> Tensor:
    """1 where pre is positive, else 0; no gradient goes through it."""
    return (pre > 0).to(pre.dtype)


def gelu(pre: Tensor) -> Tensor:
    """pre times the chance that a standard normal number is smaller."""
    return F.gelu(pre)


def gelu_tanh(pre: Tensor) -> Tensor:
    """GELU with tanh in place of the normal distribution."""
    return F.gelu(pre, approximate="tanh")


def silu(pre: Tensor) -> Tensor:
    """pre times its logistic sigmoid."""
    return F.silu(pre)


def softplus(alpha: Tensor, beta: float = 0.0) -> Tensor:
    """beta + log(1 + exp(alpha))."""
    return F.softplus(alpha).add_(beta)


def xielu_slope(pre: Tensor, strength_p: Tensor, beta: float) -> Tensor:
    """strength_p pre + beta, for a strength []."""
    return (pre * strength_p).add_(beta)


def xielu_exp(pre: Tensor, least: float) -> Tensor:
    """exp(pre) - 1, of `least` at most."""
    return pre.clamp(max=least).expm1_()


def xielu_below(pre: Tensor, post_exp: Tensor, strength_n: Tensor, beta: float) -> Tensor:
    """strength_n (post_exp - pre) + beta pre, for a strength []."""
    return (post_exp - pre).mul_(strength_n).add_(pre, alpha=beta)


def xielu(pre: Tensor, alpha_p: Tensor, alpha_n: Tensor, beta: float, least: float) -> Tensor:
    """The one where pre is positive, the other elsewhere; learned numbers [], made positive."""
    above = xielu_slope(pre, softplus(alpha_p), beta) * pre
    below = xielu_below(pre, xielu_exp(pre, least), softplus(alpha_n, beta), beta)
    return torch.where(pre > 0, above, below)


def normal_cdf(pre: Tensor) -> Tensor:
    """The chance that a standard normal number is smaller than pre."""
    return (pre / math.sqrt(2)).erf_().add_(1).mul_(0.5)


def gelu_argument(pre: Tensor) -> Tensor:
    """sqrt(2 / pi) (pre + 0.044715 pre^3)."""
    return pre.pow(3).mul_(0.044715).add_(pre).mul_(math.sqrt(2 / math.pi))


def half_gate(pre: Tensor, post_tanh: Tensor) -> Tensor:
    """pre (1 + post_tanh) / 2."""
    return torch.addcmul(pre, pre, post_tanh).mul_(0.5)
