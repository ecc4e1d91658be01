"""Small encoder-decoders of every kind, with random weights, sources and targets."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from glassformer import ops
from glassformer.model import Config, EncoderDecoder, TowersConfig

SMALL = {"vocab_size": 11, "n_ctx": 7, "d_model": 6, "n_layers": 2, "n_heads": 3, "d_mlp": 8}
PAD = 10

# what both towers have, what each has of its own, and what they share
TOWERS: dict[str, dict[str, dict[str, Any]]] = {
    "like the paper": {
        "both": {
            "position": "sinusoidal",
            "norm_position": "post",
            "final_norm": False,
            "activation": "relu",
            "embed_scale": 6**0.5,
        },
    },
    "like marian": {
        "both": {
            "position": "sinusoidal",
            "sinusoid_halves": True,
            "norm_position": "post",
            "final_norm": False,
            "activation": "silu",
            "head_bias": True,
        },
        "encoder": {"n_layers": 1},
    },
    "like t5": {
        "both": {
            "position": "relative",
            "relative_buckets": 6,
            "relative_distance": 4,
            "attn_scale": 1.0,
            "norm": "rms",
            "norm_bias": False,
            "attn_bias": False,
            "mlp_bias": False,
            "activation": "relu",
        },
        "encoder": {"n_layers": 1},
        "decoder": {"logit_scale": 6**-0.5},
    },
    "apart": {
        "both": {"norm_bias": False, "attn_bias": False},
        "encoder": {"d_model": 4, "n_heads": 2, "d_head": 3, "vocab_size": 13},
        "decoder": {"n_heads": 4, "n_kv_heads": 2, "d_head": 4, "tied": False, "gated": True},
        "shared": {"shared_embeddings": False},
    },
    "norms on both sides": {
        "both": {"norm_position": "both", "embed_norm": True, "attn_bias_on": "qkv"},
        "decoder": {"attn_scale": 0.4},
    },
}


def towers_of(name: str) -> TowersConfig:
    parts = {"both": {}, "encoder": {}, "decoder": {}, "shared": {}, **TOWERS[name]}
    encoder = {**SMALL, **parts["both"], **parts["encoder"], "causal": False}
    decoder = {**SMALL, **parts["both"], **parts["decoder"]}
    return TowersConfig(
        encoder=Config.from_dict(encoder),
        decoder=Config.from_dict(decoder),
        pad_id=PAD,
        start_id=PAD,
        **parts["shared"],
    )


def random_towers(name: str, seed: int = 0, dtype: torch.dtype = torch.float64) -> EncoderDecoder:
    """A model whose every weight, biases and gains too, is a random number of unit size."""
    return random_weights(towers_of(name), seed, dtype)


def random_weights(
    config: TowersConfig, seed: int = 0, dtype: torch.dtype = torch.float64
) -> EncoderDecoder:
    model = EncoderDecoder(config).to(dtype).eval()
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator, dtype=torch.float64))
    return model


def random_pair(seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    """Ids [2, 4], targets of them, and sources [2, 5], the second one two tokens shorter."""
    generator = torch.Generator().manual_seed(seed)
    ids = torch.randint(0, PAD, (2, 5), generator=generator)
    ids[:, 0] = PAD
    targets = ids[:, 1:].clone()
    targets[1, -1] = ops.IGNORED
    source = torch.randint(0, PAD, (2, 5), generator=generator)
    source[1, 3:] = PAD
    return ids[:, :-1], targets, source
