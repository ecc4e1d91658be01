"""`glassformer sweep`: which variants a file asks for, and what becomes of them."""

import json
import math
import signal
import subprocess
import sys
import time
import tomllib
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path

import pytest
from safetensors.torch import load_file

from glassformer.cli import sweep
from glassformer.cli.stopping import Stop
from glassformer.cli.variants import Variant, read_variants
from glassformer.errors import GlassformerError
from glassformer.training.checkpoint import steps_saved
from glassformer.training.choices import Choices
from glassformer.training.evaluate import Score
from glassformer.training.loop import train
from glassformer.training.options import to_toml
from glassformer.training.prepare import new_run
from glassformer.training.run import load_run, take_lock

TEXT = "the cat sat on the mat and the dog sat on the log. " * 40
OPTIONS = {"tokenizer": "chars", "n_ctx": 8, "n_layers": 1, "n_heads": 2, "steps": 6}
GRID = "".join(f"{name} = {[*range(1000)]}\n" for name in ("lr", "steps", "seed", "d_model"))


def written(tmp_path: Path, content: str) -> Path:
    path = tmp_path / "sweep.toml"
    path.write_text(content)
    return path


def test_options_are_written_so_that_they_are_read_again():
    options = {"text": ["a", 'b "\n\x7f é 😀'], "weights": {"a.b": 0.7, "é": 1}, "lr": 1e-5}
    options |= {"compile": False, "steps": 3}
    options |= {"lr": math.inf, "patience": -math.inf}
    assert tomllib.loads(to_toml(options)) == options
    assert math.isnan(tomllib.loads(to_toml({"lr": math.nan}))["lr"])


def test_lists_are_a_grid_and_tables_are_variants_of_their_own(tmp_path):
    content = 'text = ["a", "b"]\nlr = [0.1, 0.2]\nsteps = 5\n[variants.small]\nd_model = 8\n'
    content += '[variants."../wide"]\nd_model = 16\nlr = 0.3\ntext = [["a"], ["b"]]\n'
    variants = {variant.name: variant for variant in read_variants(written(tmp_path, content))}
    names = ["small,lr=0.1", "small,lr=0.2", "-wide,text=a", "-wide,text=b"]
    assert [*variants] == names
    base = {"text": ["a", "b"], "steps": 5, "d_model": 8}
    assert variants["small,lr=0.2"].options == {**base, "lr": 0.2}
    assert variants["-wide,text=b"].options == {**base, "text": ["b"], "lr": 0.3, "d_model": 16}
    assert variants["small,lr=0.1"].varied == {"text": ["a", "b"], "lr": 0.1, "d_model": 8}


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("stpes = [3, 4]", ", line 1: 'stpes' is no option of train. Did you mean 'steps'"),
        ("shard = [true, false]", ", line 1: the sweep decides 'shard'; leave it out"),
        ("steps = 3\nout = 'runs/a'", ", line 2: the sweep decides 'out'"),
        ("steps = [2, 'two']", ", line 1: steps = 'two' must be a valid integer"),
        ("steps = 2\n[variants.a]\nlr = 0.1\nsteps = 'two'", ", line 4: steps = 'two' must be a"),
        ("variants = 3", "must be tables of options"),
        ("lr = [0.1, 0.1]", "asks twice for the variant"),
        ("lr = [0.1, true]", "lr = True must be one text or number"),
        ("weights = [{a = [1]}]", "must be numbers by name"),
        ("lr = [[0.1], [0.2]]", "must be one text or number"),
        ("lr = []", "asks for no training"),
        ("[variants]", "asks for no training"),
        ("steps = 1979-05-27", "datetime.date(1979, 5, 27) must be one text or number"),
        (GRID, "asks for 1,000,000,000,000 trainings; at most 1,000"),
    ],
)
def test_a_file_that_asks_for_something_else_is_answered_with_its_cause(tmp_path, content, said):
    with pytest.raises(GlassformerError) as caught:
        read_variants(written(tmp_path, content))
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ('text = "t.txt"\nd_model = [8, 17]', "variant d_model=17: d_model=17 does not split into"),
        ('text = "t.txt"\nn_ctx = [8, 9999]', "variant n_ctx=9999: the text has 2,042 tokens"),
        ('text = "t.txt"\nlr = [0.1, -1]', "variant lr=-1: lr=-1 must be a finite number above 0"),
        (
            'text = "t.txt"\nonly = ["blocks", "blok"]',
            "variant only=blok: --only 'blok' is no part",
        ),
        ('text = [["t.txt"], ["u.txt"]]', "variant text=u.txt: there is no file or folder u.txt"),
        ('text = "t.txt"\nlog = ["tensorboard", "board"]', "variant log=board: --log 'board'"),
        (
            'text = "t.txt"\noptimizer = ["adamw", "muon"]\nonly = "blocks"',
            "choose --optimizer adamw",
        ),
        pytest.param(
            'preset = "chat"\nn_ctx = [256, 8]',
            "variant n_ctx=8: a conversation has up to",
            marks=pytest.mark.heavy,
        ),
        pytest.param(
            'preset = "translation"\nd_model = [64, 17]',
            "variant d_model=17: d_model=17 does not",
            marks=pytest.mark.heavy,
        ),
        ('from = ["worked_example"]\nlora = 99', "--lora 99 is more than d_model="),
        ('from = ["worked_example"]\nn_ctx = 8', "is more than the 4 positions that this model"),
        ('from = ["worked_example", "none"]\nn_ctx = 4', "variant from=none: there is no folder"),
    ],
)
def test_a_value_that_cannot_be_trained_with_is_refused_before_any_variant_begins(
    glassformer, tmp_path, monkeypatch, content, said
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "t.txt").write_text(TEXT)
    more = "" if "text" not in content else 'tokenizer = "chars"\nn_heads = 2\n'
    code, _, shown = glassformer("sweep", written(tmp_path, more + content), "--out", "runs")
    assert (code, said in shown, Path("runs").exists()) == (2, True, False), shown


@pytest.mark.heavy
def test_a_stopped_sweep_saves_and_says_how_it_goes_on(glassformer, tmp_path, monkeypatch):
    (tmp_path / "text.txt").write_text(TEXT)
    options = {"text": [str(tmp_path / "text.txt")], **OPTIONS, "d_model": [8, 16], "lr": 1e-3}
    file = written(tmp_path, to_toml({**options, "steps": 1_000_000}))
    out = tmp_path / "my runs"
    metrics = out / "d_model=8/metrics.jsonl"
    stop = Stop()  # as the handler of a signal leaves it; pytest's stderr has no file to write to

    def once_it_trains(seconds: float) -> None:
        real_sleep(seconds)
        if metrics.is_file() and '"lr"' in metrics.read_text():
            stop.signal = signal.SIGINT

    real_sleep = time.sleep
    monkeypatch.setattr(time, "sleep", once_it_trains)
    monkeypatch.setattr(sweep, "stopping_on_signals", lambda: nullcontext(stop))
    code, shown, _ = glassformer("sweep", file, "--out", out)
    assert code == 130
    assert " of 1,000,000" in shown
    assert shown.splitlines()[-1] == f"go on with:  glassformer sweep {file} --out '{out}'"
    assert steps_saved(out / "d_model=8/checkpoints")[-1] > 0
    assert not (out / "d_model=16").exists()


@pytest.mark.heavy
def test_a_killed_sweep_takes_its_training_along_and_goes_on_to_the_same_weights(
    glassformer, tmp_path
):
    (tmp_path / "text.txt").write_text(TEXT)
    options = {"text": [str(tmp_path / "text.txt")], **OPTIONS, "d_model": [8, 16], "dropout": 0.1}
    file = written(tmp_path, to_toml({**options, "steps": 2_000, "sample_every": 500}))
    out, whole = tmp_path / "runs", tmp_path / "whole"
    command = [sys.executable, "-m", "glassformer", "sweep", str(file), "--out", str(out)]
    killed = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    first, log = out / "d_model=8", out / "d_model=8.log"
    metrics = first / "metrics.jsonl"
    until(lambda: metrics.is_file() and '"lr"' in metrics.read_text())
    killed.kill()
    killed.wait()
    until(lambda: "go on with:" in log.read_text())
    assert "what started this training has gone" in log.read_text()
    assert not (out / "d_model=16").exists()

    until(lambda: is_free(first))  # nobody trains there any more
    code, shown, _ = glassformer("sweep", file, "--out", out)
    assert (code, " of 2,000" in shown) == (0, False)
    glassformer("sweep", file, "--out", whole)
    for variant in ("d_model=8", "d_model=16"):
        assert load_run(out / variant).of("sample") == load_run(whole / variant).of("sample")
        one, two = (load_file(folder / variant / "model.safetensors") for folder in (out, whole))
        assert [name for name in one if not one[name].equal(two[name])] == []


def is_free(run: Path) -> bool:
    try:
        take_lock(run).release()
    except GlassformerError:
        return False
    return True


def until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 120
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_a_variant_that_patience_ended_is_kept_and_told_by_the_loss_of_its_weights(
    tmp_path, monkeypatch
):
    losses = iter([5.0, 1.0, 2.0, 2.0])
    monkeypatch.setattr(
        "glassformer.training.loop.evaluate", lambda *_, **__: Score(next(losses), 1)
    )
    text = tmp_path / "text.txt"
    text.write_text(TEXT)
    model = {name: OPTIONS[name] for name in ("n_ctx", "n_layers", "n_heads")}
    recipe = {"steps": 100, "eval_every": 1, "patience": 2}
    chosen = Choices((str(text),), tokenizer="chars", model=model, recipe=recipe, device="cpu")
    prepared = new_run(tmp_path / "patient", chosen)
    with prepared.run as run:
        assert train(*prepared[:3], run=run).reason == "early"
    training = sweep.Training(Variant("patient", {}, {}), tmp_path, threads=1)
    assert training.is_kept
    assert (training.result().val_loss, training.result().steps) == (1.0, 3)


@pytest.mark.heavy
def test_a_sweep_keeps_the_finished_resumes_the_stopped_and_names_the_failed(glassformer, tmp_path):
    text = tmp_path / "text.txt"
    text.write_text(TEXT)
    options = {"text": [str(text)], **OPTIONS}
    file = written(tmp_path, to_toml({**options, "d_model": [8, 16, 24]}))
    out = tmp_path / "runs"
    (out / "d_model=24/mine").mkdir(parents=True)
    model = {name: OPTIONS[name] for name in ("n_ctx", "n_layers", "n_heads")}

    def begun(folder: Path, d_model: int, until: int) -> None:
        recipe, sizes = {"steps": 6}, {**model, "d_model": d_model}
        choices = Choices((str(text),), tokenizer="chars", model=sizes, recipe=recipe, device="cpu")
        steps = iter(range(until))
        prepared = new_run(folder, choices)
        with prepared.run as run:
            train(*prepared[:3], run=run, should_stop=lambda: next(steps, None) is None)

    begun(out / "d_model=8", 8, until=10)  # an earlier sweep was stopped in the second variant
    begun(out / "d_model=16", 16, until=3)
    begun(tmp_path / "whole", 16, until=10)
    for d_model in (8, 16):
        variant = to_toml({**options, "d_model": d_model})
        (out / f"d_model={d_model}.toml").write_text(variant)
    kept = (out / "d_model=8/metrics.jsonl").stat().st_mtime_ns

    code, shown, said = glassformer("sweep", file, "--out", out, "--json", "--jobs", "2")
    assert code == 2
    assert f"1 of 3 trainings failed, d_model=24 with: {out}/d_model=24 is not empty" in said
    results = {result["name"]: result for result in json.loads(shown)}
    losses = [result["val_loss"] for result in results.values()]
    assert losses[:2] == sorted(losses[:2])
    assert losses[2] is None
    assert results["d_model=8"]["val_loss"] == load_run(out / "d_model=8").of("val_loss")[6]
    assert {name: result["steps"] for name, result in results.items()} == {
        "d_model=8": 6,
        "d_model=16": 6,
        "d_model=24": 0,
    }
    assert (out / "d_model=8/metrics.jsonl").stat().st_mtime_ns == kept
    one, two = (
        load_file(folder / "model.safetensors")
        for folder in (out / "d_model=16", tmp_path / "whole")
    )
    assert [name for name in one if not one[name].equal(two[name])] == []

    file.write_text(to_toml({**options, "lr": 0.1, "d_model": [8, 16]}))
    code, _, said = glassformer("sweep", file, "--out", out)
    assert (code, "d_model=8 was trained with other options" in said) == (2, True)
    code, _, said = glassformer("sweep", file, "--out", out / "d_model=8")
    assert (code, "is a run, and a sweep is a folder of runs" in said) == (2, True)
    code, _, said = glassformer("sweep", file, "--out", file)
    assert (code, "is a file, and a sweep is a folder of runs" in said) == (2, True)
