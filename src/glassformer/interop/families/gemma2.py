"""Gemma 2 (Gemma Team 2024): norms before and on each branch, windows, caps."""

from typing import Any

from glassformer.interop import rotary
from glassformer.interop.families import _like_llama as usual
from glassformer.interop.families import gemma
from glassformer.interop.settings import Setting, positive
from glassformer.model import Config

BLOCK = {
    "ln1": "input_layernorm",
    "ln1_post": "post_attention_layernorm",
    "ln2": "pre_feedforward_layernorm",
    "ln2_post": "post_feedforward_layernorm",
    **usual.ATTENTION,
    **usual.MLP,
}
SETTINGS = (
    *usual.settings(
        vocab_size=256000,
        n_ctx=8192,
        d_model=2304,
        d_mlp=9216,
        n_layers=26,
        n_heads=8,
        n_kv_heads=4,
        d_head=256,
        activation=None,
        tied=True,
    ),
    usual.activation("hidden_activation", "gelu_pytorch_tanh"),
    Setting("attention_bias", "attn_bias", False),
    Setting("final_logit_softcapping", "logit_cap", 30.0, null=0.0),
    Setting("attn_logit_softcapping", "score_cap", 50.0, null=0.0),
)
WINDOWS: dict[str, Any] = {
    "layer_types": None,
    "sliding_window": 4096,
    "query_pre_attn_scalar": 256,
}
FIXED = {"use_bidirectional_attention": (None, False), "hidden_act": ("gelu_pytorch_tanh", None)}


def scale(settings: dict[str, Any]) -> dict[str, Any]:
    """Of embeddings and of scores."""
    scalar = positive("query_pre_attn_scalar", settings["query_pre_attn_scalar"])
    usual_scale = scalar == settings["head_dim"]
    return {
        "embed_scale": settings["hidden_size"] ** 0.5,
        "attn_scale": 0.0 if usual_scale else scalar**-0.5,
    }


def write_scale(config: Config) -> dict[str, Any]:
    scalar = round(config.attn_scale**-2) if config.attn_scale else config.d_head
    return {"query_pre_attn_scalar": scalar}


def _more(settings: dict[str, Any]) -> dict[str, Any]:
    layers = [i % 2 == 0 for i in range(settings["num_hidden_layers"])]
    windows = usual.read_windows(settings, layers)
    return {**rotary.read(settings), **scale(settings), **windows}


FAMILY = usual.family(
    model_type="gemma2",
    title="Gemma 2",
    architecture="Gemma2ForCausalLM",
    settings=SETTINGS,
    choices={**gemma.CHOICES, "norm_position": "both"},
    more=_more,
    more_settings={**rotary.SETTINGS, **WINDOWS},
    write_more=lambda config: {
        **rotary.write(config),
        **usual.write_windows(config),
        **write_scale(config),
    },
    fixed=FIXED,
    ignored=f"{usual.IGNORED} cache_implementation",
    block=BLOCK,
)
