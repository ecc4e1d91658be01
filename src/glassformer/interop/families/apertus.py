"""Apertus (2025): a Llama without a gate, with a norm of queries and keys, and xIELU neurons."""

from __future__ import annotations

from typing import Any

from glassformer.interop import rotary
from glassformer.interop.families import _like_llama as usual
from glassformer.interop.layouts import ONE_NUMBER
from glassformer.interop.settings import ACTIVATIONS, Setting
from glassformer.model import Config
from glassformer.ops.activation import BETA, LEAST

ROTARY = {  # where a folder says nothing of it
    "rope_type": "llama3",
    "rope_theta": 12e6,
    "factor": 8.0,
    "original_max_position_embeddings": 8192,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
}


def _read(settings: dict[str, Any]) -> dict[str, Any]:
    has_rope = any(settings[name] is not None for name in ("rope_parameters", "rope_scaling"))
    return rotary.read(settings if has_rope else {**settings, "rope_parameters": ROTARY}, 12e6)


def _constants(config: Config) -> dict[str, float]:
    if config.activation != "xielu":
        return {}
    return {"mlp.act_fn.beta": BETA, "mlp.act_fn.eps": LEAST}


FAMILY = usual.family(
    model_type="apertus",
    title="Apertus",
    architecture="ApertusForCausalLM",
    lens=True,
    settings=(
        *usual.settings(
            vocab_size=131072, n_ctx=65536, d_mlp=14336, norm_eps=1e-5, d_head=None, activation=None
        ),
        Setting("hidden_act", "activation", "xielu", values={**ACTIVATIONS, "xielu": "xielu"}),
        Setting("attention_bias", "attn_bias", False),
    ),
    choices={**usual.CHOICES, "gated": False, "qk_norm": True, "qk_norm_gain": True},
    more=_read,
    always=usual.QK_ALWAYS,
    block={
        "ln1": "attention_layernorm",
        **usual.ATTENTION,
        "ln2": "feedforward_layernorm",
        "mlp.alpha_p": "mlp.act_fn.alpha_p",
        "mlp.alpha_n": "mlp.act_fn.alpha_n",
        "mlp.in": "mlp.up_proj",
        "mlp.out": "mlp.down_proj",
    },
    suffixes=dict.fromkeys(("mlp.alpha_p", "mlp.alpha_n"), ("", ".bias")),
    layouts=dict.fromkeys(("mlp.alpha_p", "mlp.alpha_n"), lambda _: ONE_NUMBER),
    constants=_constants,
    activation="mlp.act_fn",
)
