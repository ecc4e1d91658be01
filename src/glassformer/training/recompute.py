"""Activation checkpointing: time for memory, block by block."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from glassformer.model.block import Block
from glassformer.ops import Tape
from glassformer.trace import SILENT


def recompute_blocks(model: nn.Module) -> None:
    """Keep of each block, for the backward pass, what enters it; the rest is computed again there.

    The numbers are the same. A watched pass, and one without gradients, go on as before.
    Source: Chen et al. 2016, "Training Deep Nets with Sublinear Memory Cost".
    """
    for block in model.modules():
        if isinstance(block, Block) and "forward" not in vars(block):
            # a partial of a bound method: a copy of the model gets its own
            vars(block)["forward"] = partial(_recomputing, block.forward)


def _recomputing(
    forward: Callable[..., Tensor], x: Tensor, tape: Tape, *rest: Any, **named: Any
) -> Tensor:
    if tape is SILENT and torch.is_grad_enabled():
        return cast("Tensor", checkpoint(forward, x, tape, *rest, use_reentrant=False, **named))
    return forward(x, tape, *rest, **named)
