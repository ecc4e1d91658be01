"""Unembedding and cross-entropy in one, a few rows at a time where all logits would be too many.

At a vocabulary of 50,257 the logits of 16 texts of 1,024 tokens are 3.3 GB in fp32, and their
softmax and gradient as much again. The gradient of a row's loss needs that row's logits alone,
softmax(logits) - onehot(target), so it is taken while they are there: each chunk leaves its share
of the gradients of x, W_U and b_U, which `backward` only scales.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from glassformer.kernels import choices
from glassformer.kernels.product import affine

CHUNK = choices.LOGITS_AT_ONCE.value
"""Logits that may exist at once; a batch with fewer is computed whole."""

GPU_CHUNK = choices.LOGITS_AT_ONCE_ON_A_GPU.value
"""The same on a GPU."""

IGNORED = -100
"""A target that does not count: the model is not asked there."""


def unembed_cross_entropy(
    x: Tensor, W_U: Tensor, b_U: Tensor | None, targets: Tensor, cap: float = 0.0
) -> Tensor:
    """Mean cross-entropy of x [batch, pos, d_model] W_U + b_U against targets [batch, pos].

    cap: where logits level off (0: never).
    """
    if not fits_whole(x, W_U):
        rows = x.flatten(0, -2)
        return chunked_cross_entropy(rows, W_U, b_U, targets.flatten(), IGNORED, cap)
    logits = capped(affine(x, W_U, b_U), cap)
    return F.cross_entropy(logits.flatten(0, -2), targets.flatten(), ignore_index=IGNORED)


def capped(logits: Tensor, cap: float) -> Tensor:
    """Logits that level off at `cap`; 0: as they are."""
    return torch.tanh(logits / cap) * cap if cap else logits


def token_surprise(
    x: Tensor, W_U: Tensor, b_U: Tensor | None, targets: Tensor, cap: float = 0.0
) -> Tensor:
    """The surprise [batch, pos] at each target, in nats; 0 where it does not count.

    Where all logits would be too many, a few texts' are made at a time, and again for a gradient.
    """
    if fits_whole(x, W_U):
        return _surprise(x, W_U, b_U, targets, cap)
    texts = max(1, at_once(x.device) // (x.shape[1] * W_U.shape[1]))
    parts = zip(torch.split(x, texts), torch.split(targets, texts), strict=True)
    return torch.cat(
        [checkpoint(_surprise, x, W_U, b_U, aim, cap, use_reentrant=False) for x, aim in parts]
    )


def _surprise(x: Tensor, W_U: Tensor, b_U: Tensor | None, targets: Tensor, cap: float) -> Tensor:
    logits = capped(affine(x, W_U, b_U), cap)
    surprise = F.cross_entropy(
        logits.flatten(0, -2), targets.flatten(), ignore_index=IGNORED, reduction="none"
    )
    return surprise.view_as(targets)


def fits_whole(x: Tensor, W_U: Tensor) -> bool:
    """Whether the logits of x [..., d_model] are few enough to be held."""
    return x.numel() // x.shape[-1] * W_U.shape[-1] <= at_once(x.device)


def at_once(device: torch.device) -> int:
    """How many logits may exist at once on a device."""
    return GPU_CHUNK if device.type == "cuda" else CHUNK


def chunked_cross_entropy(
    x: Tensor, W_U: Tensor, b_U: Tensor | None, targets: Tensor, ignored: int, cap: float = 0.0
) -> Tensor:
    """Mean cross-entropy of the rows x [row, d_model] whose target is not `ignored`."""
    wanted = [p is not None and p.requires_grad and torch.is_grad_enabled() for p in (x, W_U, b_U)]
    loss: Tensor = _ChunkedCrossEntropy.apply(x, W_U, b_U, targets, ignored, cap, *wanted)
    return loss


class _ChunkedCrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        W_U: Tensor,
        b_U: Tensor | None,
        targets: Tensor,
        ignored: int,
        cap: float,
        *wanted: bool,
    ) -> Tensor:
        device = x.device.type
        dtype = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else x.dtype
        n = (targets != ignored).sum()
        total = torch.zeros((), dtype=torch.promote_types(dtype, torch.float32), device=x.device)
        grads = [
            torch.zeros_like(p) if p is not None and asked else None
            for p, asked in zip((x, W_U, b_U), wanted, strict=True)
        ]
        with torch.autocast(device, enabled=False):
            W = W_U.to(dtype)  # once, not for every chunk
            rows = max(1, at_once(x.device) // W.shape[1])
            for start in range(0, len(x), rows):
                part = slice(start, start + rows)
                logits = (x[part].to(dtype) @ W).to(total.dtype)
                if b_U is not None:
                    logits += b_U
                logits, aim = capped(logits, cap), targets[part]
                total += F.cross_entropy(logits, aim, ignore_index=ignored, reduction="sum")
                if any(wanted):
                    _add_gradients(grads, x, W, logits, aim, part, n, ignored, cap)
        ctx.save_for_backward(*grads)
        return total / n

    @staticmethod
    def backward(ctx: Any, *upstream: Tensor) -> tuple[Tensor | None, ...]:
        return (*(None if g is None else g * upstream[0] for g in ctx.saved_tensors), *[None] * 6)


def _add_gradients(
    grads: list[Tensor | None],
    x: Tensor,
    W: Tensor,
    logits: Tensor,
    targets: Tensor,
    part: slice,
    n: Tensor,
    ignored: int,
    cap: float,
) -> None:
    """Add the share of one chunk of rows to those gradients of x, W_U and b_U that are wanted."""
    d_x, d_W, d_b = grads
    d_logits = _less_one(logits.softmax(-1), targets)
    d_logits.mul_((targets != ignored)[:, None]).div_(n)
    if cap:
        d_logits.mul_(1 - (logits / cap) ** 2)  # the slope of cap tanh(x / cap)
    if d_b is not None:
        d_b += d_logits.sum(0)
    d_logits = d_logits.to(W.dtype)
    if d_x is not None:
        d_x[part] = d_logits @ W.T
    if d_W is not None and W.dtype == d_W.dtype:
        d_W.addmm_(x[part].T, d_logits)
    elif d_W is not None:
        d_W += x[part].to(W.dtype).T @ d_logits


def _less_one(probs: Tensor, targets: Tensor) -> Tensor:
    """Probabilities [row, vocab], in place, less 1 at each row's target that counts.

    The compiler keeps a scatter apart, and with it the probabilities in memory: compared with every
    id, the target is part of the one pass that also takes the softmax.
    """
    if torch.compiler.is_compiling():
        ids = torch.arange(probs.shape[1], device=probs.device)
        return probs.sub_((ids == targets[:, None]).to(probs.dtype))
    minus_one = torch.full_like(probs[:, :1], -1.0)
    return probs.scatter_add_(1, targets.clamp_min(0)[:, None], minus_one)


def log_partition(total: Tensor, largest: Tensor) -> Tensor:
    """log(sum exp(logits)) of each row, of the sum less its maximum and of the maximum."""
    return total.log().add_(largest)


def target_logit(logits: Tensor, targets: Tensor) -> Tensor:
    """The score [batch, pos] of each target; of a target that does not count, of id 0."""
    return logits.gather(-1, targets.clamp_min(0)[..., None])[..., 0]


def token_loss(log_partition: Tensor, target_logit: Tensor, targets: Tensor) -> Tensor:
    """The surprise [batch, pos] at each target, in nats; 0 where it does not count."""
    return (log_partition - target_logit).masked_fill_(targets < 0, 0.0)


def mean_loss(token_loss: Tensor, targets: Tensor) -> Tensor:
    """The mean surprise at the targets that count."""
    return token_loss.sum().div_((targets >= 0).sum())


def softmax(logits: Tensor) -> Tensor:
    """Scores [..., vocab] as probabilities that sum to 1."""
    return torch.softmax(logits, -1)
