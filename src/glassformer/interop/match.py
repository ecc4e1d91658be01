"""Does config.json describe the tensors that are there? Asked before any memory is taken."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from glassformer.errors import GlassformerError, did_you_mean
from glassformer.interop import families, own
from glassformer.interop.family import default_tensor
from glassformer.interop.form import Form, differing
from glassformer.interop.layouts import Shape, Stored, shapes_of
from glassformer.interop.other_kinds import part_not_computed
from glassformer.interop.tensors import Tensors
from glassformer.jsons import read_json
from glassformer.model import Config, TowersConfig

MAX_TABLE = 2**27  # numbers in a table of fixed positions, whose size no file bounds


def form_of(path: Path, settings: Mapping[str, Any]) -> Form:
    """The form that a config.json says it has."""
    model_type, known = settings.get("model_type"), [*families.names(), own.KEY]
    if model_type == own.KEY:
        return own.OWN
    if not isinstance(model_type, str) or model_type not in known:
        part = part_not_computed(settings)
        has = "" if part is None else f", which has {part}, and that is not computed here"
        meant = "" if part else did_you_mean(str(model_type), known)
        raise GlassformerError(
            f"{path}: model_type is {model_type!r}{has}; Glassformer reads {', '.join(known[:-1])}"
            f" and {known[-1]}.{meant}"
        )
    return families.family(model_type)


def form_for(config: Config | TowersConfig, preferred: str = "") -> Form:
    """The form in which a configuration is written: the preferred one if it expresses it."""
    forms = sorted(families.by_rank(), key=lambda form: form.model_type != preferred)
    return next((form for form in forms if not form.unsupported_fields(config)), own.OWN)


def what_no_family_has(config: Config | TowersConfig) -> str:
    """That no family can hold a configuration, and what the family lacks that lacks fewest."""
    of_towers = isinstance(config, TowersConfig)
    alike = [family for family in families.by_rank() if family.is_of_towers == of_towers]
    lacks = {family.model_type: family.unsupported_fields(config) for family in alike}
    nearest = min(lacks, key=lambda name: len(lacks[name]))
    return (
        "no family of models has all of its choices together; the nearest,"
        f" {nearest}, lacks {' and '.join(lacks[nearest])}"
    )


def read_settings(path: Path) -> tuple[Config | TowersConfig, Form, Mapping[str, Any]]:
    """The configuration that a config.json describes, its form, and the settings themselves."""
    settings = read_json(path)
    form = form_of(path, settings)
    try:
        config = form.read_config(settings)
        _refuse_huge(config)
    except GlassformerError as error:
        raise GlassformerError(f"{path}: {error}") from error
    return config, form, settings


def match(path: Path, tensors: Tensors) -> tuple[Config | TowersConfig, list[Stored]]:
    """The configuration of a folder, and each of its tensors under the name in the file."""
    config, form, settings = read_settings(path)
    files = form.full_names(tensors.names)
    _match_layers(path, config, form, files, tensors)
    expected, shapes = form.tensors(config), shapes_of(config)
    copies = form.copies(config)
    _first_of_copies(files, copies)
    _match_names(path, config, form, expected, files, tensors)
    held = [Stored(files[tensor.name], tensor.parts, tensor.layout) for tensor in expected]
    for tensor in held:
        shape = tensor.layout.shape([shapes[part] for part in tensor.parts])
        _match_shape(path, shape, tensor.name, tensors)
    for copy, of in copies.items():
        if copy in files and of in files:
            _match_tied(path, files[of], files[copy], copy == form.head_name, tensors)
    if own.KEY in settings and form is not own.OWN:
        config = _before_filling(path, config, form, settings, held, tensors)
    kept = shapes_of(config)
    return config, [tensor for tensor in held if kept.keys() & {*tensor.parts} or not tensor.parts]


def _refuse_huge(config: Config | TowersConfig) -> None:
    if isinstance(config, TowersConfig):
        _refuse_huge(config.encoder)
        _refuse_huge(config.decoder)
        return
    widths = {"sinusoidal": config.d_model, "rotary": config.d_head}
    width = widths.get(config.position, 0)
    if config.n_ctx * width > MAX_TABLE:
        raise GlassformerError(
            f"the table of n_ctx={config.n_ctx:,} positions of {width:,} numbers is larger"
            f" than {MAX_TABLE:,} numbers, the most there can be; make n_ctx smaller"
        )


def _match_layers(
    path: Path,
    config: Config | TowersConfig,
    form: Form,
    files: Mapping[str, str],
    tensors: Tensors,
) -> None:
    layers = {layer for layer in map(form.layer_of, files) if layer is not None}
    highest = max(layers, default=-1)
    numbered = next((name for name in tensors.names if re.search(r"\.\d+\.", name)), None)
    if not layers and numbered is not None:
        raise GlassformerError(
            f"{tensors.location(numbered)} is not named as a layer's tensor of the family"
            f" {form.model_type}, and no other is; write the weights with the names of the family"
        )
    if highest + 1 != config.n_layers:
        raise GlassformerError(
            f"{path} says {config.n_layers:,} layers and the weights in {tensors.folder} are of"
            f" {highest + 1}; bring together a config.json and weights of one model"
        )


def _match_names(
    path: Path,
    config: Config | TowersConfig,
    form: Form,
    expected: list[Stored],
    files: Mapping[str, str],
    tensors: Tensors,
) -> None:
    names = [tensor.name for tensor in expected]
    missing = [name for name in names if name not in files]
    if missing == [form.head_name]:
        raise GlassformerError(
            f"{path} says tie_word_embeddings=false and {tensors.folder} holds no {form.head_name};"
            " set it to true if the model uses its embedding table as its head"
        )
    heads = ("masked_head.", "unembed.")
    of_head = {t.name for t in expected if any(part.startswith(heads) for part in t.parts)}
    if missing and isinstance(config, Config) and config.masked_head and {*missing} <= of_head:
        raise GlassformerError(
            f"{tensors.folder} is an encoder without the head that says which word is hidden"
            f" (it lacks {_some(missing)}), so it gives vectors and no word; take the folder of a"
            " masked language model, such as transformers' AutoModelForMaskedLM saves"
        )
    if missing:
        raise GlassformerError(
            f"{tensors.folder} lacks {_some(missing)}; bring together a config.json and weights of"
            " one model"
        )
    extra = set(files) - set(names) - form.copies(config).keys()
    if extra:
        unknown = min(extra, key=list(files).index)
        raise GlassformerError(
            f"{tensors.location(files[unknown])} is no tensor of the model that {path} describes"
            f" ({len(extra)} such); Glassformer would compute without it, so take it out or use"
            " the right config.json"
        )


def _match_shape(path: Path, shape: Shape, name: str, tensors: Tensors) -> None:
    tensors.dtype(name)
    stored = tensors.shape(name)
    if stored == shape:
        return
    if stored == shape[::-1]:
        raise GlassformerError(
            f"{tensors.location(name)} is transposed: it is {[*stored]} and must be {[*shape]};"
            " write its transpose"
        )
    raise GlassformerError(
        f"{tensors.location(name)} is {[*stored]} and by {path} it must be {[*shape]}; bring"
        " together a config.json and weights of one model"
    )


def _first_of_copies(files: dict[str, str], copies: Mapping[str, str]) -> None:
    """A folder may hold a table only under the name of one that shares it."""
    for copy, of in copies.items():
        if of not in files and copy in files:
            files[of] = files[copy]


def _match_tied(path: Path, table: str, copy: str, is_head: bool, tensors: Tensors) -> None:
    if not torch.equal(tensors.read(table), tensors.read(copy)):
        whose = "ties the head to the embedding table" if is_head else "shares the embedding table"
        fix = "set tie_word_embeddings to false if the head is its own"
        raise GlassformerError(
            f"{path} {whose} and {tensors.location(copy)} differs from it;"
            f" {fix if is_head else 'save the model again'}"
        )


def _before_filling(
    path: Path,
    config: Config | TowersConfig,
    form: Form,
    settings: Mapping[str, Any],
    held: list[Stored],
    tensors: Tensors,
) -> Config | TowersConfig:
    """The configuration that was saved here, if the folder still holds what it was written out as.

    Another program may have trained or resized the model since and kept our note in config.json:
    then the note no longer holds, and the model that the folder is stands.
    """
    try:
        saved = own.read_note(settings)
    except GlassformerError as error:
        raise GlassformerError(f"{path}: {error}") from error
    if form.has_setting_for("dropout"):
        saved = saved.with_dropout(config.dropout)
    if form.unsupported_fields(saved) or differing(form.with_all_parameters(saved), config):
        return config
    kept, shapes = shapes_of(saved), shapes_of(config)
    for tensor in held:
        if all(part in kept for part in tensor.parts):
            continue
        stored = tensors.read(tensor.name)
        parts = tensor.layout.read(stored, [shapes[part] for part in tensor.parts])
        for part, value in zip(tensor.parts, parts, strict=True):
            written = default_tensor(part, tuple(value.shape), saved).to(value.dtype)
            # one rounding of slack: a sine may differ in its last digit from machine to machine
            slack = torch.finfo(value.dtype).eps
            if part not in kept and not torch.allclose(value, written, rtol=0, atol=slack):
                return config
    return saved


def _some(names: list[str]) -> str:
    rest = len(names) - 1
    return names[0] + (f" and {rest} other tensor{'s' * (rest > 1)}" if rest else "")
