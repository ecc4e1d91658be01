"""Small runs from pasted text: each trained by `glassformer train` in a process of its own.

A process can be stopped as a person would stop it (SIGINT: it saves and ends; where that takes too
long, it is killed) and does not hold up the server. It ends with the server: see `child`. What it
has done is read from the run's metrics.jsonl.
"""

from __future__ import annotations

import asyncio
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator
from pathlib import Path

from glassformer.files import write_atomically
from glassformer.model import load_preset
from glassformer.server import schemas
from glassformer.server.errors import ApiError
from glassformer.server.runs import Runs, Source
from glassformer.training.checkpoint import steps_saved
from glassformer.training.growing import GrowingMetrics
from glassformer.training.sizing import measured, sized, spelled

TRAIN = [sys.executable, "-m", "glassformer.cli.child", "train"]

STEPS = 600
FEWEST_CHARACTERS = 10
SAMPLES, EVALUATIONS = 10, 20
"""How often in a training it writes something of its own, and is measured on held-out text."""

POLL_SECONDS = 0.25
STOP_SECONDS, LEAVE_SECONDS = 4.0, 3.5
"""How long a training that was asked to stop may take to save: while the server runs, at its end.

A step, an evaluation and a checkpoint take a second or two. What is killed has its last checkpoint.
"""

STOPPED = (-signal.SIGINT, 128 + signal.SIGINT)
"""How the process ends after SIGINT."""


class Training:
    """One run being trained, and the process that does it."""

    def __init__(
        self,
        source: Source,
        folder: Path,
        steps: int,
        arguments: list[str],
        leaving: threading.Event,
        chosen: str | None = None,
    ) -> None:
        self.source, self.folder, self.steps, self._chosen = source, folder, steps, chosen
        self._leaving = leaving
        self._start([*arguments, "--out", str(folder), "--steps", str(steps)])

    def resume(self) -> None:
        """Go on from the newest checkpoint."""
        self._start(["--out", str(self.folder), "--resume"])

    def _start(self, arguments: list[str]) -> None:
        self._stop_requested = False
        # one core is left to the server, so that the page stays quick
        threads = str(max((os.cpu_count() or 2) - 1, 1))
        with self.log.open("wb") as log:
            self._process = subprocess.Popen(
                [*TRAIN, *arguments],
                stdin=subprocess.PIPE,  # never written to: it closes with this process
                stdout=log,
                stderr=log,
                env={**os.environ, "OMP_NUM_THREADS": threads},
                start_new_session=True,  # a Ctrl-C for the server is not meant for it
            )

    @property
    def named(self) -> schemas.Training:
        """The id under which it is followed, that of its run, and what was chosen for its text."""
        return schemas.Training(id=self.source.id, run=self.source.id, chosen=self._chosen)

    @property
    def log(self) -> Path:
        """What it prints."""
        return self.folder.with_suffix(".log")

    @property
    def running(self) -> bool:
        if self._process.poll() is None:
            return True
        self._loose()
        return False

    def stop(self) -> None:
        """Ask it to save and end; if it does not in time, it is killed."""
        if self.running and not self._stop_requested:
            self._stop_requested = True
            self._process.send_signal(signal.SIGINT)
            threading.Thread(target=self._end, args=[STOP_SECONDS], daemon=True).start()

    def close(self, seconds: float) -> None:
        """Stop it and wait so long at most."""
        self.stop()
        self._end(seconds)
        self._loose()

    def _loose(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()

    def _end(self, seconds: float) -> None:
        process = self._process
        try:
            process.wait(seconds)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    async def events(self) -> AsyncIterator[schemas.TrainingEvent]:
        """Everything that happened so far, then what happens, to its end."""
        metrics = GrowingMetrics(self.folder / "metrics.jsonl")
        progress = schemas.Progress(step=0, steps=self.steps)
        while True:
            running = self.running  # asked before reading, so that the last rows are not missed
            for row in await asyncio.to_thread(metrics.new_rows):
                step = row["step"]
                if "sample" in row:
                    yield schemas.Sample(step=step, text=row["sample"])
                news = {name: row[key] for name, key in ROW.items() if key in row}
                if news:
                    news |= {"step": step, "measured": "held_out" in news or "whole_text" in news}
                    progress = progress.model_copy(update=news)
                    yield progress
            if not running:
                yield self._last()
                return
            if self._leaving.is_set():
                return
            await asyncio.sleep(POLL_SECONDS)

    def _last(self) -> schemas.Done | schemas.Failed:
        code, run = self._process.returncode, self.source.id
        if code == 0:
            return schemas.Done(run=run, reason="finished")
        was_killed = self._stop_requested and bool(steps_saved(self.folder / "checkpoints"))
        if code in STOPPED or was_killed:
            return schemas.Done(run=run, reason="stopped")
        if self._stop_requested:
            message = "stopped before its first step: there is nothing to save"
            return schemas.Failed(message=message)
        lines = self.log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
        last = lines[-1].removeprefix("error: ") if lines else f"it ended with code {code}"
        return schemas.Failed(message=last)


ROW = {
    "loss": "loss",
    "held_out": "val_loss",
    "whole_text": "text_loss",
    "floor": "floor",
    "tokens_per_second": "tokens_per_second",
}
"""What progress says, and its key in metrics.jsonl."""


class Trainings:
    """The trainings started from the page, one at a time, with their runs under `folder`."""

    def __init__(self, runs: Runs, folder: Path) -> None:
        self._runs, self._folder = runs, folder
        self._trainings: dict[str, Training] = {}
        self._leaving = threading.Event()
        self._lock = threading.Lock()

    def start(self, request: schemas.TrainingRequest) -> Training:
        """Begin a new run; its text is kept beside it."""
        with self._lock:
            self._refuse_a_second()
            arguments = arguments_of(request)
            folder, n = self._new_folder(
                request.name or ("pasted" if request.text else "storyland")
            )
            folder.parent.mkdir(parents=True, exist_ok=True)
            if request.text is not None:
                text = folder.with_suffix(".txt")
                write_atomically(text, request.text)
                arguments = [str(text), *arguments]
            name = request.name and (request.name if n == 1 else f"{request.name} {n}")
            source = self._runs.expect(folder, name or folder.name)
            steps, chosen = fitted(request)
            arguments += ["--eval-every", str(max(steps // EVALUATIONS, 1))]
            arguments += ["--sample-every", str(max(steps // SAMPLES, 1))]
            training = Training(source, folder, steps, arguments, self._leaving, chosen)
            self._trainings[source.id] = training
            return training

    def resume(self, run: str) -> Training:
        """Go on with a training that was stopped."""
        with self._lock:
            training = self[run]
            self._refuse_a_second()
            training.resume()
            return training

    def __getitem__(self, run: str) -> Training:
        training = self._trainings.get(run)
        if training is None:
            raise ApiError("unknown_training", f"no training {run!r} was started from this page")
        return training

    def leave(self) -> None:
        """The server is about to end: tell no more events, and have what is running save itself."""
        self._leaving.set()
        for training in list(self._trainings.values()):  # a signal's handler comes at any moment
            training.stop()

    def close(self) -> None:
        """End what is running; it can be resumed."""
        self.leave()
        deadline = time.monotonic() + LEAVE_SECONDS
        for training in self._trainings.values():
            training.close(max(deadline - time.monotonic(), 0.0))

    def _refuse_a_second(self) -> None:
        for training in self._trainings.values():
            if training.running:
                raise ApiError(
                    "conflict",
                    f"{training.source.name!r} is being trained; stop it or wait until it is done",
                )

    def _new_folder(self, name: str) -> tuple[Path, int]:
        """A folder that there is not yet, and the how manieth of this name it is."""
        base = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:40] or "pasted"
        # what ended before it was a run does not keep its name
        tried = (training.folder for training in self._trainings.values())
        failed = [folder for folder in tried if not (folder / "run.json").exists()]
        n = 1
        while True:
            folder = self._folder / (base if n == 1 else f"{base}-{n}")
            free = not folder.exists() and not folder.with_suffix(".txt").exists()
            if free or folder in failed:
                return folder, n
            n += 1


def arguments_of(request: schemas.TrainingRequest) -> list[str]:
    """What `train` is told about the model and its recipe; refuses a text too short to learn from.

    >>> arguments_of(schemas.TrainingRequest(text="so it goes, " * 900, preset="fast"))
    ['--preset', 'fast', '--n-ctx', '64', '--no-compile']
    """
    preset = request.preset
    if request.text is None:
        if preset not in (None, "storyland"):
            raise ApiError("invalid", f"{preset!r} needs a text; without one, take 'storyland'")
        return ["--preset", "storyland"]
    n = len(request.text.strip())
    if n < FEWEST_CHARACTERS:
        raise ApiError(
            "invalid",
            f"the text has {n} characters, too few to learn from; give {FEWEST_CHARACTERS} or more",
        )
    if preset is None:
        return []  # the text decides
    by_letter = preset in ("fast", "classic")
    n_ctx = context(request.text, 64 if by_letter else 128)
    arguments = ["--preset", preset, "--n-ctx", str(n_ctx)]
    # compiling takes longer than a small run
    return [*arguments, "--no-compile"] if preset == "fast" else arguments


def fitted(request: schemas.TrainingRequest) -> tuple[int, str | None]:
    """How many steps to make, and in words what the text has decided, where it does.

    >>> fitted(schemas.TrainingRequest(text="The cat sat on the mat. The dog sat on the mat."))
    (300, 'tokenizer words, n_ctx 16, d_model 8, n_layers 1, n_heads 2, steps 300, batch_size 8, \
lr 0.03')
    """
    if request.text is None or request.preset is not None:
        return request.steps or STEPS, None
    sizes = sized(measured([request.text]), load_preset("text"))
    training = {**sizes["training"], "steps": request.steps or sizes["training"]["steps"]}
    return training["steps"], spelled(sizes["tokenizer"]["kind"], sizes["model"], training)


def context(text: str, most: int) -> int:
    """Positions for a model that learns from this text: fewer for a short one, for more blocks.

    >>> context("a few words", 128), context("x" * 4_000, 128), context("x" * 100_000, 128)
    (16, 32, 128)
    """
    return next((n for n in (16, 32, 64) if len(text) < 128 * n), most)
