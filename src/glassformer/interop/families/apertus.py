"""Apertus (2025): a Llama without a gate, with a norm of queries and keys.

Its own activation, xIELU, is refused; a folder may name another one.
"""

from __future__ import annotations

from typing import Any

from glassformer.interop import rotary
from glassformer.interop.families import _like_llama as usual
from glassformer.interop.family import Family
from glassformer.interop.settings import ACTIVATIONS, Setting

ROTARY = {  # where a folder says nothing of it
    "rope_type": "llama3",
    "rope_theta": 12e6,
    "factor": 8.0,
    "original_max_position_embeddings": 8192,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
}


def _read(settings: dict[str, Any]) -> dict[str, Any]:
    said = any(settings[name] is not None for name in ("rope_parameters", "rope_scaling"))
    return rotary.read(settings if said else {**settings, "rope_parameters": ROTARY}, 12e6)


FAMILY = Family(
    model_type="apertus",
    title="Apertus",
    architecture="ApertusForCausalLM",
    settings=(
        *usual.settings(
            vocab_size=131072, n_ctx=65536, d_mlp=14336, norm_eps=1e-5, d_head=None, activation=None
        ),
        Setting("hidden_act", "activation", "xielu", values=ACTIVATIONS),
        Setting("attention_bias", "attn_bias", False),
    ),
    choices={**usual.CHOICES, "gated": False, "qk_norm": True, "qk_norm_gain": True},
    more=_read,
    more_settings=rotary.SETTINGS,
    write_more=rotary.write,
    ignored=usual.IGNORED,
    always=(("norm_gain", True, (False,)), ("qk_norm_gain", True, (False,))),
    layers=usual.LAYERS,
    embeddings=usual.EMBEDDINGS,
    block={
        "ln1": "attention_layernorm",
        **usual.ATTENTION,
        "ln2": "feedforward_layernorm",
        "mlp.in": "mlp.up_proj",
        "mlp.out": "mlp.down_proj",
    },
    end=usual.END,
    activation="mlp.act_fn",
)
