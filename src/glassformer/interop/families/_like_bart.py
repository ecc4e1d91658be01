"""What the families after BART share: post-norm towers, and their names of settings and tensors."""

from __future__ import annotations

import math
from typing import Any

from glassformer.errors import GlassformerError
from glassformer.interop.settings import ACTIVATIONS, Setting
from glassformer.model import TowersConfig

CHOICES: dict[str, Any] = {
    "both.norm_position": "post",
    "both.final_norm": False,
    "decoder.head_bias": True,
}
ALWAYS = (
    ("both.norm_gain", True, (False,)),
    ("both.norm_bias", True, (False,)),
    ("both.attn_bias", True, (False,)),
    ("both.mlp_bias", True, (False,)),
    ("decoder.head_bias", True, (False,)),
)
MORE_SETTINGS = {"scale_embedding": False}
FIXED = {"is_encoder_decoder": (True,), "is_decoder": (False,)}
IGNORED = (
    "activation_dropout attention_dropout classif_dropout classifier_dropout decoder_layerdrop"
    " encoder_layerdrop init_std num_hidden_layers add_final_layer_norm normalize_before"
    " normalize_embedding static_position_embeddings add_bias_logits"
    " force_bos_token_to_be_generated"
)
BLOCK = {
    "attn.Q": "self_attn.q_proj",
    "attn.K": "self_attn.k_proj",
    "attn.V": "self_attn.v_proj",
    "attn.O": "self_attn.out_proj",
    "ln1": "self_attn_layer_norm",
    "mlp.in": "fc1",
    "mlp.out": "fc2",
    "ln2": "final_layer_norm",
}
CROSS = {
    "cross_attn.Q": "encoder_attn.q_proj",
    "cross_attn.K": "encoder_attn.k_proj",
    "cross_attn.V": "encoder_attn.v_proj",
    "cross_attn.O": "encoder_attn.out_proj",
    "ln_cross": "encoder_attn_layer_norm",
}


def settings(vocab_size: int, pad: int, start: int) -> tuple[Setting, ...]:
    """The settings by BART's names, with the defaults that differ."""
    towers = (
        setting
        for tower in ("encoder", "decoder")
        for setting in (
            Setting(f"{tower}_layers", f"{tower}.n_layers", 12),
            Setting(f"{tower}_attention_heads", f"{tower}.n_heads", 16),
            Setting(f"{tower}_ffn_dim", f"{tower}.d_mlp", 4096),
        )
    )
    return (
        Setting("vocab_size", "encoder.vocab_size", vocab_size),
        Setting("max_position_embeddings", "both.n_ctx", 1024),
        Setting("d_model", "both.d_model", 1024),
        *towers,
        Setting("activation_function", "both.activation", "gelu", values=ACTIVATIONS),
        Setting("dropout", "both.dropout", 0.1),
        Setting("tie_word_embeddings", "decoder.tied", True),
        Setting("pad_token_id", "pad_id", pad),
        Setting("decoder_start_token_id", "start_id", start),
    )


def scaled(settings: dict[str, Any]) -> dict[str, Any]:
    """The factor of embeddings."""
    scaled = settings["scale_embedding"]
    if not isinstance(scaled, bool):
        raise GlassformerError(f"scale_embedding={scaled!r} must be true or false")
    scale = math.sqrt(settings["d_model"]) if scaled else 1.0
    return {"both.embed_scale": scale}


def write_scaled(config: TowersConfig) -> dict[str, Any]:
    return {"scale_embedding": config.decoder.embed_scale != 1}
