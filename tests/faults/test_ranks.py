"""Ranks that are killed or stop answering: the job ends and names them, or goes on by itself."""

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import psutil
import pytest

from glassformer.training.checkpoint import load_checkpoint, step_folder, steps_saved
from glassformer.training.loop import train
from glassformer.training.run import load_run, read_metrics
from tests.faults.rank_writer import RECIPE
from tests.faults.test_run import TINY, text_file
from tests.training.small import small_data, small_model
from tests.training.test_loop import stop_after

KILLS = 50
TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]


class Job(NamedTuple):
    """torchrun, and where it and its ranks write what they say: a pipe that nobody reads fills."""

    torchrun: subprocess.Popen[bytes]
    file: Path

    @property
    def said(self) -> str:
        return self.file.read_text()

    @property
    def ranks(self) -> list[psutil.Process]:
        return psutil.Process(self.torchrun.pid).children()

    def end(self, seconds: float) -> int:
        return self.torchrun.wait(timeout=seconds)


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Job]]:
    """Start torchrun's two ranks; whatever a failed test leaves of them is ended."""
    jobs: list[Job] = []

    def begin(*arguments: object) -> Job:
        said = tmp_path / "said.txt"
        with said.open("wb") as file:
            command = [*TORCHRUN, *map(str, arguments)]
            env = {**os.environ, "OMP_NUM_THREADS": "1"}
            torchrun = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=file, env=env)
        jobs.append(Job(torchrun, said))
        return jobs[-1]

    yield begin
    for job in jobs:
        if job.torchrun.poll() is None:
            left = job.ranks
            for process in (job.torchrun, *left):
                process.kill()
            job.end(60)


def wait_until(condition: Callable[[], bool], job: Job, seconds: float = 600) -> None:
    until = time.monotonic() + seconds
    while not condition():
        assert job.torchrun.poll() is None, job.said[-3000:]
        assert time.monotonic() < until
        time.sleep(0.02)


def process_of(job: Job, rank: int) -> psutil.Process:
    return next(process for process in job.ranks if process.environ().get("RANK") == str(rank))


@pytest.mark.heavy
@pytest.mark.parametrize(
    ("how", "rank"),
    [(signal.SIGKILL, 1), (signal.SIGKILL, 0), (signal.SIGSTOP, 1)],
    ids=["killed", "the-first-killed", "stuck"],
)
def test_a_rank_that_is_gone_or_stuck_is_named_and_the_job_ends(start, tmp_path, how, rank):
    run = tmp_path / "run"
    options = [*TINY, "--steps", 100_000, "--deadline", 5]
    job = start("-m", "glassformer", "train", text_file(tmp_path), "--out", run, *options)
    wait_until(lambda: any(row["step"] > 4 for row in read_metrics(run / "metrics.jsonl")), job)
    process_of(job, rank).send_signal(how)
    # the deadline, the roll call, and torchrun's half minute for one that is stuck
    assert job.end(120) != 0
    (line,) = [line for line in job.said.splitlines() if line.startswith("error: ")]
    assert line.startswith(f"error: rank {rank} is gone or stuck, of 2 that train together;")
    assert "start again with --resume" in line
    if how == signal.SIGSTOP:  # torchrun sees the rank that says it fail first
        assert f"traceback : {line}" in job.said  # its own report, below ours, ends with the line
    for step in steps_saved(run / "checkpoints"):
        load_checkpoint(step_folder(run / "checkpoints", step))


@pytest.mark.heavy
def test_what_ends_every_process_is_said_once_and_stands_last_in_torchruns_own_report(
    start, tmp_path
):
    job = start("-m", "glassformer", "train", tmp_path / "none.txt", "--out", tmp_path / "run")
    assert job.end(120) != 0
    *_, last, rule = job.said.splitlines()
    (line,) = [line for line in job.said.splitlines() if line.startswith("error: ")]
    assert line.startswith("error: there is no file or folder")
    assert (last, set(rule)) == (f"  traceback : {line}", {"="})


@pytest.mark.heavy
def test_the_command_that_torchrun_starts_again_goes_on_from_what_was_saved(start, tmp_path):
    run, steps = tmp_path / "run", 2000
    options = [*TINY, "--steps", steps]
    train = ["-m", "glassformer", "train", text_file(tmp_path), "--out", run]
    job = start("--max-restarts", 1, *train, *options)
    wait_until(lambda: max(steps_saved(run / "checkpoints"), default=0) > 0, job)
    process_of(job, 1).kill()
    assert job.end(600) == 0, job.said[-3000:]
    assert [*load_run(run).of("loss")] == [*range(1, steps + 1)]  # every step once


@pytest.mark.heavy
@pytest.mark.parametrize("shard", [[], ["--shard"]], ids=["copies", "parts"])
def test_fifty_kills_of_a_rank_lose_nothing_that_was_saved(start, tmp_path, shard):
    """torchrun starts the ranks again each time, and the run goes on from its newest checkpoint."""
    moments = random.Random(0)
    restarts = ["--max-restarts", KILLS + 1]
    job = start(*restarts, "-m", "tests.faults.rank_writer", tmp_path, *shard)
    checkpoints = tmp_path / "run/checkpoints"
    pids = [tmp_path / f"pid-{rank}" for rank in range(2)]
    newest = 0
    for _ in range(KILLS // (2 if shard else 1)):
        wait_until(lambda: all(pid.exists() for pid in pids), job)
        goal = newest + 1
        wait_until(lambda least=goal: max(steps_saved(checkpoints), default=0) >= least, job)
        time.sleep(moments.uniform(0, 0.5))  # anywhere in saving, pruning or between
        saved = steps_saved(checkpoints)
        victim = int(moments.choice(pids).read_text())
        for pid in pids:
            pid.unlink()
        os.kill(victim, signal.SIGKILL)
        now = steps_saved(checkpoints)
        newest = now[-1]
        assert newest >= saved[-1]
        for step in now[-2:]:
            if step in steps_saved(checkpoints):  # not pruned meanwhile
                load_checkpoint(step_folder(checkpoints, step))
    wait_until(lambda: all(pid.exists() for pid in pids), job)
    (tmp_path / "enough").touch()
    assert job.end(600) == 0, job.said[-3000:]
    losses = load_run(tmp_path / "run").of("loss")
    assert [*losses] == [*range(1, len(losses) + 1)]  # every step once
    assert len(losses) >= newest
    end = stop_after(len(losses))
    alone = train(small_model().double(), small_data(), RECIPE, should_stop=end)
    straight = [row["loss"] for row in alone.rows if "loss" in row]
    # rows hold float32 of a loss computed in float64
    assert [*losses.values()] == pytest.approx(straight, abs=1e-6)
