"""Falcon (Almazrouei et al. 2023): attention and MLP in parallel, few heads of keys and values."""

from collections.abc import Mapping
from typing import Any

from glassformer.errors import GlassformerError
from glassformer.interop import rotary
from glassformer.interop.family import Family
from glassformer.interop.layouts import by_head
from glassformer.interop.settings import ACTIVATIONS, Setting
from glassformer.model import Config


def _more(settings: dict[str, Any]) -> dict[str, Any]:
    new, parallel = settings["new_decoder_architecture"], settings["parallel_attn"]
    norms, groups = settings["num_ln_in_parallel_attn"], settings["num_kv_heads"]
    if new and not parallel:
        raise GlassformerError("parallel_attn must be true with new_decoder_architecture")
    if norms not in (None, 1, 2) or (norms == 2 and parallel and not new):
        raise GlassformerError(
            f"num_ln_in_parallel_attn={norms!r} must be 1, or 2 with new_decoder_architecture"
        )
    n_heads = settings["num_attention_heads"]
    if not new and settings["multi_query"]:
        groups = 1
    elif not new and groups not in (None, n_heads):
        raise GlassformerError(
            f"num_kv_heads={groups!r} must be num_attention_heads without multi_query and"
            " new_decoder_architecture"
        )
    alibi = settings["alibi"]
    return {
        **({"position": "alibi", "alibi_bf16": True} if alibi else rotary.read(settings)),
        "n_kv_heads": groups or n_heads,
        "parallel": parallel,
        "shared_norm": parallel and not (new and norms in (None, 2)),
        "attn_bias": settings["bias"],
        "mlp_bias": settings["bias"],
    }


def _write_more(config: Config) -> dict[str, Any]:
    two_norms = config.parallel and not config.shared_norm
    new = two_norms or (config.parallel and 1 < config.n_kv_heads < config.n_heads)
    alibi = config.position == "alibi"
    return {
        **({} if alibi else rotary.write(config)),
        "alibi": alibi,
        "num_kv_heads": config.n_kv_heads,
        "multi_query": config.n_kv_heads == 1,
        "new_decoder_architecture": new,
        "num_ln_in_parallel_attn": 2 if two_norms else 1,
        "parallel_attn": config.parallel,
        "bias": config.attn_bias,
    }


def _block(config: Config) -> Mapping[str, str]:
    two = config.parallel and not config.shared_norm
    return {
        "ln1": "ln_attn" if two else "input_layernorm",
        "attn.Q attn.K attn.V": "self_attention.query_key_value",
        "attn.O": "self_attention.dense",
        "ln2": "ln_mlp" if two else "post_attention_layernorm",
        "mlp.in": "mlp.dense_h_to_4h",
        "mlp.out": "mlp.dense_4h_to_h",
    }


FAMILY = Family(
    model_type="falcon",
    title="Falcon",
    architecture="FalconForCausalLM",
    settings=(
        Setting("vocab_size", "vocab_size", 65024),
        Setting("max_position_embeddings", "n_ctx", 2048),
        Setting("hidden_size", "d_model", 4544),
        Setting("num_hidden_layers", "n_layers", 32),
        Setting("num_attention_heads", "n_heads", 71),
        Setting("ffn_hidden_size", "d_mlp", None, null=0),
        Setting("activation", "activation", "gelu", values=ACTIVATIONS),
        Setting("layer_norm_epsilon", "norm_eps", 1e-5),
        Setting("tie_word_embeddings", "tied", True),
        Setting("hidden_dropout", "dropout", 0.0),
    ),
    choices={"position": "rotary"},
    more=_more,
    more_settings={
        **rotary.SETTINGS,
        "alibi": False,
        "num_kv_heads": None,
        "multi_query": True,
        "new_decoder_architecture": False,
        "num_ln_in_parallel_attn": None,
        "parallel_attn": True,
        "bias": False,
    },
    write_more=_write_more,
    fixed={"apply_residual_connection_post_layernorm": (False,)},
    ignored="attention_dropout",
    aliases={
        "n_embed": "hidden_size",
        "n_head": "num_attention_heads",
        "n_layer": "num_hidden_layers",
    },
    always=(("norm_gain", True, (False,)), ("norm_bias", True, (False,))),
    prefix="transformer.",
    layers="h.",
    embeddings={"embed.E": "word_embeddings"},
    block=_block,
    end={"ln_final": "ln_f"},
    layouts={"attn.Q attn.K attn.V": by_head},
    activation="mlp.act",
)
