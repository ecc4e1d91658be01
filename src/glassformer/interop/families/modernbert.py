"""ModernBERT (Warner et al. 2024): rotary positions, gates, and attention to near tokens mostly."""

from typing import Any

from glassformer.errors import GlassformerError
from glassformer.interop import rotary
from glassformer.interop.families import _like_llama as usual
from glassformer.interop.family import Family
from glassformer.interop.settings import ACTIVATIONS, Setting, integer
from glassformer.model import Config


def _more(settings: dict[str, Any]) -> dict[str, Any]:
    for head, block in (
        ("classifier_bias", "mlp_bias"),
        ("classifier_activation", "hidden_activation"),
    ):
        if settings[head] != settings[block]:
            raise GlassformerError(f"{head}={settings[head]!r} must be {block} here")
    every = integer("global_attn_every_n_layers", settings["global_attn_every_n_layers"])
    is_local = [layer % every != 0 for layer in range(settings["num_hidden_layers"])]
    either_side = {"sliding_window": integer("local_attention", settings["local_attention"]) // 2}
    return {
        **rotary.read(settings, base=160_000.0, local_base=1e4),
        **usual.read_windows({**settings, **either_side}, is_local),
    }


def _write_more(config: Config) -> dict[str, Any]:
    windows = usual.write_windows(config)
    known = (theirs for theirs, ours in ACTIVATIONS.items() if ours == config.activation)
    return {
        **rotary.write(config, local=True),
        "layer_types": windows["layer_types"],
        "local_attention": 2 * (windows["sliding_window"] or config.n_ctx),
        "classifier_bias": config.mlp_bias,
        "classifier_activation": next(known, config.activation),
    }


FAMILY = Family(
    model_type="modernbert",
    title="ModernBERT",
    architecture="ModernBertForMaskedLM",
    settings=(
        Setting("vocab_size", "vocab_size", 50368),
        Setting("hidden_size", "d_model", 768),
        Setting("intermediate_size", "d_mlp", 1152),
        Setting("num_hidden_layers", "n_layers", 22),
        Setting("num_attention_heads", "n_heads", 12),
        Setting("hidden_activation", "activation", "gelu", values=ACTIVATIONS),
        Setting("max_position_embeddings", "n_ctx", 8192),
        Setting("norm_eps", "norm_eps", 1e-5),
        Setting("norm_bias", "norm_bias", False),
        Setting("attention_bias", "attn_bias", False),
        Setting("mlp_bias", "mlp_bias", False),
        Setting("decoder_bias", "head_bias", True),
        Setting("tie_word_embeddings", "tied", True),
    ),
    choices={
        "causal": False,
        "position": "rotary",
        "embed_norm": True,
        "first_norm": False,
        "gated": True,
        "masked_head": True,
    },
    more=_more,
    more_settings={
        **rotary.SETTINGS,
        "layer_types": None,
        "local_attention": 128,
        "global_attn_every_n_layers": 3,
        "classifier_bias": False,
        "classifier_activation": "gelu",
    },
    write_more=_write_more,
    aliases={"global_rope_theta": "rope_theta", "local_rope_theta": "rope_local_base_freq"},
    ignored="""attention_dropout classifier_dropout classifier_pooling deterministic_flash_attn
        embedding_dropout initializer_cutoff_factor layer_norm_eps mlp_dropout
        position_embedding_type reference_compile repad_logits_with_grad sparse_pred_ignore_index
        sparse_prediction""",
    always=(("norm_gain", True, (False,)),),
    layers="layers.",
    embeddings={"embed.E": "embeddings.tok_embeddings", "ln_embed": "embeddings.norm"},
    block={
        "ln1": "attn_norm",
        "attn.Q attn.K attn.V": "attn.Wqkv",
        "attn.O": "attn.Wo",
        "ln2": "mlp_norm",
        "mlp.gate mlp.in": "mlp.Wi",
        "mlp.out": "mlp.Wo",
    },
    end={"ln_final": "final_norm"},
    head={"masked_head.in": "head.dense", "masked_head.ln": "head.norm", "unembed.U": "decoder"},
    entering="model.embeddings",
    activation="mlp.act",
)
