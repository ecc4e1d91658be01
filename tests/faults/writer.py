"""Saves checkpoint after checkpoint until it is killed."""

import itertools
from collections.abc import Callable
from pathlib import Path

import torch

from glassformer.model import Config
from glassformer.training.checkpoint import Checkpoint, prune_checkpoints, save_checkpoint
from glassformer.training.recipe import Recipe

MODEL = Config(vocab_size=2, n_ctx=2, d_model=2, n_layers=1, n_heads=1).to_dict()
NOTHING = {"model": MODEL, "recipe": Recipe().to_dict(), "data": {}}
BEGUN = {"seconds": 0.0, "best": [float("inf"), 0, 0], "identity": NOTHING}


def contents(step: int) -> Checkpoint:
    """Tensors whose every number says the step."""
    filled = {name: torch.full((300, 100), float(step)) for name in ("a", "b", "c")}
    return Checkpoint({"model": filled, "optimizer": dict(filled)}, {"note": step, **BEGUN})


def write_on(folder: Path, first: int, announce: Callable[[int], object]) -> None:
    """Save checkpoints without an end, from step `first` on, and announce each that is saved."""
    for step in itertools.count(first):
        save_checkpoint(folder, step, contents(step))
        announce(step)
        prune_checkpoints(folder, keep=2)
