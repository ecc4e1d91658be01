"""Does config.json describe the tensors that are there? Asked before any memory is taken."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from glassformer.errors import GlassformerError, did_you_mean
from glassformer.interop import gpt2, own
from glassformer.interop.tensors import Tensors
from glassformer.jsons import read_json
from glassformer.model import Config, Decoder

MAX_TABLE = 2**27  # numbers in a table of fixed positions, whose size no file bounds
FAMILIES = {"gpt2": gpt2.read_config, own.KEY: own.read_config}
_LAYER = re.compile(r"(?:transformer\.h|blocks)\.(\d{1,9})\.")


def read_settings(path: Path) -> tuple[Config, Mapping[str, Any]]:
    """The configuration that a config.json describes as its family, and the settings themselves."""
    settings = read_json(path)
    family = settings.get("model_type")
    if not isinstance(family, str) or family not in FAMILIES:
        raise GlassformerError(
            f"{path}: model_type is {family!r}; Glassformer reads {' and '.join(FAMILIES)}."
            f"{did_you_mean(str(family), FAMILIES)}"
        )
    try:
        config = FAMILIES[family](settings)
        _refuse_huge(config)
    except GlassformerError as error:
        raise GlassformerError(f"{path}: {error}") from error
    return config, settings


def match(path: Path, tensors: Tensors) -> tuple[Config, dict[str, str]]:
    """The configuration of a folder, and for each parameter the name of its tensor."""
    config, settings = read_settings(path)
    as_gpt2 = settings["model_type"] == "gpt2"
    stored = {gpt2.full_name(name) if as_gpt2 else name: name for name in tensors.names}
    if len(stored) < len(tensors.names):
        raise GlassformerError(
            f"{tensors.folder} holds tensors both with and without the prefix 'transformer.';"
            " save the model again"
        )
    if as_gpt2:
        stored = {full: name for full, name in stored.items() if not gpt2.is_buffer(full)}
    _match_layers(path, config, stored, tensors)
    shapes = _shapes(config)
    wanted = dict(gpt2.tensor_names(config)) if as_gpt2 else {name: name for name in shapes}
    _match_names(path, config, wanted, stored, tensors)
    names = {ours: stored[full] for ours, full in wanted.items()}
    for ours, name in names.items():
        shape = shapes[ours][::-1] if wanted[ours] == gpt2.HEAD else shapes[ours]
        _match_shape(path, shape, name, tensors)
    if as_gpt2 and config.tied and gpt2.HEAD in stored:
        _match_tied(path, stored, tensors)
    if as_gpt2 and own.KEY in settings:
        config = _before_folding(path, config, settings, names, tensors)
    kept = _shapes(config)
    return config, {ours: name for ours, name in names.items() if ours in kept}


def _refuse_huge(config: Config) -> None:
    fixed = config.position in ("sinusoidal", "rotary")
    if fixed and config.n_ctx * max(config.d_model, config.d_head) > MAX_TABLE:
        raise GlassformerError(
            f"the table of n_ctx={config.n_ctx:,} positions of {config.d_model:,} numbers is larger"
            f" than {MAX_TABLE:,} numbers, the most there can be; make n_ctx smaller"
        )


def _shapes(config: Config) -> dict[str, tuple[int, ...]]:
    """Each parameter's shape; nothing is allocated."""
    with torch.device("meta"):
        return {n: tuple(p.shape) for n, p in Decoder(config).named_parameters()}


def _match_layers(path: Path, config: Config, stored: Mapping[str, str], tensors: Tensors) -> None:
    found = {int(layer[1]) for layer in map(_LAYER.match, stored) if layer}
    highest = max(found, default=-1)
    if highest + 1 != config.n_layers:
        raise GlassformerError(
            f"{path} says {config.n_layers:,} layers and the weights in {tensors.folder} are of"
            f" {highest + 1}; bring together a config.json and weights of one model"
        )


def _match_names(
    path: Path,
    config: Config,
    wanted: Mapping[str, str],
    stored: Mapping[str, str],
    tensors: Tensors,
) -> None:
    missing = [full for full in wanted.values() if full not in stored]
    if missing == [gpt2.HEAD]:
        raise GlassformerError(
            f"{path} says tie_word_embeddings=false and {tensors.folder} holds no {gpt2.HEAD};"
            " set it to true if the model uses its embedding table as its head"
        )
    if missing:
        raise GlassformerError(
            f"{tensors.folder} lacks {_some(missing)}; bring together a config.json and weights of"
            " one model"
        )
    extra = set(stored) - set(wanted.values()) - ({gpt2.HEAD} if config.tied else set())
    if extra:
        unknown = min(extra, key=list(stored).index)
        raise GlassformerError(
            f"{tensors.place(stored[unknown])} is no tensor of the model that {path} describes"
            f" ({len(extra)} such); Glassformer would compute without it, so take it out or use"
            " the right config.json"
        )


def _match_shape(path: Path, shape: tuple[int, ...], name: str, tensors: Tensors) -> None:
    tensors.dtype(name)
    found = tensors.shape(name)
    if found == shape:
        return
    if found == shape[::-1]:
        raise GlassformerError(
            f"{tensors.place(name)} is transposed: it is {[*found]} and must be {[*shape]}; write"
            " its transpose"
        )
    raise GlassformerError(
        f"{tensors.place(name)} is {[*found]} and by {path} it must be {[*shape]}; bring together a"
        " config.json and weights of one model"
    )


def _match_tied(path: Path, stored: Mapping[str, str], tensors: Tensors) -> None:
    table, head = (tensors.read(stored[n]) for n in ("transformer.wte.weight", gpt2.HEAD))
    if not torch.equal(table, head):
        raise GlassformerError(
            f"{path} ties the head to the embedding table and {tensors.place(stored[gpt2.HEAD])}"
            " differs from it; set tie_word_embeddings to false if the head is its own"
        )


def _before_folding(
    path: Path,
    config: Config,
    settings: Mapping[str, Any],
    names: Mapping[str, str],
    tensors: Tensors,
) -> Config:
    """The configuration that was saved here, if the folder still holds what it was written out as.

    Another program may have trained or resized the model since and kept our note in config.json:
    then the note no longer holds, and the GPT-2 that the folder is stands.
    """
    try:
        saved = own.read_note(settings).replace(dropout=config.dropout)
    except GlassformerError as error:
        raise GlassformerError(f"{path}: {error}") from error
    if gpt2.in_the_way(saved) or gpt2.whole(saved) != config:
        return config
    kept = _shapes(saved)
    for ours, name in names.items():
        if ours not in kept:
            tensor = tensors.read(name)
            written = gpt2.absent(ours, tuple(tensor.shape), saved).to(tensor.dtype)
            # one rounding of slack: a sine may differ in its last digit from machine to machine
            if not torch.allclose(tensor, written, rtol=0, atol=torch.finfo(tensor.dtype).eps):
                return config
    return saved


def _some(names: list[str]) -> str:
    rest = len(names) - 1
    return names[0] + (f" and {rest} other tensor{'s' * (rest > 1)}" if rest else "")
