"""A preset becomes a model."""

from __future__ import annotations

import torch

from glassformer.model.config import Config, load_preset
from glassformer.model.decoder import Decoder


def build_preset(name: str, dtype: torch.dtype = torch.float32) -> Decoder:
    """The model of `model/presets/NAME.toml`, with its own weights or new ones from seed 0.

    PyTorch's own random state is neither read nor changed.

    >>> build_preset("worked_example").weights()["embed.W_E"].shape
    torch.Size([6, 4])
    """
    preset = load_preset(name)
    model = Decoder(Config.from_dict(preset["model"]), torch.Generator().manual_seed(0))
    model.to(dtype)
    if "weights" in preset:
        model.load_views(preset["weights"])
    return model
