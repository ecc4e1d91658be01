"""Checkpoints that a crash, a full disk or a flipped bit cannot pass off as good.

A checkpoint is a folder `step-NNNNNN`. It is written as `step-NNNNNN.tmp`: tensors (safetensors)
and `state.json`, then `manifest.json` with the SHA-256 of each; files and folder are flushed to the
disk; the folder is renamed; its parent is flushed; only then are older checkpoints removed. So a
folder without `.tmp` in its name is complete, and loading checks every byte of it.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import safetensors
import safetensors.torch
import torch
from pydantic import Field, with_config
from torch import Tensor
from typing_extensions import TypedDict

from glassformer.errors import GlassformerError
from glassformer.files import ordinary_mode, sha256, sync
from glassformer.interop.tensor_file import TensorFile
from glassformer.jsons import OPEN, STRICT, Count, DamagedFileError, Schema, Sha256, self_checking
from glassformer.model.kinds import AnyModel, config_from
from glassformer.training.optimizer import moments_of
from glassformer.training.ranks import spread
from glassformer.training.recipe import Recipe
from glassformer.watch.view import learned

FORMAT = 1
TEMPORARY = ".tmp"


Manifest = with_config(STRICT)(
    TypedDict(
        "Manifest",
        {"model.safetensors": Sha256, "optimizer.safetensors": Sha256, "state.json": Sha256},
    )
)
"""The schema of manifest.json: the SHA-256 of every other file."""


@with_config(OPEN)
class Identity(TypedDict):
    """What a checkpoint must agree with to be gone on from.

    It may have been saved before some fields existed: these had their defaults.
    """

    model: Annotated[dict[str, Any], self_checking(lambda d: config_from(d).to_dict())]
    recipe: Annotated[dict[str, Any], self_checking(lambda d: Recipe.from_dict(d).to_dict())]
    data: dict[str, Any]


@with_config(OPEN)
class State(TypedDict):
    """The schema of state.json: what the next step depends on beside the tensors.

    `best`: the best held-out loss (infinite before the first), its step, and the evaluations since.
    """

    format: int
    step: Count
    seconds: Annotated[float, Field(ge=0)]
    best: Annotated[
        tuple[Annotated[float, Field(allow_inf_nan=True)], Count, Count], Field(strict=False)
    ]
    identity: Identity


_MANIFEST = Schema(Manifest)
_STATE = Schema(State)


class Checkpoint(NamedTuple):
    """What a checkpoint holds: tensors by file and name, and everything else as `state`."""

    tensors: dict[str, dict[str, Tensor]]
    state: dict[str, Any]


def step_folder(parent: Path, step: int) -> Path:
    return parent / f"step-{step:06d}"


def steps_saved(parent: Path) -> list[int]:
    """The steps with a complete checkpoint, in order."""
    if not parent.is_dir():
        return []
    names = (re.fullmatch(r"step-(\d+)", path.name) for path in parent.iterdir())
    return sorted(int(name[1]) for name in names if name)


def save_checkpoint(parent: Path, step: int, checkpoint: Checkpoint) -> Path:
    """Write a checkpoint so that it is found whole or not at all; return its folder."""
    final = step_folder(parent, step)
    if final.exists():
        return final
    parent.mkdir(exist_ok=True)  # not the run's folder: one that was deleted stays so
    remove_leftovers(parent)
    temporary = final.with_name(final.name + TEMPORARY)
    try:
        temporary.mkdir()
        for name, tensors in checkpoint.tensors.items():
            plain = {n: t.detach().cpu().contiguous() for n, t in tensors.items()}
            path = temporary / f"{name}.safetensors"
            with ordinary_mode(path):
                safetensors.torch.save_file(plain, path)
        state = {"format": FORMAT, "step": step, **checkpoint.state}
        (temporary / "state.json").write_text(json.dumps(state, indent=1), encoding="utf-8")
        sums = {path.name: sha256(path) for path in sorted(temporary.iterdir())}
        (temporary / "manifest.json").write_text(json.dumps(sums, indent=1), encoding="utf-8")
        for path in (*temporary.iterdir(), temporary):
            sync(path)
        temporary.rename(final)
        sync(parent)
    except (OSError, safetensors.SafetensorError) as error:
        shutil.rmtree(temporary, ignore_errors=True)
        kept = steps_saved(parent)
        raise GlassformerError(
            f"could not save {final}: {error}; free some space or mend the folder, then resume"
            f" {f'from step {kept[-1]}, which is whole' if kept else 'from the start'}"
        ) from error
    return final


def load_checkpoint(folder: Path) -> Checkpoint:
    """Read a checkpoint and check every byte of it against its manifest."""
    fix = _otherwise(folder)
    manifest = _MANIFEST.read(folder / "manifest.json", fix)
    for name, expected in manifest.items():
        path = folder / name
        if not path.is_file():
            raise GlassformerError(f"{path} is missing; {fix}")
        if sha256(path) != expected:
            raise GlassformerError(
                f"{path} is not what was saved (its SHA-256 differs from manifest.json); {fix}"
            )
    state = _STATE.read(folder / "state.json", fix, version=FORMAT)
    if state["step"] != int(folder.name.removeprefix("step-")):
        raise GlassformerError(
            f"{folder} holds step {state['step']}, not the step of its name; {fix}"
        )
    tensors = {}
    for name in ("model", "optimizer"):
        with TensorFile(folder / f"{name}.safetensors", fix) as file:
            tensors[name] = file.read_all()
    return Checkpoint(tensors, {**state})


def fill(model: AnyModel, recipe: Recipe, checkpoint: Checkpoint, folder: Path) -> None:
    """Give a model the weights of a checkpoint; they and the moments must be of its shapes."""
    expected = {"model": weights_of(model), "optimizer": moments_of(model, recipe)}
    for name, tensors in expected.items():
        _refuse_others(folder, f"{name}.safetensors", checkpoint.tensors[name], tensors)
    stored = checkpoint.tensors["model"]
    with torch.no_grad():
        for name, now in expected["model"].items():
            now.copy_(spread(stored[name], now))


def weights_of(model: AnyModel) -> dict[str, Tensor]:
    """What a checkpoint keeps of a model: the parameters that training changes."""
    return {name: p.detach() for name, p in learned(model).items()}


def _refuse_others(
    folder: Path, file: str, stored: Mapping[str, Tensor], expected: Mapping[str, Tensor]
) -> None:
    """Raise for tensors that are not those of the run's model: names, shapes, kind of number."""
    for name in (*expected, *stored):
        if name not in stored:
            problem = f"lacks the tensor {name}"
        elif name not in expected:
            problem = f"holds {name!r}, which is no tensor of this run"
        elif stored[name].shape != expected[name].shape:
            problem = (
                f"holds {name} as {[*stored[name].shape]}, and by run.json it is"
                f" {[*expected[name].shape]}"
            )
        elif not stored[name].is_floating_point():
            problem = f"holds {name} as {stored[name].dtype}, and weights are fractions"
        else:
            continue
        raise DamagedFileError(folder / file, problem, _otherwise(folder), name)


def prune_checkpoints(parent: Path, keep: int, spare: int | None = None) -> None:
    """Remove all but the newest `keep` checkpoints, and the one of step `spare`."""
    for step in steps_saved(parent)[:-keep]:
        if step != spare:
            remove_checkpoint(parent, step)


def remove_checkpoint(parent: Path, step: int) -> None:
    """Remove one checkpoint; a crash halfway leaves nothing that looks whole."""
    folder = step_folder(parent, step)
    doomed = folder.with_name(f"{folder.name}.old{TEMPORARY}")
    folder.rename(doomed)
    shutil.rmtree(doomed)


def remove_leftovers(parent: Path) -> None:
    """Remove what a crash in the middle of saving or pruning left behind."""
    for path in parent.glob(f"step-*{TEMPORARY}"):
        shutil.rmtree(path)


def _otherwise(folder: Path) -> str:
    """What to do about a broken checkpoint."""
    others = [step for step in steps_saved(folder.parent) if folder.name != f"step-{step:06d}"]
    if others:
        return f"delete {folder} to resume from step {others[-1]}"
    return "there is no other checkpoint in this run; train again"
