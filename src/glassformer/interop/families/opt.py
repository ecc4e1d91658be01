"""OPT (Zhang et al. 2022): a GPT-2 with queries, keys and values of their own, and ReLU."""

from typing import Any

from glassformer.errors import GlassformerError
from glassformer.interop.family import Family
from glassformer.interop.layouts import rows_in_front
from glassformer.interop.settings import ACTIVATIONS, Setting
from glassformer.model import Config


def _more(settings: dict[str, Any]) -> dict[str, Any]:
    bias, width = settings["enable_bias"], settings["word_embed_proj_dim"]
    if width not in (None, settings["hidden_size"]):
        raise GlassformerError(
            f"word_embed_proj_dim={width} must be hidden_size: no projection here"
        )
    affine, pre = settings["layer_norm_elementwise_affine"], settings["do_layer_norm_before"]
    return {
        "attn_bias": bias,
        "mlp_bias": bias,
        "norm_gain": affine,
        "norm_bias": affine,
        "norm_position": "pre" if pre else "post",
        "final_norm": pre and not settings["_remove_final_layer_norm"],
    }


def _write_more(config: Config) -> dict[str, Any]:
    return {
        "enable_bias": config.attn_bias,
        "layer_norm_elementwise_affine": config.norm_gain,
        "do_layer_norm_before": config.norm_position == "pre",
        "_remove_final_layer_norm": not config.final_norm,
    }


FAMILY = Family(
    model_type="opt",
    title="OPT",
    architecture="OPTForCausalLM",
    settings=(
        Setting("vocab_size", "vocab_size", 50272),
        Setting("max_position_embeddings", "n_ctx", 2048),
        Setting("hidden_size", "d_model", 768),
        Setting("num_hidden_layers", "n_layers", 12),
        Setting("num_attention_heads", "n_heads", 12),
        Setting("ffn_dim", "d_mlp", 3072),
        Setting("activation_function", "activation", "relu", values=ACTIVATIONS),
        Setting("tie_word_embeddings", "tied", True),
        Setting("dropout", "dropout", 0.1),
    ),
    more=_more,
    write_more=_write_more,
    more_settings={
        "enable_bias": True,
        "layer_norm_elementwise_affine": True,
        "word_embed_proj_dim": None,
        "do_layer_norm_before": True,
        "_remove_final_layer_norm": False,
    },
    ignored="activation_dropout attention_dropout init_std layerdrop",
    always=(("position", "learned", ("sinusoidal", "none")),),
    prefix="model.decoder.",
    layers="layers.",
    embeddings={"embed.E": "embed_tokens", "pos_embed.pos": "embed_positions"},
    layouts={"pos_embed.pos": lambda _: rows_in_front(2)},  # position 0 stands in row 2
    block={
        "ln1": "self_attn_layer_norm",
        "attn.Q": "self_attn.q_proj",
        "attn.K": "self_attn.k_proj",
        "attn.V": "self_attn.v_proj",
        "attn.O": "self_attn.out_proj",
        "ln2": "final_layer_norm",
        "mlp.in": "fc1",
        "mlp.out": "fc2",
    },
    end={"ln_final": "final_layer_norm"},
    activation="activation_fn",
)
