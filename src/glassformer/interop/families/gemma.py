"""Gemma (Gemma Team 2024): gains stored less 1, embeddings times sqrt(d_model), wide heads."""

from typing import Any

from glassformer.interop import rotary
from glassformer.interop.families import _like_llama as usual
from glassformer.interop.settings import Setting

CHOICES = {**usual.CHOICES, "norm_gain_from_one": True}


def read_more(settings: dict[str, Any]) -> dict[str, Any]:
    return {**rotary.read(settings), "embed_scale": settings["hidden_size"] ** 0.5}


FAMILY = usual.family(
    model_type="gemma",
    title="Gemma",
    architecture="GemmaForCausalLM",
    settings=(
        *usual.settings(
            vocab_size=256000,
            n_ctx=8192,
            d_model=3072,
            d_mlp=24576,
            n_layers=28,
            n_heads=16,
            n_kv_heads=16,
            d_head=256,
            activation="gelu_pytorch_tanh",
            tied=True,
        ),
        Setting("attention_bias", "attn_bias", False),
    ),
    choices=CHOICES,
    more=read_more,
    fixed={"use_bidirectional_attention": (None, False), "hidden_activation": (None,)},
    buffers=usual.BUFFERS,
)
