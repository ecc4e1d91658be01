"""Small models with something to say: random weights, large enough that probabilities differ."""

from __future__ import annotations

import random

import torch

from glassformer.model import Config, Decoder


def speaking(config: Config, seed: int = 0, gain: float = 8.0) -> Decoder:
    """A model in float64 whose matrices are `gain` times their usual random start."""
    torch.manual_seed(seed)
    model = Decoder(config)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.mul_(gain)
    return model.double().eval()


def various(seed: int) -> Decoder:
    """One of many kinds of models, by its seed."""
    pick = random.Random(seed)
    config = Config(
        vocab_size=pick.choice([5, 40, 300]),
        n_ctx=pick.choice([12, 24]),
        d_model=pick.choice([8, 24]),
        n_layers=pick.choice([1, 2, 3]),
        n_heads=pick.choice([1, 2, 4]),
        position=pick.choice(["learned", "sinusoidal", "none"]),
        norm_position=pick.choice(["pre", "post"]),
        activation=pick.choice(["relu", "gelu", "gelu_tanh", "silu"]),
        tied=pick.random() < 0.5,
        head_bias=pick.random() < 0.5,
    )
    return speaking(config, seed, gain=pick.choice([2.0, 5.0, 10.0]))


TINY = Config(vocab_size=40, n_ctx=16, d_model=16, n_layers=2, n_heads=2)
