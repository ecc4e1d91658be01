"""The presets: named models, each a file of `model/presets`."""

from __future__ import annotations

import tomllib
from importlib.resources import files
from typing import Any

from glassformer.errors import GlassformerError, did_you_mean


def preset_names() -> list[str]:
    """All presets, in alphabetical order."""
    folder = files("glassformer.model") / "presets"
    return sorted(
        f.name.removesuffix(".toml") for f in folder.iterdir() if f.name.endswith(".toml")
    )


def load_preset(name: str) -> dict[str, Any]:
    """A preset's tables: `model`, and where it has them `tokenizer`, `training` and `weights`."""
    if name not in preset_names():
        raise GlassformerError(
            f"no preset is named {name!r}.{did_you_mean(name, preset_names())}"
            f" Presets: {', '.join(preset_names())}."
        )
    text = (files("glassformer.model") / "presets" / f"{name}.toml").read_text(encoding="utf-8")
    return tomllib.loads(text)
