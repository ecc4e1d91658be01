"""A preset becomes a model."""

from __future__ import annotations

from typing import Any

import torch

from glassformer.model.kinds import config_from, kind_of
from glassformer.model.preset_files import load_preset


def build_preset(name: str, dtype: torch.dtype = torch.float32) -> Any:
    """The model of `model/presets/NAME.toml`, with its own weights or new ones from seed 0.

    PyTorch's own random state is neither read nor changed.

    >>> build_preset("worked_example").weights()["embed.W_E"].shape
    torch.Size([6, 4])
    """
    preset = load_preset(name)
    config = config_from(preset["model"])
    model = kind_of(config)(config, torch.Generator().manual_seed(0))
    model.to(dtype)
    if "weights" in preset:
        model.load_views(preset["weights"])
    return model
