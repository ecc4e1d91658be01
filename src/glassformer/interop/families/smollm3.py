"""SmolLM3 (Hugging Face 2025): a Llama in which every fourth layer does not turn."""

from typing import Any

from glassformer.errors import GlassformerError
from glassformer.interop import rotary
from glassformer.interop.families import _like_llama as usual
from glassformer.interop.settings import Setting, integer
from glassformer.model import Config


def _more(settings: dict[str, Any]) -> dict[str, Any]:
    n = settings["num_hidden_layers"]
    every = integer("no_rope_layer_interval", settings["no_rope_layer_interval"])
    turns = settings["no_rope_layers"] or [(i + 1) % every != 0 for i in range(n)]
    if not isinstance(turns, list) or len(turns) != n:
        raise GlassformerError(f"no_rope_layers={turns!r} must say 0 or 1 of each of {n} layers")
    layers = [bool(settings["use_sliding_window"]) and not turn for turn in turns]
    return {
        **rotary.read(settings, base=2e6),
        **usual.read_windows(settings, layers),
        "rotary_layers": tuple(map(bool, turns)),
    }


def _write_more(config: Config) -> dict[str, Any]:
    windows = usual.write_windows(config)
    return {
        **rotary.write(config),
        **windows,
        "use_sliding_window": windows["sliding_window"] is not None,
        "no_rope_layers": [int(config.rotary(i) is not None) for i in range(config.n_layers)],
    }


FAMILY = usual.family(
    model_type="smollm3",
    title="SmolLM3",
    architecture="SmolLM3ForCausalLM",
    lens=True,
    settings=(
        *usual.settings(
            vocab_size=128256,
            n_ctx=32768,
            d_model=2048,
            n_layers=36,
            n_heads=16,
            n_kv_heads=4,
            tied=True,
        ),
        Setting("attention_bias", "attn_bias", False),
        Setting("mlp_bias", "mlp_bias", False),
    ),
    more=_more,
    more_settings={
        **rotary.SETTINGS,
        "layer_types": None,
        "sliding_window": None,
        "use_sliding_window": False,
        "no_rope_layers": None,
        "no_rope_layer_interval": 4,
    },
    write_more=_write_more,
    fixed={"pretraining_tp": (1, 2, None)},
    ignored=f"{usual.IGNORED} max_window_layers",
)
