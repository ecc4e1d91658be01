"""Qwen2 and Qwen2.5 (Yang et al. 2024): a Llama with biases on queries, keys and values."""

from typing import Any

from glassformer.interop import rotary
from glassformer.interop.families import _like_llama as usual
from glassformer.model import Config

WINDOWS: dict[str, Any] = {
    "layer_types": None,
    "use_sliding_window": False,
    "sliding_window": 4096,
    "max_window_layers": 28,
}


def read_more(settings: dict[str, Any]) -> dict[str, Any]:
    first = settings["max_window_layers"] if settings["use_sliding_window"] else float("inf")
    usual_layers = [i >= first for i in range(settings["num_hidden_layers"])]
    return {**rotary.read(settings), **usual.read_windows(settings, usual_layers)}


def write_more(config: Config) -> dict[str, Any]:
    windows = usual.write_windows(config)
    used = {"use_sliding_window": windows["sliding_window"] is not None}
    return {**rotary.write(config), **windows, **used}


FAMILY = usual.family(
    model_type="qwen2",
    title="Qwen2",
    architecture="Qwen2ForCausalLM",
    lens=True,
    settings=usual.settings(vocab_size=151936, n_ctx=32768, d_mlp=22016, n_kv_heads=32),
    choices={**usual.CHOICES, "attn_bias": True, "attn_bias_on": "qkv"},
    more=read_more,
    more_settings={**rotary.SETTINGS, **WINDOWS},
    write_more=write_more,
)
