"""Our own form: model_type "glassformer", our parameters' names, every field of the configuration.

The same note stands under the key "glassformer" in folders of another form, so that what comes
back here is the configuration that was saved and not the one it was written out as.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

import torch

from glassformer.errors import GlassformerError
from glassformer.interop.layouts import AS_OURS, Stored
from glassformer.model import Config, TowersConfig
from glassformer.model.kinds import config_from, kind_of

KEY = "glassformer"
VERSION = 1
IDS = ("bos_token_id", "eos_token_id", "pad_token_id")
AROUND = ("cls_token_id", "sep_token_id")
SETTINGS = ("architectures", "model_type", "dtype", *IDS, *AROUND, KEY)


def note(config: Config | TowersConfig) -> dict[str, Any]:
    """What stands in config.json under our key."""
    return {KEY: {"version": VERSION, "config": config.to_dict()}}


def read_note(settings: Mapping[str, Any]) -> Config | TowersConfig:
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
    return config_from(content["config"])


class OwnForm:
    """What `interop.form.Form` asks for: everything is expressed, and stored as it is."""

    model_type = KEY
    head_name = ""

    def read_config(self, settings: Mapping[str, Any], /) -> Any:
        for name in settings:
            if name not in SETTINGS:
                raise GlassformerError(
                    f"{name!r} is no setting of a Glassformer folder; take it out"
                    f" (there are {', '.join(SETTINGS)})"
                )
        return read_note(settings)

    def write_config(self, config: Any, /) -> dict[str, Any]:
        """The settings beside the note, for programs that list models."""
        return {"architectures": [kind_of(config).__name__], "model_type": KEY}

    def unsupported_fields(self, _config: Any, /) -> list[str]:
        return []

    def with_all_parameters(self, config: Any, /) -> Any:
        return config

    def copies(self, _config: Any, /) -> dict[str, str]:
        return {}

    def tensors(self, config: Any, /) -> list[Stored]:
        with torch.device("meta"):
            return [Stored(n, (n,), AS_OURS) for n, _ in kind_of(config)(config).named_parameters()]

    def full_names(self, names: Iterable[str], /) -> dict[str, str]:
        return {name: name for name in names}

    def layer_of(self, name: str, /) -> int | None:
        result = re.match(r"(?:decoder\.)?blocks\.(\d{1,9})\.", name)
        return int(result[1]) if result else None

    def has_setting_for(self, _field: str, /) -> bool:
        return True

    @property
    def read_settings(self) -> set[str]:
        return {*SETTINGS} - {*IDS, *AROUND}


OWN = OwnForm()
