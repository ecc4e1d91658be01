"""Where the numbers are computed, and in which precision."""

from __future__ import annotations

import contextlib
from contextlib import AbstractContextManager

import torch
from torch import Tensor

from glassformer.errors import GlassformerError, did_you_mean
from glassformer.model.kinds import AnyModel

DEVICES = ("auto", "cuda", "mps", "cpu")


def choose_device(name: str = "auto") -> torch.device:
    """The device of that name; auto takes CUDA, then MPS (Apple), then the CPU."""
    present = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if name == "auto":
        return torch.device(next((kind for kind, usable in present.items() if usable), "cpu"))
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


def sent(tensor: Tensor, device: torch.device) -> Tensor:
    """The tensor on a device.

    A GPU reads it from pinned memory when it comes to it: from any other, the processor would wait
    for all that the GPU was asked for before.
    """
    if device.type == "cuda" and tensor.device.type == "cpu":
        tensor = tensor.pin_memory()
    return tensor.to(device, non_blocking=True)


def widen(model: AnyModel) -> None:
    """Make weights stored in half precision float32, in place; others stay as they are.

    An update is a thousandth of its weight, and bfloat16 has three digits: it would be rounded
    away. Source: Micikevicius et al. 2018, "Mixed Precision Training", section 3.1.
    """
    if next(model.parameters()).dtype in (torch.float16, torch.bfloat16):
        model.float()


def precision(model: AnyModel, dtype: str) -> str:
    """In which precision a model is going to be trained, and how its weights were stored.

    >>> from glassformer.model import Config, Decoder
    >>> model = Decoder(Config(vocab_size=4, n_ctx=8, d_model=6, n_layers=1, n_heads=2))
    >>> precision(model, "bf16")
    'weights in float32, products in bfloat16'
    >>> precision(model.half(), "fp32")
    'weights and products in float32, saved in float32; they were stored in float16'
    """
    stored = next(model.parameters()).dtype
    kept = torch.float32 if stored in (torch.float16, torch.bfloat16) else stored
    weights, was = (str(t).removeprefix("torch.") for t in (kept, stored))
    how = (
        f"weights in {weights}, products in bfloat16"
        if dtype == "bf16"
        else f"weights and products in {weights}"
    )
    return how if stored == kept else f"{how}, saved in {weights}; they were stored in {was}"
