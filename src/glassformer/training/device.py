"""Where the numbers are computed, and in which precision."""

from __future__ import annotations

import contextlib
from contextlib import AbstractContextManager

import torch

from glassformer.errors import GlassformerError, did_you_mean

DEVICES = ("auto", "cuda", "mps", "cpu")


def choose_device(name: str = "auto") -> torch.device:
    """The device of that name; auto takes CUDA, then MPS (Apple), then the CPU."""
    present = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if name == "auto":
        return torch.device(next((kind for kind, there in present.items() if there), "cpu"))
    if name.partition(":")[0] not in DEVICES:
        raise GlassformerError(
            f"device {name!r} is none of {', '.join(DEVICES)}.{did_you_mean(name, DEVICES)}"
        )
    if not present.get(name.partition(":")[0], True):
        raise GlassformerError(
            f"torch {torch.__version__} finds no {name} device on this machine; use --device auto"
        )
    return torch.device(name)


def autocast(device: torch.device, dtype: str) -> AbstractContextManager[object]:
    """bf16: matrix products in bfloat16, the rest and all weights in fp32; fp32: nothing."""
    if dtype == "bf16":
        return torch.autocast(device.type, torch.bfloat16)
    return contextlib.nullcontext()
