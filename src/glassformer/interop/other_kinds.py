"""Models of other kinds: the part of theirs that is not computed here, by the setting it has."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

PARTS = {  # the part -> settings of families of `transformers` that have it
    "a state space": ("state_size", "ssm_state_size", "mamba_d_state"),
    "linear attention": ("linear_conv_kernel_dim", "linear_attn_alpha_factor", "linear_attention"),
    "a recurrence": ("lru_width", "rescale_every", "qk_dim_factor"),
    "convolutions between tokens": ("conv_L_cache",),
    "per-layer embeddings": ("hidden_size_per_layer_input",),
    "latent attention (compressed keys and values)": ("kv_lora_rank",),
    "pictures beside its text": ("vision_config",),
}
KINDS_OF_LAYERS = ("layer_types", "layers_block_type", "block_types")


def part_not_computed(settings: Mapping[str, Any]) -> str | None:
    """The part that a config.json has and no model here, and its setting; None if none is known.

    >>> part_not_computed({"model_type": "mamba", "state_size": 16})
    'a state space (state_size)'
    """
    names_set = {*_names(settings)}
    for part, names in PARTS.items():
        for name in names:
            if name in names_set:
                return f"{part} ({name})"
    return None


def _names(settings: Mapping[str, Any]) -> Iterator[str]:
    """Settings that say something, also of a text model within, and the kinds of layers."""
    for name, value in settings.items():
        if name == "text_config" and isinstance(value, dict):
            yield from _names(value)
        elif name in KINDS_OF_LAYERS and isinstance(value, list):
            yield from (kind for kind in value if isinstance(kind, str))
        elif value:
            yield name
