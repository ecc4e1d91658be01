"""Jumps of the loss and of the clock, other devices, and the same training again."""

import hashlib
import itertools
import json
import time
from pathlib import Path

import pytest
import torch

from glassformer.interop.folder import load_folder
from glassformer.training.choices import Choices
from glassformer.training.loop import train
from glassformer.training.prepare import new_run, resumed_run
from glassformer.training.replay import Replay
from glassformer.training.run import Run, load_run
from tests.training.replayed import train_run
from tests.training.small import small_data, small_model, small_recipe, weights_equal
from tests.training.test_loop import new_run as described_run
from tests.training.test_loop import stop_after

USUAL = "the cat sat on the mat and the dog sat on the log . "
ODD = "log log dog . mat the on and cat cat sat . "


def test_a_jump_of_the_loss_is_logged_and_computed_again_alike(tmp_path: Path):
    text = tmp_path / "text.txt"
    text.write_text(USUAL * 60 + ODD * 2 + USUAL * 40)  # two odd lines among a hundred alike
    sizes = {"n_ctx": 8, "d_model": 16, "n_layers": 1, "n_heads": 2}
    recipe = {"steps": 60, "batch_size": 2, "lr": 1e-2, "eval_every": 0}
    choices = Choices(texts=(str(text),), tokenizer="words", model=sizes, recipe=recipe)
    prepared = new_run(tmp_path / "run", choices)
    with prepared.run as run:
        train(prepared.model, prepared.data, prepared.recipe, run=run)
    losses = load_run(tmp_path / "run").of("loss")
    jump = max(range(30, 61), key=lambda step: losses[step] - losses[step - 1])
    assert losses[jump] > losses[jump - 1] + 0.2  # nats: one odd line is in its batch
    replay = Replay(tmp_path / "run", jump - 1)
    assert replay.advance().get("loss") == losses[jump]
    (batch,) = replay.batches(jump)
    assert torch.equal(batch.ids, prepared.data.batch(jump - 1, 2).ids)


def test_a_clock_that_jumps_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    recipe = small_recipe()
    steady = small_model()
    train(steady, small_data(), recipe)
    now = time.time()
    jumps = itertools.cycle([86_400.0, -86_400.0 * 365, 0.0, 1e9])
    monkeypatch.setattr(time, "time", lambda: now + next(jumps))
    model = small_model()
    with described_run(tmp_path / "run", model, recipe) as run:
        train(model, small_data(), recipe, run=run, should_stop=stop_after(7))
    resumed = small_model()
    with Run.reopen(tmp_path / "run") as run:
        train(resumed, small_data(), recipe, run=run)
    assert weights_equal(resumed, steady)
    spent = [*load_run(tmp_path / "run").of("seconds").values()]
    assert spent == sorted(spent)
    assert 0 < spent[-1] < 3600


DEVICES = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]


@pytest.mark.parametrize("device", DEVICES)
def test_a_run_of_any_device_goes_on_on_the_cpu(tmp_path: Path, device: str):
    text = tmp_path / "text.txt"
    text.write_text(USUAL * 40)
    sizes = {"n_ctx": 8, "d_model": 16, "n_layers": 1, "n_heads": 2}
    recipe = {"steps": 12, "batch_size": 2, "eval_every": 0}
    choices = Choices((str(text),), tokenizer="words", model=sizes, recipe=recipe, device=device)
    begun = new_run(tmp_path / "run", choices)
    with begun.run as run:
        train(begun.model, begun.data, begun.recipe, run=run, should_stop=stop_after(6))
    for file in ("run.json", "checkpoints/step-000006/state.json"):
        assert "device" not in json.loads((tmp_path / "run" / file).read_text())
    gone_on = resumed_run(tmp_path / "run", "cpu")
    with gone_on.run as run:
        outcome = train(gone_on.model, gone_on.data, gone_on.recipe, run=run)
    assert (outcome.reason, outcome.step) == ("finished", 12)


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
def test_the_same_training_twice_leaves_checkpoints_of_the_same_bytes(
    tmp_path: Path, optimizer: str
):
    """The model's own file says the same too, its two notes in an order that safetensors draws."""
    sums = []
    for name in ("once", "again"):
        train_run(tmp_path / name, optimizer=optimizer)
        files = sorted((tmp_path / name).glob("*/step-*/*.safetensors"))
        sums.append([hashlib.sha256(file.read_bytes()).hexdigest() for file in files])
    assert len(sums[0]) > 5  # of each checkpoint and snapshot two
    assert sums[0] == sums[1]
    assert weights_equal(*(load_folder(tmp_path / name)[0] for name in ("once", "again")))
