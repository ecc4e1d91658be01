"""The loop learns, resumes bit for bit, stops early and keeps what it should."""

import itertools
import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from glassformer.errors import GlassformerError
from glassformer.interop.folder import load_folder
from glassformer.training.checkpoint import load_checkpoint, steps_saved
from glassformer.training.compiling import compiled
from glassformer.training.data import BlocksData
from glassformer.training.evaluate import Score
from glassformer.training.loop import Loop, train
from glassformer.training.plan import TRIAL_BATCHES, TRIAL_STEPS, make_plan
from glassformer.training.run import Description, Run, load_run, read_metrics
from glassformer.training.snapshots import log_spaced
from tests.training.small import TOKENIZER, small_data, small_model, small_recipe, weights_equal


def new_run(folder: Path, model, recipe) -> Run:
    description = Description(model.config, recipe, {}, TOKENIZER.fingerprint)
    run = Run.create(folder)
    run.describe(description, TOKENIZER)
    return run


def stop_after(steps: int):
    asked = itertools.count()
    return lambda: next(asked) >= steps


def step_rows(rows):
    """Loss, learning rate and norm of every step; times differ from run to run."""
    return [(r["step"], r["loss"], r["lr"], r["grad_norm"]) for r in rows if "loss" in r]


def test_training_lowers_the_held_out_loss_below_both_plain_guesses():
    outcome = train(small_model(), small_data(), small_recipe(steps=80))
    guesses, first = outcome.rows[0], outcome.rows[1]
    assert "uniform_loss" in guesses
    assert "unigram_loss" in guesses
    assert "val_loss" in first
    assert first["val_loss"] == pytest.approx(guesses["uniform_loss"], abs=0.1)
    assert outcome.val_loss < min(guesses["uniform_loss"], guesses["unigram_loss"])


def test_how_long_steps_of_many_batches_take_is_told_after_a_few_batches(monkeypatch):
    recipe = small_recipe(steps=50, accumulate=1_000_000, batch_size=4)
    made: list[int] = []
    batch = BlocksData.batch
    monkeypatch.setattr(
        BlocksData, "batch", lambda data, *which: made.append(which[0]) or batch(data, *which)
    )
    plan = make_plan(small_model(), small_data(), recipe)
    assert len(made) <= 1 + TRIAL_STEPS * TRIAL_BATCHES
    assert plan.tokens_per_step == 1_000_000 * 4 * small_data().blocks.n_ctx
    assert plan.seconds_per_step > 100  # a batch of these takes a millisecond or two
    monkeypatch.setattr("glassformer.training.plan.TRIAL_SECONDS", 0.0)
    made.clear()
    make_plan(small_model(), small_data(), recipe)
    assert len(made) == 1 + TRIAL_BATCHES  # one step, where steps are long


def test_a_small_model_takes_one_thread_as_its_plan_does_and_gives_the_others_back(monkeypatch):
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    inside: list[int] = []
    planned: list[int] = []
    try:
        recipe = small_recipe(steps=2)
        train(
            small_model(),
            small_data(),
            recipe,
            report=lambda _: inside.append(torch.get_num_threads()),
        )
        assert set(inside) == {1}
        monkeypatch.setattr(Loop, "advance", lambda _: planned.append(torch.get_num_threads()))
        for asked in (recipe, small_recipe(steps=2, accumulate=1_000_000)):
            make_plan(small_model(), small_data(), asked)
        assert planned == [1, 1, 2, 2]
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param(({}, {}), id="plain"),
        pytest.param(({}, {"optimizer": "muon", "weight_decay": 0.2}), id="muon"),
        pytest.param(({"dropout": 0.2}, {"accumulate": 3}), id="dropout-and-accumulation"),
    ],
)
@pytest.mark.parametrize("stopped_after", [1, 7])
def test_a_resumed_run_equals_an_uninterrupted_one_bit_for_bit(tmp_path, changes, stopped_after):
    in_model, in_recipe = changes
    recipe = small_recipe(**in_recipe)

    straight = small_model(**in_model)
    with new_run(tmp_path / "straight", straight, recipe) as run:
        expected = train(straight, small_data(), recipe, run=run)

    first = small_model(**in_model)
    with new_run(tmp_path / "halves", first, recipe) as run:
        outcome = train(first, small_data(), recipe, run=run, should_stop=stop_after(stopped_after))
    assert (outcome.reason, outcome.step) == ("stopped", stopped_after)

    torch.manual_seed(99)  # the state of torch's generator must not matter
    second = small_model(**in_model)
    with Run.reopen(tmp_path / "halves") as run:
        train(second, small_data(), run.description.recipe, run=run)

    assert weights_equal(second, straight)
    rows = {
        name: read_metrics(tmp_path / name / "metrics.jsonl") for name in ("straight", "halves")
    }
    assert step_rows(rows["halves"]) == step_rows(rows["straight"]) == step_rows(expected.rows)
    ends = [load_checkpoint(tmp_path / name / "checkpoints/step-000012") for name in rows]
    for kind in ("model", "optimizer"):
        for name, tensor in ends[0].tensors[kind].items():
            assert torch.equal(tensor, ends[1].tensors[kind][name]), name


@pytest.mark.parametrize("dropout", [0.0, 0.3])
def test_samples_after_a_resume_are_the_uninterrupted_runs(tmp_path, dropout):
    recipe = small_recipe(sample_every=1)

    def draw(model):  # takes its numbers from torch's own generator
        return str(torch.multinomial(model(torch.tensor([[0]]))[0, -1].softmax(0), 8, True))

    def samples(name, sittings):
        for stop_at in sittings:
            torch.manual_seed(stop_at)
            model, end = small_model(dropout=dropout), stop_after(stop_at)
            opened = new_run(tmp_path / name, model, recipe) if stop_at == sittings[0] else None
            with opened or Run.reopen(tmp_path / name) as run:
                train(model, small_data(), recipe, run=run, sample=draw, should_stop=end)
        rows = read_metrics(tmp_path / name / "metrics.jsonl")
        return {row["step"]: row["sample"] for row in rows if "sample" in row}

    assert samples("straight", [99]) == samples("halves", [3, 8, 99])


def test_a_killed_run_repeats_the_steps_since_its_checkpoint_and_its_metrics_have_no_doubles(
    tmp_path,
):
    recipe = small_recipe()
    model = small_model()

    def die_at_step_8(row):
        if row["step"] == 8:
            raise KeyboardInterrupt

    with new_run(tmp_path / "run", model, recipe) as run, pytest.raises(KeyboardInterrupt):
        train(model, small_data(), recipe, run=run, report=die_at_step_8)
    with (tmp_path / "run/metrics.jsonl").open("a") as file:
        file.write('{"step": 9, "lo')  # and the last line is cut short
    with Run.reopen(tmp_path / "run") as run:
        train(small_model(), small_data(), recipe, run=run)
    steps = [row["step"] for row in read_metrics(tmp_path / "run/metrics.jsonl") if "loss" in row]
    assert steps == list(range(1, 13))


def test_a_run_whose_listener_fails_is_saved_at_that_step_and_goes_on_to_the_same_end(tmp_path):
    recipe, straight = small_recipe(eval_every=3), small_model()
    train(straight, small_data(), recipe)

    def unheard_at_step_8(row):
        if row["step"] == 8:
            raise BrokenPipeError  # as where `2>&1 | tee log` got the same Ctrl-C

    with new_run(tmp_path / "run", small_model(), recipe) as run, pytest.raises(BrokenPipeError):
        train(small_model(), small_data(), recipe, run=run, report=unheard_at_step_8)
    assert steps_saved(tmp_path / "run/checkpoints")[-1] == 8
    resumed = small_model()
    with Run.reopen(tmp_path / "run") as run:
        train(resumed, small_data(), recipe, run=run)
    assert weights_equal(resumed, straight)


def test_the_run_folder_is_the_trained_model(tmp_path):
    model, recipe = small_model(), small_recipe()
    with new_run(tmp_path / "run", model, recipe) as run:
        train(model, small_data(), recipe, run=run)
    loaded, tokenizer = load_folder(tmp_path / "run")
    assert weights_equal(loaded, model)
    assert tokenizer is not None
    assert tokenizer.fingerprint == TOKENIZER.fingerprint


def test_metrics_hold_every_reported_row(tmp_path):
    model, recipe, reported = small_model(), small_recipe(sample_every=6), []
    with new_run(tmp_path / "run", model, recipe) as run:
        outcome = train(
            model, small_data(), recipe, run=run, report=reported.append, sample=lambda m: "a b"
        )
    written = [json.loads(line) for line in (tmp_path / "run/metrics.jsonl").open()]
    assert written == reported == outcome.rows
    assert [row["step"] for row in written if "sample" in row] == [6, 12]
    assert [row["step"] for row in written if "val_loss" in row] == [0, 4, 8, 12]
    health = [row["health"] for row in written if "health" in row]
    layers = {"embed", "pos_embed", "blocks.0", "blocks.1", "ln_final"}
    for row in health:
        assert set(row["grad_norm"]) == set(row["update_to_weight"]) == layers
        assert all(0 < value < 1 for value in row["update_to_weight"].values())
        assert all(0 <= value <= 1 for value in row["dead_units"].values())


def test_the_held_out_loss_is_measured_early_on_where_the_state_is_kept(tmp_path):
    recipe = small_recipe(steps=40, eval_every=30)
    with new_run(tmp_path / "run", small_model(), recipe) as run:
        train(small_model(), small_data(), recipe, run=run, should_stop=stop_after(10))
    with Run.reopen(tmp_path / "run") as run:
        train(small_model(), small_data(), recipe, run=run)
    resumed = read_metrics(tmp_path / "run/metrics.jsonl")
    with new_run(tmp_path / "straight", small_model(), recipe) as run:
        straight = train(small_model(), small_data(), recipe, run=run).rows
    losses = [
        {row["step"]: row["val_loss"] for row in rows if "val_loss" in row}
        for rows in (resumed, straight)
    ]
    assert list(losses[0]) == [0, 8, 16, 30, 40]
    assert losses[0] == losses[1]


def test_layer_gradient_norms_add_up_to_the_whole_norm():
    outcome = train(small_model(), small_data(), small_recipe(steps=4))
    health = next(row["health"] for row in outcome.rows if "health" in row)
    total = next(
        row["grad_norm"] for row in outcome.rows if row["step"] == 4 and "grad_norm" in row
    )
    parts = sum(norm**2 for norm in health.get("grad_norm", {}).values()) ** 0.5
    assert parts == pytest.approx(total, rel=1e-5)  # fp32 sums


def test_patience_ends_the_run_and_the_folder_holds_the_best_model(tmp_path):
    model = small_model()
    recipe = small_recipe(steps=400, lr=0.5, eval_every=1, patience=3)  # lr far too high
    with new_run(tmp_path / "run", model, recipe) as run:
        outcome = train(model, small_data(), recipe, run=run)
    losses = {row["step"]: row["val_loss"] for row in outcome.rows if "val_loss" in row}
    best = min(losses, key=losses.__getitem__)
    assert outcome.reason == "early"
    assert outcome.step == best + 3
    kept = load_checkpoint(tmp_path / f"run/checkpoints/step-{best:06d}").tensors["model"]
    assert torch.equal(model.embed.W_E, kept["embed.W_E"])
    assert torch.equal(load_folder(tmp_path / "run")[0].embed.W_E, model.embed.W_E)
    with Run.reopen(tmp_path / "run") as run:  # resuming changes nothing
        again = train(small_model(), small_data(), recipe, run=run)
    assert (again.reason, again.step) == ("early", outcome.step)


@pytest.mark.parametrize(("steps_after", "reason"), [(3, "early"), (2, "finished")])
def test_however_a_patient_run_ends_the_folder_holds_its_best_weights(
    tmp_path, monkeypatch, steps_after, reason
):
    losses = iter([5.0, 3.0, 1.0, 2.0, 2.0, 2.0])
    monkeypatch.setattr(
        "glassformer.training.loop.evaluate", lambda *_, **__: Score(next(losses), 1)
    )
    best, steps = 2, 2 + steps_after if reason == "finished" else 400
    recipe = small_recipe(steps=steps, eval_every=1, patience=3)
    with new_run(tmp_path / "run", small_model(), recipe) as run:
        outcome = train(small_model(), small_data(), recipe, run=run)
    assert (outcome.reason, outcome.step) == (reason, best + steps_after)
    kept = load_checkpoint(tmp_path / f"run/checkpoints/step-{best:06d}").tensors["model"]
    assert torch.equal(load_folder(tmp_path / "run")[0].embed.W_E, kept["embed.W_E"])
    past = load_run(tmp_path / "run")
    assert (past.step_held, past.measured.get(past.step_held or 0), past.is_over) == (
        best,
        1.0,
        True,
    )


def test_a_patient_run_that_was_stopped_keeps_its_newest_weights(tmp_path, monkeypatch):
    losses = iter([5.0, 1.0, 2.0, 2.0])
    monkeypatch.setattr(
        "glassformer.training.loop.evaluate", lambda *_, **__: Score(next(losses), 1)
    )
    model, recipe = small_model(), small_recipe(steps=400, eval_every=1, patience=3)
    with new_run(tmp_path / "run", model, recipe) as run:
        train(model, small_data(), recipe, run=run, should_stop=stop_after(3))
    assert weights_equal(load_folder(tmp_path / "run")[0], model)
    past = load_run(tmp_path / "run")
    assert (past.steps_done, past.step_held, past.is_over) == (3, 3, False)


def test_old_checkpoints_go_and_snapshots_stay_at_log_spaced_steps(tmp_path):
    model, recipe = small_model(), small_recipe(save_every=3)
    with new_run(tmp_path / "run", model, recipe) as run:
        train(model, small_data(), recipe, run=run)
    assert steps_saved(tmp_path / "run/checkpoints") == [9, 12]
    assert steps_saved(tmp_path / "run/snapshots") == [0, 1, 2, 4, 8, 12]


def test_as_many_snapshots_are_kept_as_were_asked_for(tmp_path):
    model, recipe = small_model(), small_recipe(steps=12, snapshots=8)
    with new_run(tmp_path / "run", model, recipe) as run:
        train(model, small_data(), recipe, run=run)
    kept = steps_saved(tmp_path / "run/snapshots")
    assert len(kept) == 8
    assert (kept[0], kept[-1]) == (0, 12)


@pytest.mark.parametrize(("last", "count"), [(1800, 30), (1800, 1), (1800, 2), (40, 30), (0, 3)])
def test_log_spaced_steps_are_as_many_as_asked_and_end_at_the_last(last, count):
    steps = log_spaced(last, count)
    assert len(steps) == min(count, last + 1)
    assert steps == sorted(set(steps))
    assert steps[-1] == last


def test_snapshots_are_thinned_to_the_disk_budget(tmp_path):
    model = small_model(d_model=128)  # 5 MB with its optimizer state
    recipe = small_recipe(steps=16, snapshot_mb=25)
    with new_run(tmp_path / "run", model, recipe) as run:
        train(model, small_data(), recipe, run=run)
    folder = tmp_path / "run/snapshots"
    size = sum(path.stat().st_size for path in folder.rglob("*.safetensors"))
    assert size <= 25.1e6  # the budget counts numbers, the files have headers as well
    kept = steps_saved(folder)
    assert (kept[0], kept[-1]) == (0, 16)
    assert len(kept) >= 4


def test_a_snapshot_replays_its_interval_bit_for_bit(tmp_path):
    model, recipe = small_model(dropout=0.1), small_recipe()
    with new_run(tmp_path / "run", model, recipe) as run:
        train(model, small_data(), recipe, run=run)
    start = tmp_path / "run/snapshots/step-000004"
    again = small_model(dropout=0.1)
    with new_run(tmp_path / "again", again, recipe) as run:
        run.checkpoints.mkdir()
        start.rename(run.checkpoints / start.name)
        train(again, small_data(), recipe, run=run)
    assert weights_equal(again, model)


def test_a_fault_of_the_model_is_no_fault_of_the_compiler(monkeypatch):
    model = small_model()
    monkeypatch.setattr(torch, "compile", lambda function, **_: function)

    def broken(*_):
        raise ZeroDivisionError

    monkeypatch.setattr(model, "loss", broken)
    monkeypatch.setattr("glassformer.training.loop.evaluate", lambda *_, **__: Score(1.0, 1))
    with pytest.raises(ZeroDivisionError):
        train(model, small_data(), small_recipe(compile=True))


@pytest.mark.parametrize(
    "error", [torch.OutOfMemoryError("out of memory"), RuntimeError("device-side assert")]
)
def test_what_fails_after_a_compiled_step_is_told_as_what_it_is(monkeypatch, error):
    calls = itertools.count(1)

    def compiled(function, **_):
        def loss(*given, **named):
            if next(calls) == 4:
                raise error
            return function(*given, **named)

        return loss

    monkeypatch.setattr(torch, "compile", compiled)
    notes = []
    with pytest.raises(type(error), match=str(error)):
        train(
            small_model(),
            small_data(),
            small_recipe(compile=True),
            report=lambda row: notes.append(row) if "note" in row else None,
        )
    assert (next(calls), notes) == (5, [])  # nor was it tried again


@pytest.mark.parametrize(
    "error", [torch.OutOfMemoryError("out of memory"), GlassformerError("no target is asked for")]
)
def test_an_error_that_is_not_the_compilers_is_none_in_the_first_step_either(monkeypatch, error):
    def compiled(*_, **__):
        def loss(*_, **__):
            raise error

        return loss

    monkeypatch.setattr(torch, "compile", compiled)
    with pytest.raises(type(error), match=str(error)):
        train(small_model(), small_data(), small_recipe(compile=True))


def test_compiling_needs_no_home_where_another_place_is_named(monkeypatch, tmp_path):
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.delenv("HOME")
    monkeypatch.setattr("pwd.getpwuid", {}.__getitem__)
    monkeypatch.setattr(torch, "compile", lambda function, **_: function)
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))
    loss = small_model().loss
    assert compiled(loss) is loss
    monkeypatch.delenv("TORCHINDUCTOR_CACHE_DIR")
    with pytest.raises(GlassformerError, match=r"no home folder .* folder in \$XDG_CACHE_HOME"):
        compiled(loss)


def test_a_compiler_that_fails_is_reported_and_training_goes_on_eagerly(monkeypatch):
    def no_compiler(_, dynamic):  # noqa: ARG001
        def compiled(*_):
            raise RuntimeError("InductorError: g++ not found\n  a long trace")

        return compiled

    monkeypatch.setattr(torch, "compile", no_compiler)
    plain, compiled = small_model(), small_model()
    train(plain, small_data(), small_recipe())
    outcome = train(compiled, small_data(), small_recipe(compile=True))
    notes = [row["note"] for row in outcome.rows if "note" in row]
    assert notes == ["compiling failed, going on eagerly: InductorError: g++ not found"]
    assert weights_equal(plain, compiled)


@pytest.mark.parametrize(
    ("model_changes", "recipe_changes", "said"),
    [
        ({}, {"lr": 2e-2}, "recipe.lr was 0.01 and is 0.02"),
        ({"activation": "relu"}, {}, "model.activation was 'gelu_tanh' and is 'relu'"),
    ],
)
def test_resuming_with_other_settings_is_refused_field_by_field(
    tmp_path, model_changes, recipe_changes, said
):
    recipe = small_recipe()
    model = small_model()
    with new_run(tmp_path / "run", model, recipe) as run:
        train(model, small_data(), recipe, run=run, should_stop=stop_after(2))
    other, changed = small_model(**model_changes), recipe.replace(**recipe_changes)
    with Run.reopen(tmp_path / "run") as run, pytest.raises(GlassformerError) as refusal:
        train(other, small_data(), changed, run=run)
    assert said in str(refusal.value)
    assert str(refusal.value).count(" and is ") == 1  # that field, and no other


def test_resuming_on_changed_data_is_refused(tmp_path):
    recipe, model = small_recipe(), small_model()
    with new_run(tmp_path / "run", model, recipe) as run:
        train(model, small_data(), recipe, run=run, should_stop=stop_after(2))
    with (
        Run.reopen(tmp_path / "run") as run,
        pytest.raises(GlassformerError, match=r"data\.tokens_sha256 was"),
    ):
        train(small_model(), small_data(900), recipe, run=run)


def test_bf16_training_learns_and_keeps_its_weights_in_fp32():
    model = small_model()
    outcome = train(model, small_data(), small_recipe(steps=60, dtype="bf16"))
    assert outcome.val_loss < outcome.rows[0].get("unigram_loss", 0.0)
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}


COMPILED = """
import torch
from glassformer.training.compiling import compiled
from glassformer.training.evaluate import Score
from glassformer.training.loop import train
from tests.training.small import small_data, small_model, small_recipe
losses = []
for compiled in (False, True):
    torch.manual_seed(0)
    recipe = small_recipe(compile=compiled, accumulate=2)
    outcome = train(small_model(), small_data(), recipe)
    losses.append([row["loss"] for row in outcome.rows if "loss" in row])
    print(*(row["note"] for row in outcome.rows if "note" in row))
print(max(abs(a - b) for a, b in zip(*losses, strict=True)))
"""


@pytest.mark.heavy
def test_a_compiled_run_has_the_losses_of_an_eager_one():
    # in a process of its own: compiling does not go with the tests' type checks
    shown = subprocess.run([sys.executable, "-c", COMPILED], capture_output=True, text=True)
    assert shown.returncode == 0, shown.stderr
    *notes, gap = shown.stdout.splitlines()
    assert not any(notes)  # it did compile
    assert float(gap) < 1e-4  # fp32, other kernels, twelve steps
