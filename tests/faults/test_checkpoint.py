"""Kills, full disks and flipped bits: the last good checkpoint stays, and a bad one is named."""

import json
import os
import random
import resource
import shutil
import signal
import time
from pathlib import Path
from typing import TextIO

import pytest
import safetensors.torch

from glassformer.errors import GlassformerError
from glassformer.training.checkpoint import (
    load_checkpoint,
    save_checkpoint,
    step_folder,
    steps_saved,
)
from tests.faults.writer import BEGUN, contents, write_on


def start_writer(
    folder: Path, first: int, largest_file: int | None = None
) -> tuple[int, TextIO, TextIO]:
    """Fork a process that saves on and on; its id, the steps it says it saved, its last words."""
    (steps, saved), (words, said) = os.pipe(), os.pipe()
    child = os.fork()
    if child == 0:
        try:
            if largest_file is not None:
                resource.setrlimit(resource.RLIMIT_FSIZE, (largest_file, largest_file))
            write_on(folder, first, lambda step: os.write(saved, f"{step}\n".encode()))
        except BaseException as error:
            os.write(said, str(error).encode())
        finally:
            os._exit(1)  # nothing of the tests goes on here
    os.close(saved)
    os.close(said)
    return child, os.fdopen(steps), os.fdopen(words)


def check_all_are_whole(folder: Path) -> list[int]:
    """Every folder that looks like a checkpoint loads, with the numbers of its step."""
    steps = steps_saved(folder)
    for step in steps:
        tensors, state = load_checkpoint(step_folder(folder, step))
        assert state["note"] == step
        for file in tensors.values():
            assert all((tensor == step).all() for tensor in file.values())
    return steps


@pytest.mark.parametrize("kills", [8, pytest.param(50, marks=pytest.mark.heavy)])
def test_a_kill_at_any_moment_of_saving_or_pruning_leaves_the_newest_checkpoint_whole(
    tmp_path, kills
):
    moments = random.Random(0)
    newest, partial = 0, 0
    for _ in range(kills):
        writer, saved, _ = start_writer(tmp_path, newest + 1)
        announced = [int(saved.readline())]
        # saving takes some milliseconds: the kill falls anywhere within one of the next few
        time.sleep(moments.uniform(0, 0.1))
        os.kill(writer, signal.SIGKILL)
        announced += [int(line) for line in saved]
        os.waitpid(writer, 0)
        partial += bool([*tmp_path.glob("*.tmp")])
        steps = check_all_are_whole(tmp_path)
        assert steps[-1] >= announced[-1]  # what was said to be saved is there
        assert len(steps) <= 3  # two kept, and one not yet pruned
        newest = steps[-1]
    assert partial > 0  # some kills did fall into the middle


def test_what_a_kill_left_behind_is_removed_by_the_next_save(tmp_path):
    save_checkpoint(tmp_path, 1, contents(1))
    shutil.copytree(tmp_path / "step-000001", tmp_path / "step-000002.tmp")
    shutil.copytree(tmp_path / "step-000001", tmp_path / "step-000000.old.tmp")
    save_checkpoint(tmp_path, 3, contents(3))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["step-000001", "step-000003"]


def test_a_full_disk_keeps_the_old_checkpoint_removes_the_new_one_and_says_so(tmp_path):
    save_checkpoint(tmp_path, 1, contents(1))
    # a tensor file is 360 kB: writing fails half-way
    writer, _, words = start_writer(tmp_path, 2, largest_file=100_000)
    said = words.read()
    os.waitpid(writer, 0)
    assert "could not save" in said
    assert "resume from step 1, which is whole" in said
    assert [path.name for path in tmp_path.iterdir()] == ["step-000001"]
    assert check_all_are_whole(tmp_path) == [1]


@pytest.mark.parametrize("name", ["model.safetensors", "optimizer.safetensors", "state.json"])
def test_one_flipped_bit_anywhere_is_refused_and_the_file_named(tmp_path, name):
    save_checkpoint(tmp_path, 1, contents(1))
    folder = save_checkpoint(tmp_path, 2, contents(2))
    content = (folder / name).read_bytes()
    for bit in random.Random(1).sample(range(len(content) * 8), 5):
        damaged = bytearray(content)
        damaged[bit // 8] ^= 1 << bit % 8
        (folder / name).write_bytes(damaged)
        with pytest.raises(GlassformerError, match=name) as refusal:
            load_checkpoint(folder)
        assert "is not what was saved" in str(refusal.value)
        assert "to resume from step 1" in str(refusal.value)


def test_a_truncated_file_a_missing_file_and_a_missing_manifest_are_named(tmp_path):
    for step, name in enumerate(("model.safetensors", "optimizer.safetensors", "manifest.json")):
        folder = save_checkpoint(tmp_path, step, contents(step))
        path = folder / name
        if step == 0:
            path.write_bytes(path.read_bytes()[:-100])
        else:
            path.unlink()
        with pytest.raises(GlassformerError, match=name):
            load_checkpoint(folder)


def test_tensors_of_another_step_are_refused(tmp_path):
    old = save_checkpoint(tmp_path, 1, contents(1))
    new = save_checkpoint(tmp_path, 2, contents(2))
    shutil.copy(old / "model.safetensors", new / "model.safetensors")
    with pytest.raises(GlassformerError, match="is not what was saved"):
        load_checkpoint(new)
    old.rename(tmp_path / "step-000007")
    with pytest.raises(GlassformerError, match="holds step 1, not the step of its name"):
        load_checkpoint(tmp_path / "step-000007")


def test_a_checkpoint_of_another_format_is_refused_by_its_version(tmp_path, monkeypatch):
    monkeypatch.setattr("glassformer.training.checkpoint.FORMAT", 99)
    folder = save_checkpoint(tmp_path, 1, contents(1))
    monkeypatch.undo()
    with pytest.raises(GlassformerError, match="format 99, this version reads 1"):
        load_checkpoint(folder)


def test_a_checkpoint_is_plain_safetensors_and_json(tmp_path):
    folder = save_checkpoint(tmp_path, 4, contents(4))
    assert safetensors.torch.load_file(folder / "model.safetensors")["a"].shape == (300, 100)
    state = json.loads((folder / "state.json").read_text())
    assert state == {"format": 1, "step": 4, "note": 4, **BEGUN}
    files = {"manifest.json", "model.safetensors", "optimizer.safetensors", "state.json"}
    assert {path.name for path in folder.iterdir()} == files
