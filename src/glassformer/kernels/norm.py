"""The norms in one call, and a gain and a bias."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def layer_norm(
    x: Tensor, w: Tensor | None, b: Tensor | None, eps: float, from_one: bool = False
) -> Tensor:
    """x [..., d_model] with mean 0 and variance 1, times w [d_model], plus b [d_model].

    from_one: w is the gain less 1.
    """
    return torch.layer_norm(x, (x.shape[-1],), _gain(w, from_one), b, eps)


def rms_norm(x: Tensor, w: Tensor | None, eps: float, from_one: bool = False) -> Tensor:
    """x [..., d] with a root mean square of 1, times w [d], or 1 + w where `from_one`."""
    return F.rms_norm(x, (x.shape[-1],), _gain(w, from_one), eps)


def wide_norm(x: Tensor, w: Tensor | None, eps: float, from_one: bool = False) -> Tensor:
    """x [..., head, d_head], all heads together with a root mean square of 1, times w."""
    return F.rms_norm(x, x.shape[-2:], _gain(w, from_one), eps)


def _gain(w: Tensor | None, from_one: bool) -> Tensor | None:
    return 1 + w if from_one and w is not None else w


def gain_and_bias(x: Tensor, w: Tensor | None, b: Tensor | None) -> Tensor:
    """x [..., d_model] times w [d_model], plus b [d_model], where they are."""
    if w is None:
        return x if b is None else x + b
    return x * w if b is None else torch.addcmul(b, x, w)


def gain_from_one(x: Tensor, w: Tensor, b: Tensor | None) -> Tensor:
    """x [..., d_model] times 1 + w [d_model], plus b [d_model], where it is."""
    y = torch.addcmul(x, x, w)
    return y if b is None else y + b
