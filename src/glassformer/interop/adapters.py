"""Adapters as a folder that `peft` reads and writes, beside the model that they are for.

adapter_config.json names the frozen model and says what is adapted; adapter_model.safetensors holds
of every adapted matrix lora_A [r, in] and lora_B [out, r]. Matrices that a family stores in one
have one adapter there: ours lie in it rank beside rank, with zeros between them, which is the same
sum. Such an adapter of another program becomes one of ours for each matrix.
"""

from __future__ import annotations

import hashlib
import json
import re
import reprlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from glassformer.errors import GlassformerError
from glassformer.files import write_atomically
from glassformer.interop.form import Form
from glassformer.interop.layouts import AS_OURS, Shape, Stored, shapes_of
from glassformer.interop.match import form_for
from glassformer.interop.own import OWN
from glassformer.interop.tensors import Tensors, digest, write_tensors
from glassformer.jsons import kind, parse_object, read_json
from glassformer.model import Config
from glassformer.model.adapted import adapters_of, refuse_two, with_adapters
from glassformer.model.kinds import OneTower, kind_of
from glassformer.model.parts import ADAPTABLE, Lora

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
LARGEST_ALPHA = 10**6  # people give 1 to 1,000
NOTE = "glassformer.adapters"
"""Header metadata: which matrices are adapted, and the fingerprint of the frozen weights."""

PREFIX, SIDES = "base_model.model.", (".lora_A.weight", ".lora_B.weight")
PLAIN = {
    *("alpha_pattern", "base_model_name_or_path", "ensure_weight_tying", "exclude_modules"),
    *("fan_in_fan_out", "inference_mode", "init_lora_weights", "lora_alpha", "lora_dropout"),
    *("peft_version", "peft_type", "qalora_group_size", "r", "rank_pattern", "revision"),
    *("target_modules", "task_type", "use_rslora", "layers_pattern", "auto_mapping", "bias"),
    *("megatron_core", "layers_to_transform"),
}
"""Settings of `peft` that change no number, or that are read here."""

CHANGING = ("pissa", "olora", "corda", "loftq", "eva", "lora_ga")
"""Ways to begin that change the frozen weights, too."""


class StoredAdapter(NamedTuple):
    """One adapter of a file: its family's name for the frozen matrix, its two, its scale."""

    stored: Stored
    A: Tensor  # [in, rank]
    B: Tensor  # [rank, out]
    scale: float


def is_adapters(folder: Path) -> bool:
    """Whether a folder holds adapters and names the model that they are for."""
    return (folder / CONFIG).is_file()


def base_of(folder: Path) -> str:
    """The model that a folder's adapters are for: a folder, or another name that `load` knows.

    A folder that was moved together with this one is found beside it.
    """
    name = read_json(folder / CONFIG).get("base_model_name_or_path")
    if not isinstance(name, str) or not name:
        raise GlassformerError(
            f"{folder / CONFIG} names no base_model_name_or_path; say there which model the"
            " adapters are for"
        )
    path = Path(name)
    if path.is_absolute() and not path.is_dir():
        moved = folder.resolve().parent / path.name
        if not moved.is_dir():
            raise GlassformerError(
                f"the adapters in {folder} are for the model in {path}, which is not there; put it"
                f" back, or say in {folder / CONFIG} where it is"
            )
        path = moved
    if path.is_dir() and (is_adapters(path) or path.resolve() == folder.resolve()):
        raise GlassformerError(
            f"the adapters in {folder} are for {path}, which holds adapters itself; merge those"
            f" first: glassformer export {path} NEW, and name NEW in {folder / CONFIG}"
        )
    return str(path) if path.is_dir() else name


def fingerprint(model: OneTower) -> str:
    """The SHA-256 of a model's frozen weights."""
    result = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        if ".lora_" not in name:
            result.update(f"{name} {digest(tensor.cpu())}\n".encode())
    return result.hexdigest()


def write_adapters(model: OneTower, folder: Path) -> None:
    """Write a model's adapters as `peft` does; the frozen weights stay where they are."""
    lora = model.config.lora
    assert lora is not None, "asked of an adapted model"
    config = model.config.replace(lora=None)
    adapters, shapes = adapters_of(model), shapes_of(config)
    tensors: dict[str, Tensor] = {}
    fused: dict[str, int] = {}
    targets: set[str] = set()
    as_ours = False
    for stored in adapted(form_of(model), config, adapters):
        present = [part for part in stored.parts if part in adapters]
        module = stored.name.removesuffix(".weight")
        ours = {part: adapters[part].B.detach() for part in present}
        sides = [torch.cat([adapters[part].A.detach().T for part in present])]
        written = []
        for part in present:
            nothing = {q: ours[part].new_zeros(lora.rank, shapes[q][-1]) for q in stored.parts}
            parts = {**nothing, part: ours[part]}
            tensor = stored.layout.write([*parts.values()])
            written.append(tensor.T if stored.layout is AS_OURS else tensor)
        sides.append(torch.cat(written, 1))
        tensors |= {f"{PREFIX}{module}{s}": side for s, side in zip(SIDES, sides, strict=True)}
        short = re.split(r"\.\d+\.", module, maxsplit=1)[-1]
        targets.add(short)
        as_ours |= stored.layout is AS_OURS
        if len(present) > 1:
            fused[short] = len(present)
    settings = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM" if config.causal else None,
        "base_model_name_or_path": model.folder_settings.base,
        "r": lora.rank,
        "lora_alpha": lora.alpha,
        "target_modules": sorted(targets),
        "fan_in_fan_out": as_ours,
        "lora_dropout": 0.0,
        "bias": "none",
        "inference_mode": True,
        "rank_pattern": {name: n * lora.rank for name, n in sorted(fused.items())},
        "alpha_pattern": {name: n * lora.alpha for name, n in sorted(fused.items())},
    }
    note = {"lora": lora.to_dict(), "frozen_sha256": fingerprint(model)}
    write_tensors(folder / WEIGHTS, tensors, {NOTE: json.dumps(note)})
    write_atomically(folder / CONFIG, json.dumps(settings, indent=2))


def read_adapters(folder: Path, base: OneTower) -> OneTower:
    """The model `base` with the adapters of a folder, each number checked before it is used.

    Errors: adapters that are not of one rank and weight, beside matrices that are not the same in
    every block, or of a kind that adds more than x A B; frozen weights that are others than those
    that the adapters were trained beside.
    """
    refuse_two(base.config)
    with Tensors(folder, (WEIGHTS,)) as file:
        note = _note(file, folder)
        result = [*_stored_adapters(folder, base, file)]
        if not result:
            raise GlassformerError(f"{folder / WEIGHTS} holds no adapter; save it again")
        lora = _lora(folder, base.config, result, note)
        model = with_adapters(base, lora)
        if note.get("frozen_sha256", "") not in ("", fingerprint(model)):
            raise GlassformerError(
                f"the model in {base_of(folder)} has changed since the adapters in {folder} were"
                " trained beside it; put the weights back that it had, or train the adapters again"
            )
        _fill(model, result, apart=bool(note))
    return model.eval()


def config_with_adapters(folder: Path, config: Config) -> Config:
    """The configuration of a model with the adapters of a folder; no weights are made."""
    with torch.device("meta"):
        base = kind_of(config)(config)
    with Tensors(folder, (WEIGHTS,)) as file:
        result = [*_stored_adapters(folder, base, file)]
        return config.replace(lora=_lora(folder, config, result, _note(file, folder)).to_dict())


def form_of(model: OneTower) -> Form:
    """The form in which the frozen model's folder has its tensors."""
    return form_for(model.config.replace(lora=None), model.folder_settings.model_type)


def adapted(form: Form, config: Config, parts: Mapping[str, Any]) -> Iterator[Stored]:
    """The tensors of the form that hold some of these parts of ours."""
    if form is OWN:
        yield from (Stored(f"{part}.weight", (part,), AS_OURS) for part in parts)
        return
    missing = {*parts}
    for stored in form.tensors(form.with_all_parameters(config)):
        if not missing.isdisjoint(stored.parts):
            missing -= {*stored.parts}
            yield stored
    if missing:
        raise GlassformerError(
            f"a folder of the family {form.model_type} has no {min(missing)} that could be adapted;"
            f" adapt other matrices than {min(missing).rpartition('.')[2]}"
        )


def _note(file: Tensors, folder: Path) -> dict[str, Any]:
    said = file.metadata.get(NOTE, "{}").encode(errors="surrogatepass")
    return parse_object(said, Path(f"{folder / WEIGHTS}: {NOTE} in its header"), "save it again")


def _stored_adapters(folder: Path, base: OneTower, file: Tensors) -> Iterator[StoredAdapter]:
    """Every adapter of a file, with the tensor of the base's form that it is for."""
    settings = read_json(folder / CONFIG)
    _refuse_settings(folder, settings)
    config, form = base.config, form_of(base)
    parts = [
        name
        for name in shapes_of(config)
        if name.rpartition(".")[2] in ADAPTABLE and _is_one_matrix(name, config)
    ]
    tensors = {stored.name: stored for stored in adapted(form, config, dict.fromkeys(parts))}
    modules = {name.removeprefix(PREFIX).removesuffix(end) for name in file.names for end in SIDES}
    modules = {module for module in modules if not module.endswith(SIDES)}
    for pattern in _alphas(settings):
        if not any(f".{module}".endswith(f".{pattern}") for module in modules):
            raise GlassformerError(
                f"{folder / CONFIG}: alpha_pattern {pattern!r} is the end of no adapted module's"
                " name, and Glassformer reads no other patterns; write the modules out"
            )
    full = form.full_names(f"{module}.weight" for module in sorted(modules))
    for name, full_name in full.items():
        module = full_name.removesuffix(".weight")
        names = [f"{PREFIX}{module}{side}" for side in SIDES]
        if name not in tensors or any(each not in file.names for each in names):
            raise GlassformerError(
                f"{folder / WEIGHTS} adapts {module} in a way that Glassformer does not compute;"
                f" it adapts {', '.join(ADAPTABLE)} of every block, each by a lora_A and a lora_B"
            )
        A, B = (file.read(each) for each in names)
        if A.ndim != 2 or B.ndim != 2 or A.shape[0] != B.shape[1]:
            raise GlassformerError(
                f"{folder / WEIGHTS}: the adapter of {module} is {[*A.shape]} and {[*B.shape]}, and"
                " two matrices [r, in] and [out, r] are wanted; save it again"
            )
        yield StoredAdapter(tensors[name], A.T, B.T, _scale(settings, module, len(A)))


def _is_one_matrix(name: str, config: Config) -> bool:
    """Whether it is one of a block's own, and not that of experts."""
    return ".mlp." not in name or not config.has_experts(int(name.split(".")[1]))


def _scale(settings: dict[str, Any], module: str, rank: int) -> float:
    """alpha / r of a module, which may have an alpha of its own."""
    alphas = (value for key, value in _alphas(settings).items() if f".{module}".endswith(f".{key}"))
    alpha = next(alphas, settings.get("lora_alpha", 8))
    if not isinstance(alpha, int | float) or not abs(alpha) <= LARGEST_ALPHA:
        raise GlassformerError(
            f"{CONFIG}: alpha {reprlib.repr(alpha)} must be a number of at most"
            f" {LARGEST_ALPHA:,}; save it again"
        )
    return alpha / (rank**0.5 if settings.get("use_rslora") else rank)


def _alphas(settings: dict[str, Any]) -> dict[str, Any]:
    """The modules that have an alpha of their own, by the ends of their names."""
    patterns = settings.get("alpha_pattern") or {}
    if not isinstance(patterns, dict):
        raise GlassformerError(
            f"{CONFIG}: alpha_pattern must be numbers by name, and is {kind(patterns)}; save it"
            " again"
        )
    return patterns


def _refuse_settings(folder: Path, settings: dict[str, Any]) -> None:
    peft_type, begun = settings.get("peft_type"), settings.get("init_lora_weights")
    unknown = [
        name
        for name, value in settings.items()
        if name not in PLAIN and value not in (None, False, "", [], {})
    ]
    if peft_type != "LORA":
        problem = f"peft_type={peft_type!r}"
    elif unknown:
        problem = f"{unknown[0]}={settings[unknown[0]]!r}"
    elif settings.get("bias", "none") != "none":
        problem = f"bias={settings['bias']!r}"
    elif isinstance(begun, str) and begun.startswith(CHANGING):
        problem = f"init_lora_weights={begun!r}"
    else:
        return
    raise GlassformerError(
        f"{folder / CONFIG}: {problem} is a kind of adapters that Glassformer does not compute; it"
        " computes x W + (x A) B alpha / r (peft_type LORA), beside frozen weights and biases"
    )


def _lora(
    folder: Path, config: Config, adapters: list[StoredAdapter], note: dict[str, Any]
) -> Lora:
    """What is adapted, the same in every block."""
    if "lora" in note:
        return Lora.from_dict(note["lora"])
    parts = {part for each in adapters for part in each.stored.parts}
    on = {part.rpartition(".")[2] for part in parts}
    scope = {"W_gate": "mlp", "W_in": "mlp", "W_out": "mlp"}
    every = {
        f"blocks.{i}.{scope.get(name, 'attn')}.{name}"
        for i in range(config.n_layers)
        for name in on
    }
    if parts != every:
        where = min(every ^ parts)
        raise GlassformerError(
            f"{folder / WEIGHTS}: {where} is {'not ' if where in every else ''}adapted, unlike the"
            " same matrix of other blocks; Glassformer adapts those of all blocks alike"
        )
    kinds = {(each.A.shape[1], each.scale) for each in adapters}
    if len(kinds) > 1:
        raise GlassformerError(
            f"{folder / WEIGHTS}: its adapters have different ranks or scales (rank, alpha / r):"
            f" {', '.join(map(str, sorted(kinds)))}; Glassformer computes with one of each"
        )
    rank, scale = kinds.pop()
    return Lora(rank=rank, alpha=scale * rank, on=tuple(on))


def _fill(model: OneTower, stored_adapters: list[StoredAdapter], apart: bool) -> None:
    """Copy a file's numbers into a model's adapters; `apart`: each of a fused one has its ranks."""
    adapters = adapters_of(model)
    for stored, A, B, _ in stored_adapters:
        parts = [part for part in stored.parts if part in adapters]
        shapes: list[Shape] = [(len(B), adapters[part].B.shape[1]) for part in parts]
        if len(parts) != len(stored.parts):  # the others' columns hold zeros
            base = shapes_of(model.config.replace(lora=None))
            shapes = [(len(B), base[part][-1]) for part in stored.parts]
        values = stored.layout.read(B if stored.layout is AS_OURS else B.T, shapes)
        columns = dict(zip(stored.parts, values, strict=True))
        for i, part in enumerate(parts):
            rank = adapters[part].B.shape[0]
            rows = slice(i * rank, (i + 1) * rank) if apart else slice(None)
            with torch.no_grad():
                adapters[part].A.copy_(A[:, rows])
                adapters[part].B.copy_(columns[part][rows])
