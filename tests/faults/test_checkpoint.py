"""Kills, full disks and flipped bits: the last good checkpoint stays, and a bad one is named."""

import json
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import safetensors.torch

from glassformer.errors import GlassformerError
from glassformer.training.checkpoint import (
    load_checkpoint,
    save_checkpoint,
    step_folder,
    steps_saved,
)
from tests.faults.writer import BEGUN, contents

WRITER = Path(__file__).with_name("writer.py")


def start_writer(folder: Path, first: int, **options) -> subprocess.Popen[str]:
    command = [sys.executable, str(WRITER), str(folder), str(first)]
    environment = {**os.environ, "PYTHONPATH": str(WRITER.parents[2]), "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
        **options,
    )


def check_all_are_whole(folder: Path) -> list[int]:
    """Every folder that looks like a checkpoint loads, with the numbers of its step."""
    steps = steps_saved(folder)
    for step in steps:
        tensors, state = load_checkpoint(step_folder(folder, step))
        assert state["note"] == step
        for file in tensors.values():
            assert all((tensor == step).all() for tensor in file.values())
    return steps


def test_a_kill_at_any_moment_of_saving_or_pruning_leaves_the_newest_checkpoint_whole(tmp_path):
    moments = random.Random(0)
    newest, partial = 0, 0
    for _ in range(8):
        writer = start_writer(tmp_path, newest + 1)
        assert writer.stdout is not None
        announced = [int(writer.stdout.readline())]
        # saving takes some milliseconds: the kill falls anywhere within one of the next few
        time.sleep(moments.uniform(0, 0.1))
        writer.send_signal(signal.SIGKILL)
        announced += [int(line) for line in writer.stdout]
        writer.communicate()
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
    def small_files_only() -> None:  # a tensor file is 360 kB: writing fails half-way
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))

    save_checkpoint(tmp_path, 1, contents(1))
    writer = start_writer(tmp_path, 2, preexec_fn=small_files_only)
    _, said = writer.communicate(timeout=60)
    assert "could not save" in said
    assert "resume from step 1, which is whole" in said
    assert [path.name for path in tmp_path.iterdir()] == ["step-000001"]
    assert check_all_are_whole(tmp_path) == [1]


@pytest.mark.parametrize("name", ["model.safetensors", "optimizer.safetensors", "state.json"])
def test_one_flipped_bit_anywhere_is_refused_and_the_file_named(tmp_path, name):
    save_checkpoint(tmp_path, 1, contents(1))
    folder = save_checkpoint(tmp_path, 2, contents(2))
    whole = (folder / name).read_bytes()
    for place in random.Random(1).sample(range(len(whole) * 8), 5):
        damaged = bytearray(whole)
        damaged[place // 8] ^= 1 << place % 8
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
