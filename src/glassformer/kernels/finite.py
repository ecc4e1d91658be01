"""Scores and losses that are no numbers: refused in words where something is to be made of them."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from glassformer.errors import GlassformerError


def refuse_no_numbers(scores: Tensor) -> None:
    """Raise for scores [..., vocab] that predict nothing: NaN, all minus infinity, or infinite.

    A score of minus infinity among others is a probability of 0.

    >>> refuse_no_numbers(torch.tensor([float("-inf"), 0.0]))
    """
    for highest in scores.detach().amax(-1).flatten().tolist():
        if not math.isfinite(highest):
            raise GlassformerError(
                f"the scores of the next token are no numbers ({highest}), so there is no"
                f" prediction; {why(scores.dtype)}"
            )


def refuse_no_loss(loss: float, dtype: torch.dtype) -> None:
    """Raise for a loss that is NaN or infinite; `dtype` is what the model computes in."""
    if not math.isfinite(loss):
        raise GlassformerError(f"the loss is no number ({loss}); {why(dtype)}")


def why(dtype: torch.dtype) -> str:
    """The likely cause where numbers of this dtype are not finite, and what to do."""
    if dtype in (torch.float16, torch.bfloat16):
        name = str(dtype).removeprefix("torch.")
        return (
            f"the model computes in {name}, which ends at {torch.finfo(dtype).max:,.6g}: open a"
            " copy in float32, gf.save(*gf.load(FOLDER, dtype=torch.float32), NEW)"
        )
    return "a weight or an edit is too large, and `glassformer trace` shows where it begins"
