"""GPT-Neo (Black et al. 2021) and TinyStories: every other layer has a window; scores unscaled."""

from typing import Any

from glassformer.errors import GlassformerError
from glassformer.interop.families import _like_llama as usual
from glassformer.interop.family import Family
from glassformer.interop.settings import ACTIVATIONS, Setting
from glassformer.model import Config

KINDS = {"global": False, "local": True}


def _more(settings: dict[str, Any]) -> dict[str, Any]:
    n, types = settings["num_layers"], settings["attention_types"]
    try:
        layers = settings["attention_layers"] or [
            kind for kinds, times in types for _ in range(times) for kind in kinds
        ]
        windows = tuple(settings["window_size"] if KINDS[kind] else 0 for kind in layers)
    except (TypeError, ValueError, KeyError):
        windows = ()
    if len(windows) != n:
        raise GlassformerError(
            f"attention_types={types!r} does not say global or local of each of {n} layers"
        )
    return {"windows": windows}


def _write_more(config: Config) -> dict[str, Any]:
    written = usual.write_windows(config)
    layers = ["local" if "sliding" in kind else "global" for kind in written["layer_types"]]
    return {
        "attention_layers": layers,
        "attention_types": [[layers, 1]],
        "window_size": written["sliding_window"] or 256,
    }


FAMILY = Family(
    model_type="gpt_neo",
    title="GPT-Neo",
    architecture="GPTNeoForCausalLM",
    settings=(
        Setting("vocab_size", "vocab_size", 50257),
        Setting("max_position_embeddings", "n_ctx", 2048),
        Setting("hidden_size", "d_model", 2048),
        Setting("num_layers", "n_layers", 24),
        Setting("num_heads", "n_heads", 16),
        Setting("intermediate_size", "d_mlp", None, null=0),
        Setting("activation_function", "activation", "gelu_new", values=ACTIVATIONS),
        Setting("layer_norm_epsilon", "norm_eps", 1e-5),
        Setting("tie_word_embeddings", "tied", True),
        Setting("resid_dropout", "dropout", 0.0),
    ),
    choices={"attn_bias_on": "o", "attn_scale": 1.0},
    more=_more,
    more_settings={
        "attention_types": [[["global", "local"], 12]],
        "attention_layers": None,
        "window_size": 256,
    },
    write_more=_write_more,
    ignored="attention_dropout classifier_dropout embed_dropout summary_activation"
    " summary_first_dropout summary_proj_to_labels summary_type summary_use_proj",
    aliases={"num_attention_heads": "num_heads", "num_hidden_layers": "num_layers"},
    always=(
        ("position", "learned", ("sinusoidal", "none")),
        ("norm_gain", True, (False,)),
        ("norm_bias", True, (False,)),
        ("mlp_bias", True, (False,)),
    ),
    prefix="transformer.",
    layers="h.",
    embeddings={"embed.E": "wte", "pos_embed.pos": "wpe"},
    block={
        "ln1": "ln_1",
        "attn.Q": "attn.attention.q_proj",
        "attn.K": "attn.attention.k_proj",
        "attn.V": "attn.attention.v_proj",
        "attn.O": "attn.attention.out_proj",
        "ln2": "ln_2",
        "mlp.in": "mlp.c_fc",
        "mlp.out": "mlp.c_proj",
    },
    end={"ln_final": "ln_f"},
    buffers=r"transformer\.h\.\d+\.attn\.attention\.(bias|masked_bias)",
    entering="transformer.drop",
    activation="mlp.act",
)
