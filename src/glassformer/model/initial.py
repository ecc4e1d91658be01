"""The weights that a new model starts with."""

from __future__ import annotations

import math

import torch
from torch import nn

from glassformer.model.adapter import draw_adapter
from glassformer.model.config import Config

CONSTANTS = {
    "alpha_p": math.log(math.expm1(0.8)),
    "alpha_n": math.log(math.expm1(0.3)),
}
"""What starts at one number; xIELU with strengths of 0.8 on both sides (`transformers`)."""


def draw_weights(
    model: nn.Module, config: Config, generator: torch.Generator | None = None
) -> None:
    """Normal weights, zero biases, unit gains; what is added to the stream starts smaller.

    Sources: Radford et al. 2019, section 2.3: residual projections are scaled by
    1/sqrt(2 n_layers); Zhang et al. 2019 (Fixup), section 3: they start at zero.
    """
    for name, parameter in model.named_parameters():
        if parameter.is_meta:
            return  # shapes only: there is nothing to fill, and drawing nothing is slow
        last = name.rpartition(".")[2]
        if last == "w":
            nn.init.constant_(parameter, 0.0 if config.norm_gain_from_one else 1.0)
            continue
        if last in CONSTANTS:
            nn.init.constant_(parameter, CONSTANTS[last])
            continue
        if ".lora_" in name:
            draw_adapter(parameter, last, generator)
            continue
        spread = deviation(name, config)
        if spread == 0:
            nn.init.zeros_(parameter)
        else:
            nn.init.normal_(parameter, std=spread, generator=generator)


def deviation(name: str, config: Config) -> float:
    """The standard deviation of a weight's first numbers; 0 where all are alike.

    >>> deviation("embed.W_E", Config(vocab_size=9, n_ctx=8, d_model=4, n_layers=2, n_heads=1))
    0.02
    """
    last = name.rpartition(".")[2]
    into_stream = last in ("W_O", "W_out")
    if last == "w" or last.startswith("b") or last in CONSTANTS:
        return 0.0
    if config.zero_init and (into_stream or last == "W_U"):
        return 0.0
    return config.init_std / math.sqrt(2 * config.n_layers) if into_stream else config.init_std
