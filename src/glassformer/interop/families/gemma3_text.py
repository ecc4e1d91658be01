"""Gemma 3 (Gemma Team 2025): a Gemma 2 with QK-norms, and rotary bases that differ by layer."""

from typing import Any

from glassformer.interop import rotary
from glassformer.interop.families import _like_llama as usual
from glassformer.interop.families import gemma, gemma2
from glassformer.interop.settings import Setting, integer

CAPS = ("final_logit_softcapping", "attn_logit_softcapping")
OTHERS = {"vocab_size": 262208, "max_position_embeddings": 131072, **dict.fromkeys(CAPS)}


def _more(settings: dict[str, Any]) -> dict[str, Any]:
    every = integer("sliding_window_pattern", settings["sliding_window_pattern"])
    layers = [(i + 1) % every != 0 for i in range(settings["num_hidden_layers"])]
    return {
        **rotary.read(settings, base=1e6, local_base=1e4),
        **gemma2.scale(settings),
        **usual.read_windows(settings, layers),
    }


FAMILY = usual.family(
    model_type="gemma3_text",
    title="Gemma 3",
    architecture="Gemma3ForCausalLM",
    settings=tuple(
        Setting(s.theirs, s.ours, OTHERS.get(s.theirs, s.default), s.null, s.values)
        for s in gemma2.SETTINGS
    ),
    choices={
        **gemma.CHOICES,
        "norm_position": "both",
        "qk_norm": True,
        "qk_norm_gain": True,
    },
    more=_more,
    more_settings={**rotary.SETTINGS, **gemma2.WINDOWS, "sliding_window_pattern": 6},
    write_more=lambda config: {
        **rotary.write(config, local=True),
        **usual.write_windows(config),
        **gemma2.write_scale(config),
    },
    fixed=gemma2.FIXED,
    ignored=f"{usual.IGNORED} cache_implementation _sliding_window_pattern",
    always=usual.QK_ALWAYS,
    block=gemma2.BLOCK,
)
