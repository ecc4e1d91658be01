"""Mistral (Jiang et al. 2023): a Llama whose layers all look back through the same window."""

from typing import Any

from glassformer.interop import rotary
from glassformer.interop.families import _like_llama as usual
from glassformer.model import Config


def _more(settings: dict[str, Any]) -> dict[str, Any]:
    return {**rotary.read(settings), **usual.read_window(settings)}


def _write_more(config: Config) -> dict[str, Any]:
    return {**rotary.write(config), **usual.write_window(config)}


FAMILY = usual.family(
    model_type="mistral",
    title="Mistral",
    architecture="MistralForCausalLM",
    lens=True,
    settings=usual.settings(n_ctx=131072, d_mlp=14336, n_kv_heads=8),
    more=_more,
    more_settings={**rotary.SETTINGS, "sliding_window": 4096},
    write_more=_write_more,
)
