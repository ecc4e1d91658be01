"""Compiling the model's pass, with a cache of its own, so that the second run starts warm."""

from __future__ import annotations

import os

import torch

from glassformer.files import cache_folder
from glassformer.training.step import LossFunction

CACHE = "TORCHINDUCTOR_CACHE_DIR"


def compiled(loss: LossFunction) -> LossFunction:
    """`torch.compile` for batches of one shape; it happens at the first call, and may fail there.

    What was compiled is kept in the cache folder unless TORCHINDUCTOR_CACHE_DIR names another
    place: the first time takes 15 to 30 seconds, later runs of the same sizes about 5.
    """
    if CACHE not in os.environ:  # a cache folder need not exist where another place is named
        os.environ[CACHE] = str(cache_folder() / "inductor")
    return torch.compile(loss, dynamic=False)
