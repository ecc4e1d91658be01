"""Compiling the model's pass, with a cache of its own, so that the second run starts warm."""

from __future__ import annotations

import os
from pathlib import Path

import torch

from glassformer.training.step import LossFunction

CACHE = "TORCHINDUCTOR_CACHE_DIR"


def compiled(loss: LossFunction) -> LossFunction:
    """`torch.compile` for batches of one shape; it happens at the first call, and may fail there.

    What was compiled is kept in `cache_folder()` unless TORCHINDUCTOR_CACHE_DIR names another
    place: the first time takes 15 to 30 seconds, later runs of the same sizes about 5.
    """
    os.environ.setdefault(CACHE, str(cache_folder()))
    return torch.compile(loss, dynamic=False)


def cache_folder() -> Path:
    """Where compiled code is kept: not in the system's temporary folder, which is emptied."""
    caches = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(caches) / "glassformer" / "inductor"
