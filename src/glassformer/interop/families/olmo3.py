"""OLMo 3 (OLMo Team 2025): an OLMo 2 with windows; layers with one keep their own frequencies."""

from typing import Any

from glassformer.interop import rotary
from glassformer.interop.families import _like_llama as usual
from glassformer.interop.families import olmo2


def _more(settings: dict[str, Any]) -> dict[str, Any]:
    layers = [(i + 1) % 4 != 0 for i in range(settings["num_hidden_layers"])]
    turns = rotary.read(settings, base=5e5, local_base=5e5)
    return {**turns, **usual.read_windows(settings, layers)}


FAMILY = usual.family(
    model_type="olmo3",
    title="OLMo 3",
    architecture="Olmo3ForCausalLM",
    settings=olmo2.SETTINGS,
    choices=olmo2.CHOICES,
    more=_more,
    more_settings={**rotary.SETTINGS, "layer_types": None, "sliding_window": 4096},
    write_more=lambda config: {
        **rotary.write(config, local=True),
        **usual.write_windows(config),
    },
    always=usual.QK_ALWAYS,
    block=olmo2.BLOCK,
    layouts=olmo2.LAYOUTS,
)
