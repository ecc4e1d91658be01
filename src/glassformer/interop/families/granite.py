"""Granite (IBM 2024): a Llama with constant factors of embeddings, scores, branches and logits."""

from typing import Any

from glassformer.interop import rotary
from glassformer.interop.families import _like_llama as usual
from glassformer.interop.settings import Setting, positive
from glassformer.model import Config


def _more(settings: dict[str, Any]) -> dict[str, Any]:
    return {
        **rotary.read(settings),
        "logit_scale": 1 / positive("logits_scaling", settings["logits_scaling"]),
    }


def _write_more(config: Config) -> dict[str, Any]:
    return {
        **rotary.write(config),
        "attention_multiplier": config.attn_scale or config.d_head**-0.5,
        "logits_scaling": 1 / config.logit_scale,
    }


FAMILY = usual.family(
    model_type="granite",
    title="Granite",
    architecture="GraniteForCausalLM",
    lens=True,
    settings=(
        *usual.settings(),
        Setting("attention_bias", "attn_bias", False),
        Setting("mlp_bias", "mlp_bias", False),
        Setting("embedding_multiplier", "embed_scale", 1.0),
        Setting("residual_multiplier", "branch_scale", 1.0),
        Setting("attention_multiplier", "attn_scale", 1.0),
    ),
    more=_more,
    more_settings={**rotary.SETTINGS, "logits_scaling": 1.0},
    write_more=_write_more,
)
