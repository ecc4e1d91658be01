"""What a folder says beside configuration and weights: read, checked, and written back."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from glassformer.errors import GlassformerError
from glassformer.interop import own
from glassformer.interop.adapters import base_of, is_adapters
from glassformer.interop.match import read_settings
from glassformer.jsons import read_json
from glassformer.model import TowersConfig
from glassformer.model.folder_settings import FolderSettings
from glassformer.text.tokenizer import Tokenizer

GENERATION = "generation_config.json"
OURS = {  # settings of config.json that are about the file, and written anew
    *("_name_or_path", "architectures", "auto_map", "dtype", "glassformer", "initializer_range"),
    *("model_type", "torch_dtype"),
    *("transformers_version", "transformers_weights"),
}


def read_folder_settings(folder: Path) -> FolderSettings:
    """What config.json and generation_config.json say; token ids are whole numbers, or lists.

    Nothing, where the folder has no config.json yet, as a run before its first export. A folder of
    adapters says what that of their model does.
    """
    if is_adapters(folder):
        base = base_of(folder)
        return replace(read_folder_settings(Path(base)), base=base)
    if not (folder / "config.json").is_file():
        return FolderSettings()
    ours, form, settings = read_settings(folder / "config.json")
    names = {*OURS, *form.write_config(ours), *form.read_settings}
    config = {name: value for name, value in settings.items() if name not in names}
    file = folder / GENERATION
    generation = read_json(file) if file.is_file() else {}
    for path, content in ((folder / "config.json", config), (file, generation)):
        for name in own.IDS:
            _check_ids(path, name, content.get(name))
    start = generation.get("decoder_start_token_id")
    if isinstance(ours, TowersConfig) and start not in (None, ours.start_id):
        raise GlassformerError(
            f"{file}: decoder_start_token_id={start!r}, and config.json begins a target with"
            f" {ours.start_id}; make them one"
        )
    return FolderSettings(config, generation, form.model_type)


def write_folder_settings(
    settings: FolderSettings, tokenizer: Tokenizer | None
) -> tuple[dict[str, Any], dict[str, Any]]:
    """The settings for config.json and for generation_config.json.

    What the folder said stands; where it named no tokens, those of the tokenizer do.
    """
    tokens: dict[str, Any] = {"bos_token_id": None, "eos_token_id": None}
    if tokenizer is not None:
        tokens = {"bos_token_id": tokenizer.bos_id, "eos_token_id": tokenizer.eos_id}
        tokens |= {} if tokenizer.pad_id is None else {"pad_token_id": tokenizer.pad_id}
    around = {} if tokenizer is None else tokenizer.around
    config = {**tokens, **around, **settings.config}
    return config, settings.generation or {**tokens, **_ids(settings.config)}


def _ids(config: dict[str, Any]) -> dict[str, Any]:
    return {name: config[name] for name in own.IDS if name in config}


def _check_ids(path: Path, name: str, value: Any) -> None:
    ids = value if isinstance(value, list) else [value]
    if value is not None and not all(type(token) is int for token in ids):
        raise GlassformerError(
            f"{path}: {name}={value!r} is no token's id; give a whole number or a list of them"
        )
