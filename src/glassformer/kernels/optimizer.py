"""Clipping and AdamW, in the order of operations of `torch.optim.AdamW(foreach=False)`."""

from __future__ import annotations

import torch
from torch import Tensor


def sum_of_squares(d_w: Tensor) -> Tensor:
    """All squares of d_w, summed."""
    return (d_w * d_w).sum()


def clip_factor(grad_norm: Tensor, max_norm: float) -> Tensor:
    """What a gradient is multiplied by, so that its norm is at most max_norm."""
    return (max_norm / (grad_norm + 1e-6)).clamp(max=1.0)


def first_moment(m_prev: Tensor, g: Tensor, beta1: float) -> Tensor:
    """beta1 m_prev + (1 - beta1) g."""
    return m_prev.lerp(g, 1 - beta1)


def second_moment(v_prev: Tensor, g: Tensor, beta2: float) -> Tensor:
    """beta2 v_prev + (1 - beta2) g^2."""
    return v_prev.mul(beta2).addcmul_(g, g, value=1 - beta2)


def first_correction(beta1: float, t: int) -> Tensor:
    """1 - beta1^t, in float64."""
    return torch.tensor(1 - beta1**t, dtype=torch.float64)


def second_correction(beta2: float, t: int) -> Tensor:
    """1 - beta2^t, in float64."""
    return torch.tensor(1 - beta2**t, dtype=torch.float64)


def descended_weight(w: Tensor, d_w: Tensor, lr: float) -> Tensor:
    """w - lr d_w."""
    return w.add(d_w, alpha=-lr)


def decayed_weight(w: Tensor, lr: float, weight_decay: float) -> Tensor:
    """w (1 - lr weight_decay)."""
    return w * (1 - lr * weight_decay)


def update_scale(v: Tensor, bias_2: Tensor, eps: float) -> Tensor:
    """sqrt(v / bias_2) + eps."""
    correction: float = bias_2.item() ** 0.5
    return (v.sqrt() / correction).add_(eps)


def updated_weight(
    decayed: Tensor, m: Tensor, denominator: Tensor, bias_1: Tensor, lr: float
) -> Tensor:
    """decayed - lr / bias_1 m / denominator."""
    return decayed.addcdiv(m, denominator, value=-(lr / bias_1.item()))
