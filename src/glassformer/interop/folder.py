"""A model as a folder: its configuration, its weights and its tokenizer, as other tools do it.

Where a family that `transformers` knows expresses the configuration exactly, the folder is written
in that form and every program that reads such folders reads it; our own configuration stands under
the key "glassformer" and is what comes back here. Any other configuration is written under our own
names as model_type "glassformer".
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch import Tensor

from glassformer.errors import GlassformerError
from glassformer.files import staged, write_atomically
from glassformer.interop import own
from glassformer.interop.adapters import write_adapters
from glassformer.interop.family import default_tensor
from glassformer.interop.folder_settings import (
    GENERATION,
    read_folder_settings,
    write_folder_settings,
)
from glassformer.interop.form import Form
from glassformer.interop.layouts import Stored, parts_of, shapes_of
from glassformer.interop.match import form_for, match, read_settings
from glassformer.interop.tensors import FILE, Tensors, refuse_non_finite, write_tensors
from glassformer.memory import give_back_memory
from glassformer.model import Config, Decoder, Encoder, TowersConfig
from glassformer.model.kinds import OneTower, kind_of
from glassformer.model.language_model import LanguageModel
from glassformer.text import tokenizer_files
from glassformer.text.load import has_tokenizer, load_tokenizer
from glassformer.text.tokenizer import Tokenizer


def save(model: LanguageModel[Any], tokenizer: Tokenizer | None, folder: str | Path) -> None:
    """Write a model and its tokenizer; a reader finds each file whole, the old one or the new.

    In a folder that is there already only the files of this model are replaced. Of a model with
    adapters these are written, and the name of the model that they are for.
    """
    config = model.config
    refuse_larger_vocabulary(tokenizer, config, "the tokenizer", "the model")
    for name, tensor in model.state_dict().items():
        refuse_non_finite(name, tensor)
    if isinstance(model, Decoder | Encoder) and model.config.lora is not None:
        _save_adapters(model, tokenizer, Path(folder))
        return
    dtype = str(model.dtype).removeprefix("torch.")
    form = form_for(config, model.folder_settings.model_type)
    settings, generation = write_folder_settings(model.folder_settings, tokenizer)
    settings = {
        **settings,
        **form.write_config(form.with_all_parameters(config)),
        "dtype": dtype,
        **own.note(config),
    }
    try:
        with staged(Path(folder)) as stage:
            write_tensors(stage / FILE, tensors_of(form, model))
            write_atomically(stage / "config.json", json.dumps(settings, indent=2))
            write_atomically(stage / GENERATION, json.dumps(generation, indent=2))
            if tokenizer is not None:
                tokenizer.save(stage)
    except (OSError, SafetensorError) as error:
        raise _not_written(folder, error) from error


def _save_adapters(model: OneTower, tokenizer: Tokenizer | None, folder: Path) -> None:
    try:
        with staged(folder) as stage:
            write_adapters(model, stage)
            if tokenizer is not None:
                tokenizer.save(stage)
    except (OSError, SafetensorError) as error:
        raise _not_written(folder, error) from error


def _not_written(folder: str | Path, error: Exception) -> GlassformerError:
    return GlassformerError(
        f"the model could not be written to {folder}: {error}; free some space, mend the folder or"
        " name another"
    )


def load_folder(
    folder: str | Path,
    dtype: torch.dtype | None = None,
    device: str | torch.device | None = None,
) -> tuple[Any, Tokenizer | None]:
    """Read a folder that `save` or `transformers` wrote, ready for use (`model.eval()`).

    The model is a `Decoder`, an `Encoder` or an `EncoderDecoder`, as the folder is.

    dtype: of the weights; None keeps the stored one. The tokenizer is None where the folder has no
    tokenizer.json, and no vocab.json with merges.txt. Everything is checked before memory is taken:
    settings, names, shapes; then that every number is finite and, in folders of ours, the one that
    was written. What the folder says beside these is in `model.folder_settings`.
    """
    folder = Path(folder)
    with Tensors(folder) as tensors:
        config, held = match(folder / "config.json", tensors)
        tokenizer = _tokenizer(folder, config)
        dtype = dtype or tensors.widest_dtype([tensor.name for tensor in held])
        model = kind_of(config).unfilled(config, dtype, device or "cpu")
        _fill(model, held, tensors)
    model.folder_settings, model.tokenizer = read_folder_settings(folder), tokenizer
    return model.eval(), tokenizer


def _tokenizer(folder: Path, config: Config | TowersConfig) -> Tokenizer | None:
    """The folder's tokenizer; reading a large one takes much memory for a moment."""
    if not has_tokenizer(folder):
        return None
    tokenizer = load_tokenizer(folder, blanks=not config.causal)
    refuse_larger_vocabulary(
        tokenizer, config, str(tokenizer_files.vocabulary_file(folder)), str(folder / "config.json")
    )
    give_back_memory()
    return tokenizer


def _fill(model: LanguageModel[Any], held: list[Stored], tensors: Tensors) -> None:
    """Copy the folder's numbers into the model's parameters."""
    parts = parts_of(dict(model.named_parameters()), model.config)
    with torch.no_grad():
        for tensor in held:
            shapes = [tuple(parts[part].shape) for part in tensor.parts]
            stored = tensors.read(tensor.name)
            try:
                values = tensor.layout.read(stored, shapes)
            except GlassformerError as error:
                raise GlassformerError(f"{tensors.location(tensor.name)}: {error}") from error
            for part, value in zip(tensor.parts, values, strict=True):
                parts[part].copy_(value)


def tensors_of(form: Form, model: LanguageModel[Any]) -> dict[str, Tensor]:
    """The tensors that the form stores; what our configuration lacks is ones, zeros or a table."""
    complete = form.with_all_parameters(model.config)
    parts, shapes = parts_of(model.state_dict(), model.config), shapes_of(complete)
    dtype = model.dtype

    def part(name: str) -> Tensor:
        if name in parts:
            return parts[name]
        return default_tensor(name, shapes[name], model.config).to(dtype)

    return {
        tensor.name: tensor.layout.write([part(name) for name in tensor.parts]).to(dtype)
        for tensor in form.tensors(complete)
    }


def read_config(folder: str | Path) -> Any:
    """The configuration of a folder, without its weights."""
    return read_settings(Path(folder) / "config.json")[0]


def refuse_larger_vocabulary(
    tokenizer: Tokenizer | None, config: Config | TowersConfig, whose: str, other: str
) -> None:
    if tokenizer is not None and tokenizer.vocab_size > config.vocab_size:
        raise GlassformerError(
            f"{whose} has {tokenizer.vocab_size:,} tokens and {other} is for"
            f" {config.vocab_size:,}; use the tokenizer that the model was trained with"
        )
