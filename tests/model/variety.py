"""Small models of every kind: one list that covers each choice, and a strategy that mixes them."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import strategies as st
from torch import Tensor

from glassformer import ops
from glassformer.model import Config, Decoder, Encoder

SMALL = {"vocab_size": 11, "n_ctx": 7, "d_model": 6, "n_layers": 2, "n_heads": 3, "d_mlp": 8}

# Each is far from the one before; together they take every choice of every field.
VARIETY: dict[str, dict[str, Any]] = {
    "gpt2": {},
    "no norms": {"norm_position": "none", "final_norm": False, "activation": "relu"},
    "post-norm": {"norm_position": "post", "activation": "gelu", "tied": False},
    "bare norms": {"norm_gain": False, "norm_bias": False, "activation": "silu"},
    "gain only": {
        "norm_bias": False,
        "norm_position": "post",
        "final_norm": False,
        "activation": "sigmoid",
    },
    "bias only": {
        "norm_gain": False,
        "activation": "relu",
        "head_bias": True,
        "position": "sinusoidal",
        "sinusoid_halves": True,
    },
    "sinusoidal": {
        "position": "sinusoidal",
        "tied": False,
        "head_bias": True,
        "activation": "tanh",
    },
    "no positions": {"position": "none", "attn_bias": False, "activation": "gelu"},
    "rotary": {"position": "rotary", "d_head": 4, "qk_norm": True, "activation": "relu"},
    "rotary alone": {"position": "rotary", "d_head": 2, "rotary_base": 50.0, "tied": False},
    "no biases": {"attn_bias": False, "mlp_bias": False, "norm_bias": False, "tied": False},
    "wide heads": {"d_head": 5, "n_heads": 2, "mlp_bias": False, "activation": "silu"},
    "rms": {"norm": "rms", "norm_bias": False, "activation": "relu_squared", "tied": False},
    "fast": {
        "position": "rotary",
        "d_head": 2,
        "norm": "rms",
        "embed_norm": True,
        "norm_gain": False,
        "norm_bias": False,
        "attn_bias": False,
        "mlp_bias": False,
        "activation": "relu_squared",
        "tied": False,
        "zero_init": True,
    },
    "like llama": {
        "position": "rotary",
        "n_heads": 4,
        "n_kv_heads": 2,
        "d_head": 4,
        "gated": True,
        "norm": "rms",
        "norm_bias": False,
        "attn_bias_on": "qkv",
        "mlp_bias": False,
        "activation": "silu",
        "tied": False,
        "rotary_base": 30.0,
        "windows": [3, 0],
        "rotary_scaling": {"kind": "llama3", "factor": 4.0, "high": 2.0, "original_n_ctx": 8},
    },
    "like gemma": {
        "position": "rotary",
        "n_heads": 2,
        "n_kv_heads": 1,
        "d_head": 4,
        "gated": True,
        "norm": "rms",
        "norm_bias": False,
        "norm_position": "both",
        "norm_gain_from_one": True,
        "embed_scale": 2.4,
        "attn_scale": 0.3,
        "score_cap": 3.0,
        "logit_cap": 2.0,
        "qk_norm": True,
        "qk_norm_gain": True,
        "windows": [3, 0],
        "local_rotary_base": 9.0,
    },
    "like olmo": {
        "position": "rotary",
        "d_head": 4,
        "rotary_layers": [True, False],
        "norm": "rms",
        "norm_bias": False,
        "norm_position": "branch",
        "gated": True,
        "qk_norm": True,
        "qk_norm_gain": True,
        "qk_norm_wide": True,
        "branch_scale": 0.6,
    },
    "like neox": {
        "position": "rotary",
        "d_head": 5,
        "rotary_dims": 2,
        "parallel": True,
        "qk_norm": True,
        "qk_norm_last": True,
        "attn_bias_on": "o",
        "logit_scale": 0.7,
    },
    "like apertus": {
        "position": "rotary",
        "d_head": 2,
        "norm": "rms",
        "norm_bias": False,
        "qk_norm": True,
        "qk_norm_gain": True,
        "activation": "xielu",
        "mlp_bias": False,
    },
    "like bloom": {
        "position": "alibi",
        "embed_norm": True,
        "parallel": True,
        "shared_norm": True,
    },
    "like phi3": {
        "position": "rotary",
        "d_head": 6,
        "rotary_dims": 4,
        "norm": "rms",
        "norm_bias": False,
        "rotary_scaling": {
            "kind": "longrope",
            "original_n_ctx": 4,
            "amplitude": 1.2,
            "short": [1.0, 1.25],
            "long": [1.75, 5.0],
        },
    },
    "like falcon-rw": {"position": "alibi", "alibi_bf16": True, "n_ctx": 9},
    "like mixtral": {
        "position": "rotary",
        "d_head": 2,
        "norm": "rms",
        "norm_bias": False,
        "gated": True,
        "mlp_bias": False,
        "activation": "silu",
        "n_experts": 4,
        "experts_per_token": 2,
        "expert_share": True,
    },
    "like gpt-oss": {
        "position": "rotary",
        "d_head": 2,
        "norm": "rms",
        "norm_bias": False,
        "windows": [3, 0],
        "attn_sinks": True,
        "gated": True,
        "activation": "silu",
        "n_experts": 5,
        "experts_per_token": 3,
        "expert_layers": [False, True],
        "d_expert": 5,
        "router_bias": True,
        "gate_limit": 0.7,
        "gate_slope": 1.7,
    },
    "adapted": {
        "n_heads": 2,
        "n_kv_heads": 1,
        "gated": True,
        "lora": {
            "rank": 2,
            "alpha": 3.0,
            "on": ["W_Q", "W_K", "W_V", "W_O", "W_gate", "W_in", "W_out"],
        },
    },
    "adapted in part": {"lora": {"rank": 1, "alpha": 0.5, "on": ["W_Q", "W_V", "W_out"]}},
    "normed embedding": {"embed_norm": True, "norm_position": "post", "zero_init": True},
    "smallest": {"vocab_size": 1, "n_ctx": 1, "d_model": 1, "n_layers": 1, "n_heads": 1},
    "one head": {"n_heads": 1, "n_layers": 1, "norm_position": "none", "final_norm": True},
}

ENCODERS: dict[str, dict[str, Any]] = {
    "plain encoder": {"causal": False, "n_kv_heads": 1, "score_cap": 2.0, "attn_sinks": True},
    "like bert": {
        "causal": False,
        "norm_position": "post",
        "embed_norm": True,
        "final_norm": False,
        "token_types": 2,
        "masked_head": True,
        "head_bias": True,
        "activation": "gelu",
    },
    "like modernbert": {
        "causal": False,
        "position": "rotary",
        "d_head": 4,
        "windows": [0, 2],
        "local_rotary_base": 9.0,
        "embed_norm": True,
        "first_norm": False,
        "norm_bias": False,
        "attn_bias": False,
        "mlp_bias": False,
        "masked_head": True,
        "head_bias": True,
        "gated": True,
        "activation": "gelu",
        "tied": False,
    },
}
EVERY = {**VARIETY, **ENCODERS}


def config_of(name: str) -> Config:
    return Config.from_dict({**SMALL, **EVERY[name]})


def configs() -> st.SearchStrategy[Config]:
    """Any small configuration without dropout."""
    flags = ("norm_gain", "embed_norm", "final_norm", "attn_bias", "mlp_bias", "head_bias", "tied")
    norms = [("layer", True), ("layer", False), ("rms", False)]
    return st.builds(
        lambda norm, **choices: Config(norm=norm[0], norm_bias=norm[1], **choices),
        norm=st.sampled_from(norms),
        vocab_size=st.integers(2, 9),
        n_ctx=st.just(6),
        d_model=st.sampled_from([2, 4, 6]),
        n_layers=st.integers(1, 2),
        n_heads=st.integers(1, 2),
        d_head=st.sampled_from([1, 3, 0]),
        d_mlp=st.integers(1, 7),
        position=st.sampled_from(["learned", "sinusoidal", "none"]),
        qk_norm=st.booleans(),
        norm_position=st.sampled_from(["pre", "post", "none"]),
        activation=st.sampled_from([*ops.ACTIVATIONS]),
        **{flag: st.booleans() for flag in flags},
    )


def random_model(config: Config, seed: int, dtype: torch.dtype = torch.float64) -> Any:
    """A model whose every weight, biases and gains too, is a random number of unit size."""
    model = kind_of(config)(config).to(dtype).eval()
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            fan_in = parameter.shape[0] if parameter.ndim == 2 else 1
            noise = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
            parameter.copy_(noise / fan_in**0.5)
    return model


def kind_of(config: Config) -> type[Decoder] | type[Encoder]:
    return Decoder if config.causal else Encoder


def random_inputs(config: Config, seed: int, ids: Tensor) -> dict[str, Any]:
    """What a model reads beside ids.

    An encoder: the last text padded, and types where it has some. Every third decoder: where the
    documents of a row begin, two in each.
    """
    if config.causal:
        pos = torch.arange(ids.shape[1]).expand_as(ids)
        second = (seed + torch.arange(len(ids)))[:, None] % ids.shape[1]
        begins = torch.where(pos >= second, second, 0)
        return {"begins": begins} if (seed + config.d_model + config.n_layers) % 3 == 0 else {}
    seen = torch.ones_like(ids)
    seen[-1, ids.shape[1] // 3 + 1 :] = 0
    types = random_ids(config, seed + 2, *ids.shape) % max(config.token_types, 1)
    return {"seen": seen, **({"types": types} if config.token_types else {})}


def random_ids(config: Config, seed: int, batch: int = 2, n: int | None = None) -> Tensor:
    """Token ids [batch, pos], some of them repeated."""
    generator = torch.Generator().manual_seed(seed)
    size = (batch, n or config.n_ctx)
    ids = torch.randint(config.vocab_size, size, generator=generator)
    ids[:, -1] = ids[:, 0]
    return ids


def random_targets(config: Config, seed: int, ids: Tensor) -> Tensor:
    """Targets [batch, pos], one of them ignored where there are more."""
    targets = random_ids(config, seed + 1, *ids.shape)
    if targets.numel() > 1:
        targets[-1, 0] = ops.IGNORED
    return targets


def kinds_with_every_op(*begin: str) -> list[str]:
    """Kinds of model that together have every op of all of them, those named first among them."""
    ops_of = {
        name: {
            node.op
            for node in random_model(config_of(name), 0)
            .watch(random_ids(config_of(name), 1, 1, 1))
            .nodes.values()
        }
        for name in VARIETY
    }
    result, known = [*begin], set[str | None]().union(*(ops_of[name] for name in begin))
    for name in sorted(VARIETY, key=lambda name: -len(ops_of[name])):
        if not ops_of[name] <= known:
            result.append(name)
            known |= ops_of[name]
    return result


_FEW = kinds_with_every_op("gpt2")
KINDS = [pytest.param(n, marks=() if n in _FEW else pytest.mark.heavy) for n in VARIETY]
"""Every kind; those that add no op are left to the long tests."""
