"""`glassformer sweep`: variants of a training, and one table of how they ended."""

from __future__ import annotations

import math
import os
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from glassformer.cli import pasted
from glassformer.cli.as_json import AsJson
from glassformer.cli.config import read_toml
from glassformer.cli.console import SafeConsole
from glassformer.cli.progress import duration
from glassformer.cli.stopping import ENDING, stopping_on_signals
from glassformer.cli.streams import say_json
from glassformer.cli.variants import Variant, check_variants, read_variants
from glassformer.errors import GlassformerError
from glassformer.files import write_atomically
from glassformer.formula.spelling import difference
from glassformer.training.checkpoint import steps_saved
from glassformer.training.options import to_toml
from glassformer.training.run import load_run

TRAIN = [sys.executable, "-m", "glassformer.cli.child", "train"]
POLL_SECONDS = 0.1


@dataclass(frozen=True)
class Result:
    """How a variant ended; what was not measured is None, as is `error` where there was none."""

    name: str
    run: str
    options: dict[str, Any]
    val_loss: float | None = None
    text_loss: float | None = None
    floor: float | None = None
    steps: int = 0
    planned_steps: int = 0
    seconds: float = 0.0
    error: str | None = None

    @property
    def loss(self) -> float:
        """What the table goes by: the held-out loss, or that of the whole text; nan last."""
        measured = self.text_loss if self.val_loss is None else self.val_loss
        return math.nan if measured is None else measured


class Training:
    """A variant's process, or the run that it left before."""

    def __init__(self, variant: Variant, out: Path, threads: int) -> None:
        self.variant, self.folder = variant, out / variant.name
        self.config, self.log = out / f"{variant.name}.toml", out / f"{variant.name}.log"
        self.threads = threads
        self.process: subprocess.Popen[bytes] | None = None
        self._stop_requested = False
        if self.config.exists() and read_toml(self.config) != variant.options:
            raise GlassformerError(
                f"{self.folder} was trained with other options, those of {self.config}; give"
                " another --out, or take that variant away"
            )

    @property
    def is_begun(self) -> bool:
        """Whether there is a run of it, of an earlier sweep."""
        return (self.folder / "run.json").is_file()

    @property
    def is_kept(self) -> bool:
        """Whether an earlier sweep has trained it to its end."""
        if not self.is_begun:
            return False
        saved, run = steps_saved(self.folder / "checkpoints"), load_run(self.folder)
        return bool(saved) and saved[-1] == run.steps_done and run.is_over

    def start(self) -> None:
        """Begin it, or go on with it; what it says is in its log."""
        write_atomically(self.config, to_toml(self.variant.options))
        chosen = ["--resume"] if self.is_begun else ["--config", str(self.config)]
        environment = {"OMP_NUM_THREADS": str(self.threads), **os.environ}
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [*TRAIN, *chosen, "--out", str(self.folder)],
                stdin=subprocess.PIPE,  # never written to: it closes with this process
                stdout=log,
                stderr=subprocess.STDOUT,
                env=environment,
                start_new_session=True,  # a Ctrl-C reaches it once, from here
            )

    @property
    def has_ended(self) -> bool:
        if self.process is None or self.process.poll() is None:
            return False
        assert self.process.stdin is not None
        self.process.stdin.close()
        return True

    def end(self, signal: int) -> None:
        """Tell it, once, to save and end: a second signal would end it at once."""
        if self.process is not None and not self._stop_requested:
            self._stop_requested = True
            self.process.send_signal(signal)

    def result(self) -> Result:
        """What its run says it came to."""
        folder, options = str(self.folder), self.variant.varied
        code = 0 if self.process is None else self.process.returncode
        error = None if code in (0, *(128 + n for n in ENDING)) else self._last_line(code)
        if not self.is_begun:
            return Result(self.variant.name, folder, options, error=error or "not trained")
        run = load_run(self.folder)
        held = run.step_held or 0
        return Result(
            self.variant.name,
            folder,
            options,
            val_loss=run.of("val_loss").get(held),
            text_loss=run.of("text_loss").get(held),
            floor=next(iter(run.of("floor").values()), None),
            steps=run.steps_done,
            planned_steps=run.description.recipe.steps,
            seconds=max(run.of("seconds").values(), default=0.0),
            error=error,
        )

    def _last_line(self, code: int) -> str:
        lines = self.log.read_text(errors="replace").split("\n")
        errors = [line for line in lines if line.startswith("error: ")]
        return errors[-1].removeprefix("error: ") if errors else f"it ended with code {code}"


def command(
    file: Annotated[Path, typer.Argument(metavar="FILE.toml", help="Options, and what to vary.")],
    out: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="Where the runs go; runs/FILE else.")
    ] = None,
    jobs: Annotated[int, typer.Option(min=1, metavar="N", help="Trainings at once.")] = 1,
    as_json: AsJson = False,
) -> None:
    r"""Train variants of a training, and print one table of how they ended.

    FILE.toml holds options of `train`, one a line. A list of values makes a
    variant of each, several lists one of each combination: lr = \[0.003, 0.01].
    Options below \[variants.NAME] make a variant of their own.

    A sweep that was stopped goes on where it was: finished variants are kept,
    others resumed.
    """
    variants = read_variants(file)
    folder = out or Path("runs") / file.stem
    is_run = (folder / "run.json").is_file()
    if is_run or folder.is_file():
        raise GlassformerError(
            f"{folder} is a {'run' if is_run else 'file'}, and a sweep is a folder of runs; give"
            " another --out"
        )
    threads = max(1, (os.cpu_count() or 1) // jobs)
    trainings = [Training(variant, folder, threads) for variant in variants]
    check_variants(file, (t.variant for t in trainings if not t.is_begun))
    folder.mkdir(parents=True, exist_ok=True)
    console = SafeConsole(quiet=as_json)
    stopped_by = _train_all(trainings, jobs, console)
    results = sorted((t.result() for t in trainings), key=lambda r: (math.isnan(r.loss), r.loss))
    if as_json:
        say_json([asdict(result) for result in results])
    else:
        console.print(_table(results))
    if stopped_by is not None:
        again = " ".join(pasted.parts("sweep", [file], f"--out {pasted.word(folder)}"))
        console.print(f"go on with:  {again}")
        raise typer.Exit(128 + stopped_by)
    failed = [result for result in results if result.error is not None]
    if failed:
        raise GlassformerError(
            f"{len(failed)} of {len(results)} trainings failed, {failed[0].name} with:"
            f" {failed[0].error}; {folder}/NAME.log holds what each said"
        )


def _train_all(trainings: list[Training], jobs: int, console: SafeConsole) -> int | None:
    """Train what is not trained, so many at once; the signal that stopped it, if one did."""
    waiting = [training for training in trainings if not training.is_kept]
    if len(waiting) < len(trainings):
        console.print(f"{len(trainings) - len(waiting)} of {len(trainings)} are trained already")
    n = len(waiting)
    running: list[Training] = []
    done = 0
    with stopping_on_signals() as stop:
        while running or (waiting and not stop.requested()):
            while waiting and len(running) < jobs and not stop.requested():
                running.append(waiting.pop(0))
                running[-1].start()
            if stop.signal is not None:
                for training in running:
                    training.end(stop.signal)
            for training in [t for t in running if t.has_ended]:
                running.remove(training)
                done += 1
                result = training.result()
                came_to = (
                    result.error or f"loss {result.loss:.3f}, {duration(result.seconds)} in steps"
                )
                console.print(f"{done} of {n}  {result.name}: {came_to}")
            time.sleep(POLL_SECONDS)
    return stop.signal


def _table(results: list[Result]) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    table.add_column("variant", overflow="fold")
    with_floor = any(result.floor is not None for result in results)
    held_out = any(result.val_loss is not None for result in results)
    headers = ["held-out loss" if held_out else "loss on the text"]
    headers += ["floor", "above it"] if with_floor else []
    for header in (*headers, "steps", "time in steps"):
        table.add_column(header, justify="right")
    for result in results:
        cells = ["-" if math.isnan(result.loss) else f"{result.loss:.4f}"]
        if with_floor:
            floor = result.floor
            cells += (
                ["-", "-"] if floor is None else [f"{floor:.4f}", difference(result.loss, floor, 4)]
            )
        steps = f"{result.steps:,}"
        if result.steps < result.planned_steps:
            steps += f" of {result.planned_steps:,}"
        table.add_row(result.name, *cells, steps, duration(result.seconds))
    return table
