"""What training measures, for TensorBoard, W&B and trackio: the numbers of every row, by step."""

from __future__ import annotations

import os
import re
import secrets
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager, redirect_stdout
from importlib import import_module
from importlib.util import find_spec
from io import StringIO
from typing import Any, NamedTuple

from glassformer.errors import GlassformerError, did_you_mean
from glassformer.jsons import DamagedFileError
from glassformer.metrics import Row
from glassformer.training.run import Run

PROJECT = "glassformer"
LOGGED_AS = "logged-as"

Log = Callable[[dict[str, float], int], object]
"""Takes numbers by name, and the step at which they were measured."""


def numbers_of(row: Row) -> dict[str, float]:
    """Every number of a row by its name, the layers' after a slash.

    >>> numbers_of({"step": 3, "loss": 2.5, "sample": "the cat"})
    {'loss': 2.5}
    >>> numbers_of({"step": 3, "health": {"grad_norm": {"embed": 0.5}}})
    {'grad_norm/embed': 0.5}
    """
    numbers = {name: value for name, value in row.items() if isinstance(value, float)}
    layers: Mapping[str, Any] = {**row.get("health", {})}
    for kind, by_layer in layers.items():
        numbers |= {f"{kind}/{layer}": value for layer, value in by_layer.items()}
    return numbers


@contextmanager
def logging_to(names: tuple[str, ...], run: Run) -> Iterator[Callable[[Row], None]]:
    """Meanwhile each row is written for these loggers, beside the run's own metrics.jsonl."""
    with ExitStack() as stack:
        logs = [stack.enter_context(opened(name)(run)) for name in names]

        def log(row: Row) -> None:
            for write in logs:
                write(numbers_of(row), row["step"])

        yield log


def opened(name: str) -> Callable[[Run], AbstractContextManager[Log]]:
    """How a logger is begun; raises for one that there is not, or whose package is missing."""
    if name not in LOGGERS:
        raise GlassformerError(
            f"--log {name!r} is none of {', '.join(LOGGERS)}.{did_you_mean(name, LOGGERS)}"
        )
    logger = LOGGERS[name]
    if find_spec(name) is None:
        raise GlassformerError(
            f"--log {name} needs the package {name}; pip install 'glassformer[{logger.extra}]'"
        )
    return logger.begin


@contextmanager
def _tensorboard(run: Run) -> Iterator[Log]:
    """Event files in RUN/tensorboard."""
    from torch.utils.tensorboard import SummaryWriter

    with SummaryWriter(str(run.folder / "tensorboard")) as writer:

        def log(numbers: dict[str, float], step: int) -> None:
            for name, value in numbers.items():
                writer.add_scalar(name, value, step)

        yield log


@contextmanager
def _wandb(run: Run) -> Iterator[Log]:
    """A W&B run in RUN/wandb, offline unless $WANDB_MODE says otherwise; `wandb sync` sends it."""
    import wandb

    # what it gathers of the machine, the code and the console is nobody's business here
    quiet = wandb.Settings(
        silent=True,
        console="off",
        disable_git=True,
        save_code=False,
        x_disable_stats=True,
        x_disable_meta=True,
        x_save_requirements=False,
    )
    writer = wandb.init(
        project=PROJECT,
        name=run.folder.name,
        id=id_of(run),
        resume="allow",
        dir=run.folder,
        mode=None if "WANDB_MODE" in os.environ else "offline",
        config=run.description.to_dict(),
        settings=quiet,
    )
    try:
        yield lambda numbers, step: writer.log(numbers, step=step)
    finally:
        writer.finish()


@contextmanager
def _trackio(run: Run) -> Iterator[Log]:
    """A run among trackio's own on this machine; `trackio show --project glassformer` shows it."""
    trackio: Any = import_module("trackio")
    name = f"{run.folder.name}-{id_of(run)}"  # its runs are known by their names alone
    with redirect_stdout(StringIO()):  # it greets
        trackio.init(
            project=PROJECT,
            name=name,
            config=run.description.to_dict(),
            resume="allow",
            embed=False,
            auto_log_cpu=False,
            auto_log_gpu=False,
        )
    try:
        yield lambda numbers, step: trackio.log(numbers, step=step)
    finally:
        with redirect_stdout(StringIO()):
            trackio.finish()


class Logger(NamedTuple):
    """How it is begun, and the extra that brings its package, which is called as it is."""

    begin: Callable[[Run], AbstractContextManager[Log]]
    extra: str = "loggers"


LOGGERS = {
    "tensorboard": Logger(_tensorboard),
    "wandb": Logger(_wandb),
    "trackio": Logger(_trackio, extra="trackio"),
}


def id_of(run: Run) -> str:
    """Under what other programs know this run, so that a resumed one goes on in theirs, too."""
    file = run.folder / LOGGED_AS
    if not file.exists():
        file.write_text(secrets.token_hex(4), encoding="utf-8")
    known = file.read_bytes().decode(errors="replace").strip()
    if not re.fullmatch("[0-9a-f]{8}", known):
        raise DamagedFileError(file, "holds no id of 8 letters", "delete it to log as a new run")
    return known
