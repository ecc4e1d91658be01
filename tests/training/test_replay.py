"""A run's past can be gone through again: the same bits, and nothing of the run is touched."""

import shutil
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import pytest
import torch

from glassformer.errors import GlassformerError
from glassformer.model import Config, Decoder, build_preset
from glassformer.server.record import in_float64
from glassformer.training import checkpoint as ck
from glassformer.training.loop import Loop
from glassformer.training.recipe import Recipe
from glassformer.training.replay import Replay, saved_states, state_at
from glassformer.training.train_state import open_train_state
from tests.training.replayed import STEPS, train_run

SMALLEST = Config(vocab_size=2, n_ctx=1, d_model=1, n_layers=1, n_heads=1)


@pytest.fixture(scope="module", params=["adamw", "muon"])
def run(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory):
    folder = tmp_path_factory.mktemp("replay") / "run"
    return folder, train_run(folder, save_every=5, optimizer=request.param)


def test_the_state_after_any_step_is_that_of_training_bit_for_bit(run):
    folder, weights = run
    assert [*saved_states(folder)] == [0, 1, 2, 4, 8, 10, 13]
    for step in (1, 3, 7, 8, 12, 13):
        model, _, recipe, _ = state_at(folder, step)
        assert not model.training
        assert recipe.steps == STEPS
        for name, parameter in model.named_parameters():
            assert torch.equal(parameter, weights[step][name]), (step, name)


def test_a_step_is_made_again_on_as_many_threads_as_in_training(tmp_path, monkeypatch):
    advance, threads = Loop.advance, list[int]()

    def counted(loop: Loop) -> None:
        threads.append(torch.get_num_threads())
        advance(loop)

    monkeypatch.setattr(Loop, "advance", counted)
    torch.set_num_threads(2)
    try:
        train_run(tmp_path / "run")
        state_at(tmp_path / "run", 3)
    finally:
        torch.set_num_threads(1)
    assert len(threads) > STEPS
    assert {*threads} == {1}


def test_replays_at_the_same_time_draw_the_dropout_of_training(run):
    folder, weights = run
    steps = [3, 7, 12, 13] * 2
    with ThreadPoolExecutor(4) as pool:
        for step, (model, *_) in zip(
            steps, pool.map(partial(state_at, folder), steps), strict=True
        ):
            for name, parameter in model.named_parameters():
                assert torch.equal(parameter, weights[step][name]), (step, name)


def test_models_that_are_loaded_draw_no_random_numbers(run):
    before = torch.get_rng_state()
    model = state_at(run[0], 8).model
    build_preset("worked_example")
    in_float64(open_train_state(str(run[0])))
    Decoder.unfilled(model.config)
    assert torch.equal(torch.get_rng_state(), before)


def test_a_replay_from_the_start_ends_in_the_checkpoint_moments_and_all(run):
    folder, _ = run
    replay = Replay(folder, 0)
    rows = [replay.advance() for _ in range(STEPS)]
    assert [row["step"] for row in rows] == [*range(1, STEPS + 1)]
    ended = ck.load_checkpoint(ck.step_folder(folder / "checkpoints", STEPS)).tensors
    state = replay.state
    for name, value in state.model.state_dict().items():
        assert torch.equal(value, ended["model"][name])
    assert state.moments.keys() == ended["optimizer"].keys()
    for name, value in state.moments.items():
        assert torch.equal(value, ended["optimizer"][name])


def test_a_replay_leaves_the_run_as_it_was(run):
    folder, _ = run

    def files() -> dict[Path, tuple[int, int]]:
        result = [path for path in folder.rglob("*") if path.is_file()]
        return {path: (path.stat().st_mtime_ns, path.stat().st_size) for path in result}

    before = files()
    state_at(folder, 7)
    assert files() == before


def test_what_cannot_be_replayed_is_said_with_what_can(run, tmp_path: Path):
    folder, _ = run
    with pytest.raises(GlassformerError, match=r"step 14 is beyond the run: .* give 0 to 13"):
        state_at(folder, 14)
    with pytest.raises(GlassformerError, match=r"has no run\.json"):
        state_at(tmp_path, 0)
    bare = tmp_path / "bare"
    train_run(bare, snapshot_mb=0, save_every=5, steps=11)
    for step in ck.steps_saved(bare / "checkpoints")[:-1]:
        ck.remove_checkpoint(bare / "checkpoints", step)
    with pytest.raises(GlassformerError, match=r"nothing saved leads to step 3: the first .* 11"):
        state_at(bare, 3)
    ck.remove_checkpoint(bare / "checkpoints", 11)
    with pytest.raises(GlassformerError, match="no snapshots and no checkpoints"):
        state_at(bare, 3)


def test_a_run_saved_before_a_field_existed_had_its_default(run, tmp_path: Path):
    folder = tmp_path / "older"
    shutil.copytree(run[0], folder)
    saved = ck.load_checkpoint(ck.step_folder(folder / "snapshots", 4))
    assert saved.state["identity"]["recipe"].pop("dtype") == Recipe().dtype
    assert saved.state["identity"]["model"].pop("norm_eps") == SMALLEST.norm_eps
    ck.remove_checkpoint(folder / "snapshots", 4)
    ck.save_checkpoint(folder / "snapshots", 4, saved)
    for name, parameter in state_at(folder, 5).model.named_parameters():
        assert torch.equal(parameter, run[1][5][name])
