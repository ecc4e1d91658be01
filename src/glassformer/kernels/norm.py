"""The norms in one call, and a gain and a bias."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def layer_norm(x: Tensor, w: Tensor | None, b: Tensor | None, eps: float) -> Tensor:
    """x [..., d_model] with mean 0 and variance 1, times w [d_model], plus b [d_model]."""
    return torch.layer_norm(x, (x.shape[-1],), w, b, eps)


def rms_norm(x: Tensor, w: Tensor | None, eps: float) -> Tensor:
    """x [..., d_model] with a root mean square of 1, times w [d_model]."""
    return F.rms_norm(x, (x.shape[-1],), w, eps)


def head_norm(x: Tensor, eps: float) -> Tensor:
    """x [..., d_head] with a root mean square of 1."""
    return F.rms_norm(x, (x.shape[-1],), None, eps)


def gain_and_bias(x: Tensor, w: Tensor | None, b: Tensor | None) -> Tensor:
    """x [..., d_model] times w [d_model], plus b [d_model], where they are."""
    if w is None:
        return x if b is None else x + b
    return x * w if b is None else torch.addcmul(b, x, w)
