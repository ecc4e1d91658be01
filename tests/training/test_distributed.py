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
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError, ProcessFailure

from glassformer.interop.folder import load_folder
from glassformer.training.checkpoint import load_checkpoint, steps_saved
from glassformer.training.data import Batch
from glassformer.training.distributed import Group
from glassformer.training.loop import train
from glassformer.training.ranks import ALONE
from glassformer.training.run import read_metrics
from glassformer.training.train_state import open_train_state
from tests.training.small import small_data, small_model, small_pairs
from tests.training.together import (
    BRIEFLY,
    END,
    HALF,
    LONG,
    LORA,
    OPTIMIZERS,
    RUNS,
    SAVED,
    SPOILED,
    before,
    long_recipe,
    long_runs,
    losses_of,
    run_to,
)

KINDS = tuple(kind for _, kind in RUNS)
ROUNDING = 1e-6  # sums of fp32 in another order, over 50 steps


class Trained(NamedTuple):
    folder: Path
    losses: dict[str, dict[str, list[float]]]
    steps: int


@pytest.fixture(
    scope="module",
    params=[
        (2, BRIEFLY),
        *(pytest.param((n, LONG), marks=pytest.mark.heavy) for n in (2, 3, 4)),
    ],
    ids=lambda case: f"{case[0]}-processes-{case[1]}-steps",
)
def trained(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Trained:
    folder = tmp_path_factory.mktemp("together")
    before(folder)
    processes, steps = request.param
    together(processes, folder, steps)
    return Trained(folder, json.loads((folder / "losses.json").read_text()), steps)


def together(n: int, *arguments: object) -> None:
    """What `tests.training.together` does, in n processes."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    ranks = ["--nproc-per-node", n, "-m", "tests.training.together", *arguments]
    done = subprocess.run([*command, *map(str, ranks)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_losses_are_those_of_one_process(trained, optimizer):
    alone = losses_of(ALONE, long_recipe(optimizer, trained.steps))
    assert len(alone["loss"]) == trained.steps
    kinds = [kind for name, kind in long_runs(trained.steps) if name == optimizer]
    assert kinds
    for kind in kinds:
        together = trained.losses[f"{optimizer} {kind}"]
        assert together["loss"] == pytest.approx(alone["loss"], abs=ROUNDING), kind
        assert together["val_loss"] == pytest.approx(alone["val_loss"], abs=ROUNDING), kind
        # near a minimum of the loss its gradient moves more than it does
        assert together["grad_norm"] == pytest.approx(alone["grad_norm"], rel=1e-4), kind


def test_adapters_and_pairs_of_replies_are_learned_as_by_one_process(trained):
    few = long_recipe("adamw", END)
    adapters = losses_of(ALONE, few, small_model(lora=LORA))
    pairs = losses_of(ALONE, few, data=small_pairs())
    for name, alone in (("adapters", adapters), ("pairs", pairs)):
        assert alone["loss"][0] != alone["loss"][-1]
        assert trained.losses[name]["loss"] == pytest.approx(alone["loss"], abs=ROUNDING), name
        assert trained.losses[name]["val_loss"] == pytest.approx(alone["val_loss"], abs=ROUNDING)


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
    step = SPOILED + 1
    assert first.startswith(f"NonFiniteError: step {step}: the loss is nan; the first value that")
    assert "fwd/blocks.0.attn." in first
    assert other.startswith("FirstFailedError: ")
    kept = load_file(trained.folder / f"spoiled-{kind}/failures/step-{step:06d}.safetensors")
    batch = small_data().batch(2 * step - 1, 4).ids  # the whole batch, not a share
    assert torch.equal(kept["ids.1"], batch)
    assert steps_saved(trained.folder / f"spoiled-{kind}/checkpoints")[-1] == SAVED


@pytest.mark.parametrize("kind", KINDS)
def test_a_step_that_several_processes_made_is_watched_and_explained_by_one(trained, kind):
    folder = trained.folder / f"from-one-{kind}"
    state = open_train_state(str(folder), HALF)
    batches = [small_data().batch(number, 4) for number in (2 * HALF, 2 * HALF + 1)]
    ids = torch.cat([batch.ids for batch in batches])
    targets = torch.cat([batch.targets for batch in batches])
    watched, _ = state.train_step(ids, targets)
    assert watched.trace["loss"].item() == pytest.approx(losses(folder)[HALF], abs=ROUNDING)
    for address in ("opt/blocks.1.mlp.W_in[d_model=3,d_mlp=5]", "bwd/embed.W_E[vocab=2,d_model=1]"):
        assert watched.trace.explain(address).agrees


@pytest.mark.heavy
def test_a_run_goes_on_from_two_processes_to_four_and_back(tmp_path):
    together(2, tmp_path, f"two={HALF}")
    together(4, tmp_path, f"two={END}", f"four={HALF}")
    together(2, tmp_path, f"four={END}")
    for optimizer, kind in RUNS:
        run_to(ALONE, tmp_path / f"one-{kind}", END, optimizer)
        expected = losses(tmp_path / f"one-{kind}")
        for name in ("two", "four"):
            assert losses(tmp_path / f"{name}-{kind}") == pytest.approx(expected, abs=ROUNDING)


@pytest.mark.heavy
def test_compiled_losses_of_two_processes_are_those_of_one(tmp_path):
    """Copies and parts, with accumulated batches; nothing falls back to the eager pass."""
    together(2, tmp_path, "compiled")
    recipe = long_recipe("adamw").replace(steps=6)
    alone = train(small_model(), small_data(), recipe).rows
    expected = [row["loss"] for row in alone if "loss" in row]
    for kind, (compiled, notes) in json.loads((tmp_path / "compiled.json").read_text()).items():
        assert compiled == pytest.approx(expected, abs=ROUNDING), kind
        assert notes == []


def losses(folder: Path) -> list[float]:
    return [row["loss"] for row in read_metrics(folder / "metrics.jsonl") if "loss" in row]


@pytest.mark.parametrize("size", [1, 2, 3, 4, 7])
def test_the_shares_of_a_batch_are_its_rows_once_each_whatever_the_number_of_processes(size):
    batch = small_data().batch(3, 5)
    shares = [share_of(batch, rank, size) for rank in range(size)]
    assert all(len(share.ids) for share in shares)  # none sits idle: others wait for it
    asked = [share for share in shares if share.n_asked]
    assert torch.equal(torch.cat([share.ids for share in asked]), batch.ids)
    assert torch.equal(torch.cat([share.targets for share in asked]), batch.targets)
    assert sum(share.n_asked for share in shares) == batch.n_asked


def share_of(batch: Batch, rank: int, size: int) -> Batch:
    return Group(Store(), rank, size, torch.device("cpu"), False).share(batch)


def test_an_error_of_every_process_is_said_once_and_is_the_last_that_torchrun_reports(
    glassformer, tmp_path, monkeypatch
):
    monkeypatch.setenv("WORLD_SIZE", "2")
    said, failures = [], {}
    for rank in range(2):
        file = tmp_path / f"error-{rank}.json"
        monkeypatch.setenv("RANK", str(rank))
        monkeypatch.setenv("TORCHELASTIC_ERROR_FILE", str(file))
        code, _, complaint = glassformer("train", "--from", "model", "--shard", "--lora", 2)
        assert code == 2
        said.append(complaint)
        failures[rank] = ProcessFailure(local_rank=rank, pid=1, exitcode=2, error_file=str(file))
    assert said[0].startswith("error: --shard shares out weights and their state")
    assert said[1] == ""
    *_, last, rule = str(ChildFailedError("glassformer", failures)).splitlines()
    assert (last, set(rule)) == (f"  traceback : {said[0].rstrip()}", {"="})


def test_sharding_without_torchrun_is_answered_with_how_to_start_it(glassformer, tmp_path):
    code, _, said = glassformer("train", "--out", tmp_path / "run", "--shard")
    assert code == 2
    assert "start them with `torchrun --nproc-per-node 2 -m glassformer train ... --shard`" in said
    assert not (tmp_path / "run").exists()
