"""T5 (Raffel et al. 2020): RMS norms, no biases, and a learned number for every distance."""

from typing import Any

from glassformer.errors import GlassformerError
from glassformer.interop.layouts import AS_OURS
from glassformer.interop.settings import ACTIVATIONS, Setting
from glassformer.interop.towers_family import TowersFamily
from glassformer.model import Config, TowersConfig

MOST = 512  # tokens of a text in T5's own training; its relative positions know no end


def _more(settings: dict[str, Any]) -> dict[str, Any]:
    kind = settings["feed_forward_proj"]
    gate, _, activation = str(kind).rpartition("-")
    name = "gelu_new" if kind == "gated-gelu" else activation
    if gate not in ("", "gated") or name not in ACTIVATIONS:
        raise GlassformerError(
            f"feed_forward_proj={kind!r} is neither an activation nor 'gated-' and one"
        )
    tied, layers = settings["tie_word_embeddings"], settings["num_decoder_layers"]
    scaled = settings["scale_decoder_outputs"]
    for flag, value in (("tie_word_embeddings", tied), ("scale_decoder_outputs", scaled)):
        if not isinstance(value, bool) and (value is not None or flag.startswith("tie")):
            raise GlassformerError(f"{flag}={value!r} must be true or false")
    return {
        "both.activation": ACTIVATIONS[name],
        "both.gated": gate == "gated",
        "decoder.n_layers": settings["num_layers"] if layers is None else layers,
        "decoder.tied": tied,
        "decoder.logit_scale": settings["d_model"] ** -0.5
        if (tied if scaled is None else scaled)
        else 1.0,
    }


def _write_more(config: TowersConfig) -> dict[str, Any]:
    decoder = config.decoder
    usual = next((name for name, ours in ACTIVATIONS.items() if ours == decoder.activation), "relu")
    usual = "gelu" if decoder.gated and usual == "gelu_new" else usual
    return {
        "feed_forward_proj": f"gated-{usual}" if decoder.gated else usual,
        "num_decoder_layers": decoder.n_layers,
        "tie_word_embeddings": decoder.tied,
        "scale_decoder_outputs": decoder.logit_scale != 1,
    }


def _mlp(config: Config) -> dict[str, str]:
    if config.gated:
        return {"mlp.gate": "wi_0", "mlp.in": "wi_1", "mlp.out": "wo"}
    return {"mlp.in": "wi", "mlp.out": "wo"}


def _block(config: Config) -> dict[str, str]:
    attention = {f"attn.{x}": f"layer.0.SelfAttention.{x.lower()}" for x in "QKVO"}
    cross = {f"cross_attn.{x}": f"layer.1.EncDecAttention.{x.lower()}" for x in "QKVO"}
    last = 2 if config.causal else 1
    mlp = {ours: f"layer.{last}.DenseReluDense.{name}" for ours, name in _mlp(config).items()}
    return {
        **attention,
        "ln1": "layer.0.layer_norm",
        **({**cross, "ln_cross": "layer.1.layer_norm"} if config.causal else {}),
        **mlp,
        "ln2": f"layer.{last}.layer_norm",
    }


FAMILY = TowersFamily(
    model_type="t5",
    title="T5",
    architecture="T5ForConditionalGeneration",
    settings=(
        Setting("vocab_size", "both.vocab_size", 32128),
        Setting("n_positions", "both.n_ctx", MOST),
        Setting("d_model", "both.d_model", 512),
        Setting("d_kv", "both.d_head", 64),
        Setting("d_ff", "both.d_mlp", 2048),
        Setting("num_layers", "encoder.n_layers", 6),
        Setting("num_heads", "both.n_heads", 8),
        Setting("relative_attention_num_buckets", "both.relative_buckets", 32),
        Setting("relative_attention_max_distance", "both.relative_distance", 128),
        Setting("dropout_rate", "both.dropout", 0.1),
        Setting("layer_norm_epsilon", "both.norm_eps", 1e-6),
        Setting("pad_token_id", "pad_id", 0),
        Setting("decoder_start_token_id", "start_id", 0),
    ),
    choices={
        "both.position": "relative",
        "both.attn_scale": 1.0,
        "both.norm": "rms",
        "both.norm_bias": False,
        "both.attn_bias": False,
        "both.mlp_bias": False,
        "shared_embeddings": True,
    },
    more=_more,
    write_more=_write_more,
    more_settings={
        "feed_forward_proj": "relu",
        "num_decoder_layers": None,
        "tie_word_embeddings": True,
        "scale_decoder_outputs": None,
    },
    fixed={"is_encoder_decoder": (True,), "is_decoder": (False,)},
    ignored="classifier_dropout dense_act_fn initializer_factor is_gated_act output_past",
    always=(("both.norm_gain", True, (False,)),),
    prefix="",
    layers="block.",
    embeddings={
        "distances.rel": "block.0.layer.0.SelfAttention.relative_attention_bias",
    },
    layouts={"distances.rel": lambda _: AS_OURS},
    block=_block,
    end={"ln_final": "final_layer_norm"},
)
