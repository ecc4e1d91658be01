"""The run folder: what is being trained, by one writer at a time, and everything it leaves behind.

A run is a model folder that other tools read (config.json, model.safetensors, tokenizer files) plus
`run.json` (recipe, model, corpus), `metrics.jsonl`, `checkpoints/` and `snapshots/`.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Annotated, Any, NamedTuple

from filelock import FileLock, Timeout
from pydantic import with_config
from typing_extensions import TypedDict

from glassformer.errors import GlassformerError
from glassformer.files import write_atomically
from glassformer.interop.adapters import CONFIG as ADAPTERS
from glassformer.interop.adapters import WEIGHTS as ADAPTER_WEIGHTS
from glassformer.interop.adapters import is_adapters
from glassformer.interop.folder import refuse_larger_vocabulary
from glassformer.interop.folder import save as save_folder
from glassformer.interop.folder_settings import read_folder_settings
from glassformer.interop.open import load
from glassformer.jsons import (
    STRICT,
    DamagedFileError,
    Schema,
    Sha256,
    parse_object,
    self_checking,
)
from glassformer.metrics import Row
from glassformer.model import Config, TowersConfig
from glassformer.model.kinds import AnyModel, config_from, kind_of
from glassformer.rendering import html
from glassformer.text.load import load_tokenizer
from glassformer.text.tokenizer import Tokenizer
from glassformer.training.options import FILE as OPTIONS
from glassformer.training.patience import is_over, step_held
from glassformer.training.recipe import Recipe
from glassformer.training.trainable import train_only

FORMAT = 1
LOCK, DATA = "lock", "data"
MODEL_FILES = (
    "config.json",
    "generation_config.json",
    "model.safetensors",
    ADAPTERS,
    ADAPTER_WEIGHTS,
    "tokenizer.json",
    "tokenizer_config.json",
    "vocab.json",
    "source.spm",
    "target.spm",
)


@with_config(STRICT)
class RunFile(TypedDict):
    """The schema of run.json; what `corpus` must hold is up to who reads it."""

    format: int
    model: Annotated[Config | TowersConfig, self_checking(config_from)]
    recipe: Annotated[Recipe, self_checking(Recipe.from_dict)]
    corpus: dict[str, Any]
    tokenizer: Sha256


TAKE_OUT = "take the line out"
FIX = "restore it or train again"
_RUN = Schema(RunFile)
ROW = Schema(Row)


class Description(NamedTuple):
    """What a run is: enough to start it again. `corpus` says where the text came from."""

    model: Any
    recipe: Recipe
    corpus: dict[str, Any]
    tokenizer: str
    """The tokenizer's fingerprint."""

    def to_dict(self) -> dict[str, Any]:
        model, recipe = self.model.to_dict(), self.recipe.to_dict()
        return {**self._asdict(), "model": model, "recipe": recipe}


@dataclass(frozen=True)
class PastRun:
    """A run as its folder tells it: what was to be trained, and every row of its metrics."""

    folder: Path
    description: Description
    rows: list[Row]

    @property
    def steps_done(self) -> int:
        return self.rows[-1]["step"] if self.rows else 0

    def of(self, name: str) -> dict[int, Any]:
        """What was measured under a name (`loss`, `val_loss`, `sample` ...), by step."""
        return {row["step"]: row[name] for row in self.rows if name in row}

    @property
    def measured(self) -> dict[int, float]:
        """The held-out loss by step, or that of the whole text where nothing is held out."""
        return self.of("val_loss") or self.of("text_loss")

    @property
    def is_over(self) -> bool:
        """Whether no step is left to be made."""
        return is_over(self.measured, self.steps_done, self.description.recipe)

    @property
    def step_held(self) -> int | None:
        """The measured step whose weights the folder holds; None where nothing was measured."""
        losses = self.measured
        return step_held(losses, self.steps_done, self.description.recipe) if losses else None

    def _repr_html_(self) -> str:
        return html(self)

    def __repr__(self) -> str:
        steps = f"{self.steps_done:,} of {self.description.recipe.steps:,}"
        return f"<PastRun {self.folder.name}: {steps} steps>"


def load_run(folder: str | Path) -> PastRun:
    """Read what a run has left in its folder; it is neither locked nor changed.

    Errors: a folder that holds no run. Example: ``load_run("runs/demo").of("val_loss")``.
    """
    folder = Path(folder)
    return PastRun(folder, read_description(folder), read_metrics(folder / "metrics.jsonl"))


class Run:
    """A run folder opened for writing; a context manager that holds its lock.

    With `follows` it is one that another rank has opened so: read, and neither locked nor written.
    """

    def __init__(self, folder: Path, follows: bool = False) -> None:
        self.folder, self.follows = folder, follows
        self._lock = None if follows else take_lock(folder)
        self._metrics: IO[str] | None = None
        self._tokenizer: Tokenizer | None = None

    @classmethod
    def create(cls, folder: Path) -> Run:
        """Claim a new or empty folder, before anything long is begun; `describe` comes next."""
        if folder.exists() and not folder.is_dir():
            raise GlassformerError(f"{folder} is a file; give --out a new folder")
        folder.mkdir(parents=True, exist_ok=True)
        run = cls(folder)
        if (folder / "run.json").exists():
            run.close()
            raise GlassformerError(
                f"{folder} holds a run already; go on with it by --resume, or give another --out"
            )
        if any(not _left_by_a_start(path) for path in folder.iterdir()):
            run.close()
            raise GlassformerError(
                f"{folder} is not empty and holds no run; give --out a new folder"
            )
        return run

    def describe(
        self, description: Description, tokenizer: Tokenizer, model: AnyModel | None = None
    ) -> None:
        """Write down what is going to be trained, and how; `model`, as it is before its first step.

        From here on the run can be resumed: run.json is the last of the files.
        """
        self._tokenizer = tokenizer
        if model is None:
            tokenizer.save(self.folder)
        else:
            self.export(model)
        content = json.dumps({"format": FORMAT, **description.to_dict()}, indent=1)
        write_atomically(self.folder / "run.json", content)

    @classmethod
    def reopen(cls, folder: Path, follows: bool = False) -> Run:
        """Open a run to go on with it."""
        description = read_description(folder)
        run = cls(folder, follows)
        run._tokenizer = tokenizer = open_tokenizer(folder, description)
        if tokenizer.fingerprint != description.tokenizer:
            raise GlassformerError(
                f"the tokenizer in {folder} is not the one the run was started with"
                f" (fingerprint {tokenizer.fingerprint[:12]}, was {description.tokenizer[:12]});"
                " put the old tokenizer.json back"
            )
        return run

    @property
    def description(self) -> Description:
        return read_description(self.folder)

    @property
    def tokenizer(self) -> Tokenizer:
        if self._tokenizer is None:
            raise RuntimeError("describe() the run first")
        return self._tokenizer

    @property
    def data(self) -> Path:
        """Where the tokens of a text corpus lie."""
        return self.folder / DATA

    @property
    def checkpoints(self) -> Path:
        return self.folder / "checkpoints"

    @property
    def snapshots(self) -> Path:
        return self.folder / "snapshots"

    def record(self, row: Row) -> None:
        """Append one row to metrics.jsonl; it is in the file when this returns."""
        if self.follows:
            return
        if self._metrics is None:
            self._metrics = (self.folder / "metrics.jsonl").open("a", encoding="utf-8")
        self._metrics.write(json.dumps(row) + "\n")
        self._metrics.flush()

    def forget_after(self, step: int) -> None:
        """Drop the metrics of steps that a resumed run makes again."""
        if self.follows:
            return
        path = self.folder / "metrics.jsonl"
        rows = [json.dumps(row) + "\n" for row in read_metrics(path) if row["step"] <= step]
        write_atomically(path, "".join(rows))

    def export(self, model: Any) -> None:
        """Write the model as it is now into the run folder, for `gf.load` and other tools."""
        save_folder(model, self.tokenizer, self.folder)

    def close(self) -> None:
        if self._metrics is not None:
            self._metrics.close()
        if self._lock is not None:
            self._lock.release()

    def __enter__(self) -> Run:
        return self

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        self.close()
        has_gone = self._tokenizer is not None and not (self.folder / "run.json").exists()
        if isinstance(error, FileNotFoundError) and has_gone:
            raise GlassformerError(
                f"{self.folder} was moved or deleted while it was trained, so the training has"
                " ended; put it back and go on by --resume, or start anew"
            ) from error


def _left_by_a_start(path: Path) -> bool:
    """Whether a start that ended before its run was described may have left this file."""
    begun = path.parent / DATA
    return path.name in (LOCK, DATA, OPTIONS) or (
        begun.is_dir() and (path.name in MODEL_FILES or path.suffix == ".tmp")
    )


def read_description(folder: Path) -> Description:
    """The description in a run folder."""
    path = folder / "run.json"
    if not path.is_file():
        raise GlassformerError(
            f"{folder} is not a run: it has no run.json; start one with"
            f" `glassformer train TEXT --out {folder}`"
        )
    content = _RUN.read(path, FIX, version=FORMAT)
    return Description(content["model"], content["recipe"], content["corpus"], content["tokenizer"])


def unfilled_model(folder: Path, description: Description) -> Any:
    """The run's model, ready to be filled from one of its checkpoints.

    These hold what is trained. The rest is in the run's folder, which never changes it; of a model
    with adapters it is where the adapters say.
    """
    config = description.model
    model = kind_of(config).unfilled(config)
    if is_adapters(folder) or description.recipe.only:
        opened, _ = load(folder)
        model.load_state_dict(opened.state_dict())
        model.folder_settings = opened.folder_settings
    else:
        model.folder_settings = read_folder_settings(folder)
    train_only(model, description.recipe.only)
    return model


def open_tokenizer(folder: Path, description: Description) -> Tokenizer:
    """The tokenizer in a run folder; one with more tokens than the run's model is refused."""
    tokenizer = load_tokenizer(folder, blanks=not description.model.causal)
    refuse_larger_vocabulary(
        tokenizer,
        description.model,
        str(folder / "tokenizer.json"),
        str(folder / "run.json"),
    )
    return tokenizer


def read_metrics(path: Path) -> list[Row]:
    """The rows of a metrics.jsonl; a last line that a crash cut short is left out."""
    if not path.is_file():
        return []
    rows = []
    lines = path.read_bytes().removesuffix(b"\n").split(b"\n")
    for number, line in enumerate(lines, 1):
        where = Path(f"{path}, line {number}")
        try:
            content = parse_object(line, where, TAKE_OUT)
        except DamagedFileError:
            if number == len(lines):
                break
            raise
        row: Row = {**ROW.check(content, where, TAKE_OUT)}
        rows.append(row)
    return rows


def take_lock(folder: Path) -> FileLock:
    """Lock a run folder against a second writer; the system frees the lock when we end."""
    path = folder / LOCK
    lock = FileLock(path)
    try:
        lock.acquire(blocking=False)
    except Timeout as error:
        owner = path.read_bytes()[:32].decode(errors="replace")
        raise GlassformerError(
            f"{folder} is in use by another training process"
            f" (process {owner if owner.isdecimal() else 'unknown'});"
            " wait for it, stop it, or give another --out"
        ) from error
    path.write_text(str(os.getpid()))
    return lock
