"""Signals, second writers and folders that can't be written: nothing is lost, one line says why."""

import json
import math
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch

from glassformer.cli.stopping import stopping_on_signals
from glassformer.errors import GlassformerError
from glassformer.files import write_atomically
from glassformer.interop.folder import load_folder
from glassformer.jsons import Schema
from glassformer.model import Config
from glassformer.text.shard import ShardHeader
from glassformer.training.checkpoint import Manifest, State, load_checkpoint, steps_saved
from glassformer.training.growing import GrowingMetrics
from glassformer.training.loop import train
from glassformer.training.run import Run, load_run, read_metrics, take_lock
from glassformer.training.step import NonFiniteError
from tests.training.small import small_data, small_model, small_recipe
from tests.training.test_loop import new_run

TEXT = "the cat sat on the mat and the dog sat on the log. " * 40
TINY = [
    *("--preset", "text"),  # its steps between checkpoints, whatever the text
    *("--tokenizer", "chars", "--n-ctx", "8", "--d-model", "8", "--n-layers", "1"),
    *("--n-heads", "1", "--batch-size", "2", "--eval-every", "1000"),
]


def glassformer(*arguments: str | int | Path) -> subprocess.Popen[str]:
    """Start the command in a process of its own."""
    return subprocess.Popen(
        [sys.executable, "-m", "glassformer", *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )


def text_file(folder: Path) -> Path:
    path = folder / "text.txt"
    path.write_text(TEXT)
    return path


def wait_for_steps(run: Path, process: subprocess.Popen[Any], steps: int) -> None:
    """Wait until a training process has made a few steps."""
    deadline = time.monotonic() + 120
    while not any(row["step"] >= steps for row in read_metrics(run / "metrics.jsonl")):
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.mark.parametrize(
    ("number", "code"),
    [
        pytest.param(signal.SIGINT, 130, id="ctrl-c"),
        pytest.param(signal.SIGTERM, 143, id="sigterm", marks=pytest.mark.heavy),
    ],
)
def test_a_signal_saves_at_the_step_says_how_to_go_on(tmp_path, number, code):
    run = tmp_path / "run"
    steps = 100_000
    process = glassformer("train", text_file(tmp_path), "--out", run, *TINY, "--steps", steps)
    wait_for_steps(run, process, 5)
    process.send_signal(number)
    shown, said = process.communicate(timeout=60)
    assert process.returncode == code
    assert f"glassformer train --out {run} --resume" in shown
    assert "Traceback" not in said
    start, saved = steps_saved(run / "checkpoints")
    assert start == 0
    assert [row["step"] for row in read_metrics(run / "metrics.jsonl") if "loss" in row][
        -1
    ] == saved
    assert load_folder(run)[0].config.d_model == 8  # the folder is a model already


@pytest.mark.heavy
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGHUP])
def test_a_signal_that_ends_the_reader_of_the_output_as_well_saves_all_the_same(tmp_path, number):
    """As Ctrl-C with `glassformer train ... 2>&1 | tee log`, or a terminal that is closed."""
    run, (reading, writing) = tmp_path / "run", os.pipe()
    arguments = ["train", text_file(tmp_path), "--out", run, *TINY, "--steps", "100000"]
    before = signal.signal(number, signal.SIG_DFL)  # the tests may run under nohup
    process = subprocess.Popen(
        [sys.executable, "-m", "glassformer", *map(str, arguments)], stdout=writing, stderr=writing
    )
    signal.signal(number, before)
    os.close(writing)
    wait_for_steps(run, process, 5)
    os.close(reading)
    process.send_signal(number)
    assert process.wait(60) == 128 + number
    last = [row["step"] for row in read_metrics(run / "metrics.jsonl") if "loss" in row][-1]
    assert steps_saved(run / "checkpoints") == [0, last]


def test_the_first_signal_asks_for_an_end_though_nobody_reads_standard_error():
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)  # the tests may run under nohup
    kept, (reading, writing) = os.dup(2), os.pipe()
    os.close(reading)
    os.dup2(writing, 2)
    try:
        with stopping_on_signals() as stop:
            signal.raise_signal(signal.SIGHUP)
        assert stop.signal == signal.SIGHUP
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(writing)
        signal.signal(signal.SIGHUP, before)


def test_a_run_under_nohup_outlives_its_terminal():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with stopping_on_signals() as stop:
            signal.raise_signal(signal.SIGHUP)
        assert not stop.requested()
    finally:
        signal.signal(signal.SIGHUP, before)


def test_ctrl_c_while_a_library_learns_the_vocabulary_ends_at_once(tmp_path):
    program = (
        "import ctypes, sys\n"
        "from glassformer.cli import app, train\n"
        "def new_run(*_):\n"
        "    print('begun', flush=True)\n"
        "    ctypes.CDLL(None).sleep(60)\n"  # no Python runs, as in the tokenizer's library
        "train.new_run = new_run\n"
        f"sys.argv = ['glassformer', 'train', '--out', {str(tmp_path / 'run')!r}]\n"
        "app.main()\n"
    )
    process = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "begun\n"
    process.send_signal(signal.SIGINT)
    assert process.wait(20) == -signal.SIGINT
    process.stdout.close()


@pytest.mark.heavy
def test_a_second_signal_leaves_at_once_and_the_old_checkpoint_is_intact(tmp_path):
    run = tmp_path / "run"
    program = (
        "import sys, time\n"
        "from glassformer.training import checkpoint, loop\n"
        "save = checkpoint.save_checkpoint\n"
        "def slow(parent, step, contents):\n"  # a disk that takes for ever, once one is saved
        "    if parent.name == 'checkpoints' and step > 200:\n"
        "        print('saving', file=sys.stderr, flush=True)\n"
        "        time.sleep(600)\n"
        "    return save(parent, step, contents)\n"
        "checkpoint.save_checkpoint = slow\n"
        f"sys.argv[1:] = ['train', {str(text_file(tmp_path))!r}, '--out', {str(run)!r},"
        f" *{TINY!r}, '--steps', '100000']\n"
        "from glassformer.cli.app import main\n"
        "main()\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stderr is not None
    wait_for_steps(run, process, 201)  # one checkpoint, of step 200, is there
    process.send_signal(signal.SIGINT)
    while "saving\n" not in process.stderr.readline():
        assert process.poll() is None
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=20) == 130
    assert "left at once; the last checkpoint is intact" in process.stderr.read()
    assert steps_saved(run / "checkpoints") == [0, 200]
    load_checkpoint(run / "checkpoints/step-000200")


def test_a_run_folder_in_use_is_refused_and_free_again_when_its_process_is_gone(tmp_path):
    (tmp_path / "run").mkdir()
    lock = take_lock(tmp_path / "run")
    with pytest.raises(GlassformerError, match=rf"in use by .* \(process {os.getpid()}\)"):
        Run.create(tmp_path / "run")
    lock.release()
    Run.create(tmp_path / "run").close()


def test_a_run_whose_folder_is_deleted_says_so_and_leaves_no_half_folder(tmp_path):
    model, recipe = small_model(), small_recipe()

    def delete(row):
        if row["step"] == 3:
            shutil.rmtree(tmp_path / "run", ignore_errors=True)

    with (
        pytest.raises(GlassformerError, match="run was moved or deleted while it was trained"),
        new_run(tmp_path / "run", model, recipe) as run,
    ):
        train(model, small_data(), recipe, run=run, report=delete)
    assert not (tmp_path / "run").exists()


def test_a_new_run_does_not_overwrite_a_run_nor_other_files(tmp_path):
    model = small_model()
    new_run(tmp_path / "run", model, small_recipe()).close()
    with pytest.raises(GlassformerError, match="holds a run already; go on with it by --resume"):
        Run.create(tmp_path / "run")
    text_file(tmp_path)
    with pytest.raises(GlassformerError, match="is not empty"):
        Run.create(tmp_path)
    with pytest.raises(GlassformerError, match="is a file"):
        Run.create(tmp_path / "text.txt")
    assert (tmp_path / "text.txt").read_text() == TEXT


def test_a_folder_that_cannot_be_written_is_refused_before_anything_is_trained(tmp_path):
    locked = tmp_path / "locked"
    locked.mkdir()
    locked.chmod(0o500)
    nobody = 65534 if os.geteuid() == 0 else None  # root may write anywhere
    tmp_path.chmod(0o755)
    for parent in list(tmp_path.parents)[:2]:
        parent.chmod(0o755)
    program = (
        "from pathlib import Path\n"
        "from glassformer.training.run import Run\n"
        f"Run.create(Path({str(locked / 'run')!r}))\n"
    )
    process = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, user=nobody
    )
    assert "PermissionError: [Errno 13] Permission denied" in process.stderr
    assert [*locked.iterdir()] == []


def test_a_loss_that_is_not_finite_stops_before_the_update_and_keeps_the_batch(tmp_path):
    model, recipe = small_model(), small_recipe()

    def spoil(row):
        if row["step"] == 6 and "loss" in row:
            with torch.no_grad():
                model.weights()["blocks.0.attn.W_Q"].fill_(3e38)

    with new_run(tmp_path / "run", model, recipe) as run, pytest.raises(NonFiniteError) as failure:
        train(model, small_data(), recipe, run=run, report=spoil)
    said = str(failure.value)
    assert re.match(
        r"step 7: .*; the first value that is not finite is fwd/blocks\.0\.attn\.q;", said
    )
    batch = safetensors.torch.load_file(tmp_path / "run/failures/step-000007.safetensors")
    assert torch.equal(batch["ids.0"], small_data().batch(6, 4).ids)
    assert steps_saved(tmp_path / "run/checkpoints") == [0, 5]  # the last good ones
    last = [json.loads(line) for line in (tmp_path / "run/metrics.jsonl").open()][-1]
    assert last["step"] == 6


@pytest.mark.parametrize("changes", [{"eval_every": 1}, {"eval_every": 0, "save_every": 1}])
def test_an_update_that_spoils_the_model_is_told_and_never_saved(tmp_path, changes):
    model, recipe = small_model(), small_recipe(sample_every=0, **changes)

    def spoil(row):
        if row["step"] == 6 and "loss" in row:
            with torch.no_grad():
                model.weights()["embed.W_E"].fill_(math.inf)

    with new_run(tmp_path / "run", model, recipe) as run, pytest.raises(NonFiniteError) as failure:
        train(model, small_data(), recipe, run=run, report=spoil)
    assert re.match(r"step 6: .*: training diverged, .* at learning rate 0\.0", str(failure.value))
    assert "the checkpoint of step 5 is whole" in str(failure.value)
    assert steps_saved(tmp_path / "run/checkpoints")[-1] == 5
    rows = [json.loads(line) for line in (tmp_path / "run/metrics.jsonl").open()]
    assert all(math.isfinite(row.get("val_loss", 0)) for row in rows)


def test_a_tokenizer_that_was_exchanged_is_refused_by_its_fingerprint(tmp_path):
    new_run(tmp_path / "run", small_model(), small_recipe()).close()
    path = tmp_path / "run/tokenizer.json"
    path.write_text(path.read_text().replace('"a"', '"z"'))
    with pytest.raises(GlassformerError, match="is not the one the run was started with"):
        Run.reopen(tmp_path / "run")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("{", r"run\.json is not valid JSON"),
        ('{"format": 7}', "format 7, this version reads 1"),
        ('{"format": 1}', r"run\.json has no 'model'; restore it or train again"),
        (None, "is not a run: it has no run.json"),
    ],
)
def test_a_broken_run_folder_is_named(tmp_path, content, said):
    if content is not None:
        (tmp_path / "run.json").write_text(content)
    with pytest.raises(GlassformerError, match=said):
        Run.reopen(tmp_path)


def test_a_line_of_metrics_that_was_cut_short_is_left_out_and_a_broken_one_is_named(tmp_path):
    file = tmp_path / "metrics.jsonl"
    row = {"step": 1, "loss": 2.0}
    file.write_text(json.dumps(row) + '\n{"step": 2, "lo')
    assert read_metrics(file) == [row]
    file.write_text("{oops\n" + json.dumps(row) + "\n")
    with pytest.raises(GlassformerError, match=r"metrics\.jsonl, line 1 is not valid JSON"):
        read_metrics(file)


def test_a_growing_file_of_metrics_is_read_once_row_by_row_also_when_a_resume_makes_it_anew(
    tmp_path,
):
    file = tmp_path / "metrics.jsonl"
    growing, rows = GrowingMetrics(file), [{"step": step, "loss": 1.0} for step in range(4)]
    lines = [json.dumps(row) + "\n" for row in rows]
    assert growing.new_rows() == []
    file.write_text(lines[0] + lines[1][:5])
    assert growing.new_rows() == rows[:1]
    with file.open("a") as more:
        more.write(lines[1][5:] + lines[2])
    assert growing.new_rows() == rows[1:3]
    assert growing.new_rows() == []
    write_atomically(file, "".join(lines[:2]))  # step 2 is made again
    assert growing.new_rows() == []
    with file.open("a") as more:
        more.write(lines[2] + lines[3])
    assert growing.new_rows() == rows[2:]


def test_the_lock_of_a_killed_process_does_not_block_and_a_living_one_is_named_each_time(tmp_path):
    program = (
        "import sys, time\n"
        "from pathlib import Path\n"
        "from glassformer.training.run import take_lock\n"
        "lock = take_lock(Path(sys.argv[1]))\n"
        "print('held', flush=True)\n"
        "time.sleep(600)\n"
    )
    holder = subprocess.Popen(
        [sys.executable, "-c", program, str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"
    for _ in range(2):  # being refused does not wipe out who holds it
        with pytest.raises(GlassformerError, match=rf"\(process {holder.pid}\)"):
            take_lock(tmp_path)
    holder.kill()
    holder.wait()
    take_lock(tmp_path).release()


def test_the_files_of_a_run_that_version_0_1_0_wrote_are_read_as_they_were_written():
    """Stored copies: what a schema asks must never be more than an older version wrote."""
    written = Path(__file__).with_name("written_by_0.1.0")

    def content(name: str) -> dict[str, Any]:
        return json.loads((written / name).read_text())

    run = load_run(written)
    read, stored = run.description.to_dict(), content("run.json")
    since = {
        part: {name: value for name, value in read[part].items() if name not in stored[part]}
        for part in ("model", "recipe")
    }
    assert {"format": 1, **read} == {
        **stored,
        **{part: {**stored[part], **new} for part, new in since.items()},
    }
    assert run.description.model == Config.from_dict(stored["model"])
    lines = (written / "metrics.jsonl").read_text().splitlines()
    assert run.rows == [json.loads(line) for line in lines]
    shard = Schema(ShardHeader).read(written / "shard.json", "").model_dump()
    assert shard == {**content("shard.json"), "asked_file": None, "asked_sha256": None}
    assert Schema(Manifest).read(written / "manifest.json", "") == content("manifest.json")
    state = Schema(State).read(written / "state.json", "", version=1)
    was = content("state.json")
    was["identity"]["model"] |= since["model"]
    was["identity"]["recipe"] |= since["recipe"]
    assert {**state, "best": [*state["best"]]} == was
