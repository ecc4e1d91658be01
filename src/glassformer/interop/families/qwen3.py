"""Qwen3 (Yang et al. 2025): queries and keys have a norm with a gain; no biases."""

from glassformer.interop import rotary
from glassformer.interop.families import _like_llama as usual
from glassformer.interop.families.qwen2 import WINDOWS, read_more, write_more
from glassformer.interop.settings import Setting

FAMILY = usual.family(
    model_type="qwen3",
    title="Qwen3",
    architecture="Qwen3ForCausalLM",
    lens=True,
    settings=(
        *usual.settings(vocab_size=151936, n_ctx=32768, d_mlp=22016, n_kv_heads=32, d_head=128),
        Setting("attention_bias", "attn_bias", False),
    ),
    choices={**usual.CHOICES, "qk_norm": True, "qk_norm_gain": True},
    more=read_more,
    more_settings={**rotary.SETTINGS, **WINDOWS},
    write_more=write_more,
    always=usual.QK_ALWAYS,
)
