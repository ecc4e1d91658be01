"""A model as a folder: its configuration, its weights and its tokenizer, as other tools do it.

Where GPT-2 as `transformers` knows it expresses the configuration exactly, the folder is written in
that form and every program that reads GPT-2 folders reads it; our own configuration stands under
the key "glassformer" and is what comes back here. Any other configuration is written under our own
names as model_type "glassformer".
"""

from __future__ import annotations

import json
from pathlib import Path

import torch
from safetensors import SafetensorError

from glassformer.errors import GlassformerError
from glassformer.files import staged, write_atomically
from glassformer.interop import gpt2, own
from glassformer.interop.match import match, read_settings
from glassformer.interop.said import GENERATION, read_said, write_said
from glassformer.interop.tensors import FILE, Tensors, refuse_non_finite, write_tensors
from glassformer.model import Config, Decoder
from glassformer.text import tokenizer_files
from glassformer.text.tokenizer import Tokenizer


def save(model: Decoder, tokenizer: Tokenizer | None, folder: str | Path) -> None:
    """Write a model and its tokenizer; a reader finds each file whole, the old one or the new.

    In a folder that is there already only the files of this model are replaced.
    """
    config = model.config
    refuse_larger_vocabulary(tokenizer, config, "the tokenizer", "the model")
    for name, tensor in model.state_dict().items():
        refuse_non_finite(name, tensor)
    dtype = str(model.embed.W_E.dtype).removeprefix("torch.")
    family = own if gpt2.in_the_way(config) else gpt2
    said, generation = write_said(model.said, tokenizer)
    settings = {**said, **family.write_config(config), "dtype": dtype, **own.note(config)}
    try:
        with staged(Path(folder)) as stage:
            write_tensors(stage / FILE, family.write_tensors(model))
            write_atomically(stage / "config.json", json.dumps(settings, indent=2))
            write_atomically(stage / GENERATION, json.dumps(generation, indent=2))
            if tokenizer is not None:
                tokenizer.save(stage)
    except (OSError, SafetensorError) as error:
        raise GlassformerError(
            f"the model could not be written to {folder}: {error}; free some space, mend the folder"
            " or name another"
        ) from error


def load_folder(
    folder: str | Path,
    dtype: torch.dtype | None = None,
    device: str | torch.device | None = None,
) -> tuple[Decoder, Tokenizer | None]:
    """Read a folder that `save` or `transformers` wrote (GPT-2), ready for use (`model.eval()`).

    dtype: of the weights; None keeps the stored one. The tokenizer is None where the folder has no
    tokenizer.json, and no vocab.json with merges.txt. Everything is checked before memory is taken:
    settings, names, shapes; then that every number is finite and, in folders of ours, the one that
    was written. What the folder says beside these is in `model.said`.
    """
    folder = Path(folder)
    with Tensors(folder) as tensors:
        config, names = match(folder / "config.json", tensors)
        dtype = dtype or tensors.widest_dtype(list(names.values()))
        model = Decoder.unfilled(config, dtype, device or "cpu")
        parameters = dict(model.named_parameters())
        with torch.no_grad():
            for ours, theirs in names.items():
                tensor = tensors.read(theirs)
                parameters[ours].copy_(tensor.T if theirs == gpt2.HEAD else tensor)
    model.said = read_said(folder)
    tokenizer = None
    if tokenizer_files.is_there(folder):
        tokenizer = Tokenizer.load(folder)
        refuse_larger_vocabulary(
            tokenizer, config, str(tokenizer_files.main(folder)), str(folder / "config.json")
        )
    model.tokenizer = tokenizer
    return model.eval(), tokenizer


def read_config(folder: str | Path) -> Config:
    """The configuration of a folder, without its weights."""
    return read_settings(Path(folder) / "config.json")[0]


def refuse_larger_vocabulary(
    tokenizer: Tokenizer | None, config: Config, whose: str, other: str
) -> None:
    if tokenizer is not None and tokenizer.vocab_size > config.vocab_size:
        raise GlassformerError(
            f"{whose} has {tokenizer.vocab_size:,} tokens and {other} is for"
            f" {config.vocab_size:,}; use the tokenizer that the model was trained with"
        )
