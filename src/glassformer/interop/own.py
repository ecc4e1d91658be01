"""Our own form: model_type "glassformer", our parameters' names, every field of the configuration.

The same note stands under the key "glassformer" in folders of another form, so that what comes
back here is the configuration that was saved and not the one it was written out as.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from glassformer.errors import GlassformerError
from glassformer.model import Config, Decoder

KEY = "glassformer"
VERSION = 1
IDS = ("bos_token_id", "eos_token_id", "pad_token_id")
SETTINGS = ("architectures", "model_type", "dtype", *IDS, KEY)


def note(config: Config) -> dict[str, Any]:
    """What stands in config.json under our key."""
    return {KEY: {"version": VERSION, "config": config.to_dict()}}


def read_note(settings: Mapping[str, Any]) -> Config:
    """The configuration under our key; an unknown version or field is refused."""
    content = settings.get(KEY)
    if not isinstance(content, dict) or not isinstance(content.get("config"), dict):
        raise GlassformerError(f'"{KEY}" must hold a version and a config; save the model again')
    version = content.get("version")
    if version != VERSION:
        raise GlassformerError(
            f"it has format version {version!r} and this Glassformer reads {VERSION};"
            " install the Glassformer that wrote it, or a newer one"
        )
    return Config.from_dict(content["config"])


def read_config(settings: Mapping[str, Any]) -> Config:
    """The configuration of a folder in our own form."""
    for name in settings:
        if name not in SETTINGS:
            raise GlassformerError(
                f"{name!r} is no setting of a Glassformer folder; take it out"
                f" (there are {', '.join(SETTINGS)})"
            )
    return read_note(settings)


def write_config(_config: Config) -> dict[str, Any]:
    """The settings beside the note, for programs that list models."""
    return {"architectures": ["Decoder"], "model_type": KEY}


def write_tensors(model: Decoder) -> dict[str, Tensor]:
    return model.state_dict()
