"""Several processes train as one does: the same losses, resumed bit for bit, at any number."""

import json
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest
import torch
from safetensors.torch import load_file
from torch.distributed.distributed_c10d import Store

from glassformer.interop.folder import load_folder
from glassformer.training.checkpoint import load_checkpoint, steps_saved
from glassformer.training.data import Batch
from glassformer.training.distributed import Group
from glassformer.training.ranks import ALONE
from glassformer.training.run import read_metrics
from tests.training.small import small_data
from tests.training.together import (
    END,
    OPTIMIZERS,
    RUNS,
    before,
    long_recipe,
    losses_of,
    run_to,
)

KINDS = tuple(kind for _, kind in RUNS)
ROUNDING = 1e-6  # sums of fp32 in another order, over 50 steps


class Trained(NamedTuple):
    folder: Path
    losses: dict[str, dict[str, list[float]]]


@pytest.fixture(
    scope="module", params=[2, *(pytest.param(n, marks=pytest.mark.heavy) for n in (3, 4))]
)
def trained(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Trained:
    folder = tmp_path_factory.mktemp("together")
    before(folder)
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    ranks = ["--nproc-per-node", str(request.param), "-m", "tests.training.together", str(folder)]
    done = subprocess.run([*command, *ranks], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    return Trained(folder, json.loads((folder / "losses.json").read_text()))


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_losses_are_those_of_one_process_over_fifty_steps(trained, optimizer):
    alone = losses_of(ALONE, long_recipe(optimizer))
    assert len(alone["loss"]) == 50
    for kind in KINDS:
        together = trained.losses[f"{optimizer} {kind}"]
        assert together["loss"] == pytest.approx(alone["loss"], abs=ROUNDING), kind
        assert together["val_loss"] == pytest.approx(alone["val_loss"], abs=ROUNDING), kind
        # near a minimum of the loss its gradient moves more than it does
        assert together["grad_norm"] == pytest.approx(alone["grad_norm"], rel=1e-4), kind


@pytest.mark.parametrize("kind", KINDS)
def test_a_run_resumed_by_as_many_processes_is_the_uninterrupted_one_bit_for_bit(trained, kind):
    """With dropout and accumulated batches."""
    ends = [
        load_checkpoint(trained.folder / f"{name}-{kind}/checkpoints/step-{END:06d}")
        for name in ("straight", "halves")
    ]
    for file in ("model", "optimizer"):
        for name, tensor in ends[0].tensors[file].items():
            assert torch.equal(tensor, ends[1].tensors[file][name]), name


@pytest.mark.parametrize(("optimizer", "kind"), RUNS)
def test_a_run_goes_on_with_more_processes_or_fewer_and_its_losses_stay(
    trained, tmp_path, optimizer, kind
):
    run_to(ALONE, tmp_path / "one", END, optimizer)
    run_to(ALONE, trained.folder / f"to-one-{kind}", END, optimizer)
    expected = losses(tmp_path / "one")
    for name in ("from-one", "to-one"):
        folder = trained.folder / f"{name}-{kind}"
        assert steps_saved(folder / "checkpoints")[-1] == END
        assert losses(folder) == pytest.approx(expected, abs=ROUNDING), name


@pytest.mark.parametrize("kind", KINDS)
def test_what_several_processes_leave_is_one_model_folder_and_one_set_of_metrics(trained, kind):
    folder = trained.folder / f"straight-{kind}"
    saved = load_checkpoint(folder / f"checkpoints/step-{END:06d}").tensors["model"]
    model, _ = load_folder(folder)
    assert all(torch.equal(w, saved[name]) for name, w in model.state_dict().items())
    steps = [row["step"] for row in read_metrics(folder / "metrics.jsonl") if "loss" in row]
    assert steps == [*range(1, END + 1)]
    health = [row["health"] for row in read_metrics(folder / "metrics.jsonl") if "health" in row]
    assert all(0 < norm < 10 for row in health for norm in row.get("grad_norm", {}).values())


@pytest.mark.parametrize("kind", KINDS)
def test_a_loss_that_is_not_finite_stops_every_process_and_one_says_where_and_keeps_the_batch(
    trained, kind
):
    first, other = (
        json.loads((trained.folder / f"said-{rank}.json").read_text())[kind] for rank in range(2)
    )
    assert first.startswith("NonFiniteError: step 7: the loss is nan; the first value that is not")
    assert "fwd/blocks.0.attn." in first
    assert other.startswith("FirstFailedError: ")
    kept = load_file(trained.folder / f"spoiled-{kind}/failures/step-000007.safetensors")
    assert torch.equal(kept["ids.1"], small_data().batch(13, 4).ids)  # the whole batch, not a share
    assert steps_saved(trained.folder / f"spoiled-{kind}/checkpoints")[-1] == 5


def losses(folder: Path) -> list[float]:
    return [row["loss"] for row in read_metrics(folder / "metrics.jsonl") if "loss" in row]


@pytest.mark.parametrize("size", [1, 2, 3, 4, 7])
def test_the_shares_of_a_batch_are_its_rows_once_each_whatever_the_number_of_processes(size):
    batch = small_data().batch(3, 5)
    shares = [share_of(batch, rank, size) for rank in range(size)]
    assert all(len(share.ids) for share in shares)  # none sits idle: others wait for it
    asked = [share for share in shares if share.n_targets]
    assert torch.equal(torch.cat([share.ids for share in asked]), batch.ids)
    assert torch.equal(torch.cat([share.targets for share in asked]), batch.targets)
    assert sum(share.n_targets for share in shares) == batch.n_targets


def share_of(batch: Batch, rank: int, size: int) -> Batch:
    return Group(Store(), rank, size, torch.device("cpu"), False).share(batch)


def test_sharding_without_torchrun_is_answered_with_how_to_start_it(glassformer, tmp_path):
    code, _, said = glassformer("train", "--out", tmp_path / "run", "--shard")
    assert code == 2
    assert "start them with `torchrun --nproc-per-node 2 -m glassformer train ... --shard`" in said
    assert not (tmp_path / "run").exists()
