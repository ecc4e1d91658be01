"""The runs that are served: each a run folder, a model folder or a preset, under a short id."""

from __future__ import annotations

import re
import threading
from collections import OrderedDict
from dataclasses import dataclass
from functools import lru_cache
from math import isfinite
from pathlib import Path
from typing import Any, Literal

import torch

from glassformer.errors import GlassformerError
from glassformer.generation.defaults import read_defaults
from glassformer.interop.adapters import CONFIG as ADAPTERS
from glassformer.interop.adapters import is_adapters
from glassformer.interop.folder_settings import GENERATION, read_folder_settings
from glassformer.interop.open import config_of
from glassformer.model import Config, TowersConfig
from glassformer.model.folder_settings import FolderSettings
from glassformer.model.kinds import kind_of
from glassformer.model.size import parameter_count
from glassformer.server import schemas
from glassformer.server.errors import ApiError
from glassformer.text.tokenizer import Tokenizer
from glassformer.training.checkpoint import steps_saved
from glassformer.training.examples import blanked, examples
from glassformer.training.patience import is_over
from glassformer.training.replay import saved_states
from glassformer.training.run import DATA, Description, read_description, read_metrics
from glassformer.training.train_state import TrainState, open_model, open_train_state
from glassformer.training.translation import TO_TRANSLATE

OPEN_MODELS = 3
"""Models held in memory, the last ones used."""

Kind = Literal["run", "folder", "preset"]

Stamp = tuple[tuple[str, int, int, int], ...]
"""Files by name, and which they are: inode, time and size; another file has another one."""

_Key = tuple[str, int | None, int, Stamp]


@dataclass(frozen=True)
class Source:
    """A run by its place: `where` is a preset's name, or `folder`'s path."""

    id: str
    name: str
    where: str
    folder: Path | None

    @property
    def kind(self) -> Kind:
        if self.folder is None:
            return "preset"
        return "run" if (self.folder / "run.json").is_file() else "folder"

    @property
    def exists(self) -> bool:
        """Whether there is a model to be opened."""
        folder = self.folder
        return folder is None or is_adapters(folder) or (folder / "config.json").is_file()

    def check(self) -> None:
        """Raise if there is no model, any more or yet."""
        if not self.exists:
            raise ApiError(
                "unknown_run",
                f"there is no model in the folder of the run {self.name!r}: it was moved or"
                " deleted, or its training has only begun; put it back, wait, or choose another",
            )

    @property
    def stamp(self) -> Stamp:
        """What says whether the folder still holds the same model or run, whatever its step."""
        if self.folder is None:
            return ()
        names = {"config.json", GENERATION, ADAPTERS, "run.json", "tokenizer.json"}
        if not steps_saved(self.folder / "checkpoints"):  # a training writes it again and again
            names |= {path.name for path in self.folder.glob("*.safetensors")}
        paths = (self.folder / name for name in sorted(names))
        return tuple((path.name, *_state(path)) for path in paths if path.is_file())

    @property
    def config(self) -> Config | TowersConfig:
        return _config(self, self.stamp)

    @property
    def parameters(self) -> int:
        """Stored numbers of the model."""
        return parameter_count(self.config)

    def summary(self) -> schemas.RunSummary:
        """What a list of runs shows of it."""
        self.check()
        rows = self.metrics().rows
        losses = [row.loss for row in rows if row.loss is not None]
        return schemas.RunSummary(
            id=self.id,
            name=self.name,
            parameters=self.parameters,
            steps_done=rows[-1].step if rows else None,
            steps_left=self.steps_left,
            loss=losses[-1] if losses else None,
        )

    def info(self, tokenizer: Tokenizer) -> schemas.RunInfo:
        """All that the page shows of it but its metrics."""
        return schemas.RunInfo(
            **dict(self.summary()),
            **_settled(self, self.stamp, tokenizer),
            snapshots=self.snapshots,
            floor=self.metrics().floor,
        )

    @property
    def snapshots(self) -> list[int]:
        """The steps of training that can be looked at, in order."""
        return steps_saved(self.folder / "snapshots") if self.folder else []

    @property
    def steps_left(self) -> int | None:
        """Steps that the recipe still plans: none once its patience has ended the run."""
        run = _description(self, self.stamp)
        if run is None:
            return None
        recipe, rows = run.recipe, self.metrics().rows
        measured = (row.whole_text if row.held_out is None else row.held_out for row in rows)
        losses = {
            row.step: loss for row, loss in zip(rows, measured, strict=True) if loss is not None
        }
        done = rows[-1].step if rows else 0
        return 0 if is_over(losses, done, recipe) else recipe.steps - done

    def metrics(self) -> schemas.Metrics:
        """One row for each step, in order."""
        path = self.folder / "metrics.jsonl" if self.folder else None
        if path is None or not path.is_file():
            return schemas.Metrics(rows=[])
        return _metrics(path, _state(path))


class Runs:
    """Every run that is served, and the models last used; safe to use from several threads."""

    def __init__(self, names: list[str]) -> None:
        self._sources: dict[str, Source] = {}
        self._models: OrderedDict[_Key, TrainState] = OrderedDict()
        self._lock = threading.Lock()
        self._opening: dict[_Key, threading.Lock] = {}
        for name in names:
            self.add(name)

    def add(self, where: str) -> Source:
        """Serve one more; a name that is neither a folder nor a preset is refused."""
        config_of(where)
        folder = Path(where) if Path(where).is_dir() else None
        return self._add(where, folder.resolve().name if folder else where, folder)

    def expect(self, folder: Path, name: str) -> Source:
        """Serve a run that is about to begin in `folder`, as soon as it has a model."""
        return self._add(str(folder), name, folder)

    def _add(self, where: str, name: str, folder: Path | None) -> Source:
        base = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:60] or "run"
        with self._lock:
            taken = self._sources
            known = next((source for source in taken.values() if source.where == where), None)
            if known is not None:
                return known
            tries = [base, *(f"{base}-{n}" for n in range(2, len(taken) + 3))]
            run = next(free for free in tries if free not in taken)
            self._sources[run] = Source(run, name, where, folder)
            return self._sources[run]

    def __getitem__(self, run: str) -> Source:
        with self._lock:
            source = self._sources.get(run)
        if source is None:
            raise ApiError("unknown_run", f"no run is called {run!r} here; /api/runs lists them")
        source.check()
        return source

    @property
    def present(self) -> list[Source]:
        """The runs whose models are there."""
        with self._lock:
            sources = list(self._sources.values())
        return [source for source in sources if source.exists]

    def summaries(self) -> list[schemas.RunSummary]:
        """The summary of every run that can be read; raises only if none of them can."""
        result, errors = [], []
        for source in self.present:
            try:
                result.append(source.summary())
            except (GlassformerError, OSError) as error:
                errors.append(error)  # it is told when this run is asked for
        if errors and not result:
            raise errors[0]
        return result

    def is_open(self, run: str) -> bool:
        """Whether its model is held, so that what is asked of it waits for no opening."""
        key, _ = self._key(run, None)
        with self._lock:
            return key in self._models

    def train_state(self, run: str, at_step: int | None = None) -> TrainState:
        """A run's model as it was after a step; None: as it is now."""
        source = self[run]
        if at_step is not None and source.kind != "run":
            raise ApiError(
                "invalid",
                f"{source.name!r} was not trained here, so it has no steps; leave them out",
            )
        key, saved = self._key(run, at_step)
        while True:
            with self._lock:
                if key in self._models:
                    self._models.move_to_end(key)
                    return self._models[key]
                opening = self._opening.setdefault(key, threading.Lock())
            with opening:  # who asks meanwhile gets the same model, and not one more
                with self._lock:
                    is_first = self._opening.get(key) is opening
                if is_first:  # else it was opened meanwhile, or that failed
                    return self._opened(key, source, at_step, saved)

    def _opened(
        self, key: _Key, source: Source, at_step: int | None, saved: list[int]
    ) -> TrainState:
        try:
            if source.kind == "run" and not saved:  # the model alone was kept
                state = open_model(source.where)
            else:
                state = open_train_state(source.where, at_step)
            with self._lock:
                self._models[key] = state
                while len(self._models) > OPEN_MODELS:
                    self._models.popitem(last=False)
            return state
        finally:
            with self._lock:
                del self._opening[key]

    def _key(self, run: str, at_step: int | None) -> tuple[_Key, list[int]]:
        """Under what its model is held, and the steps that are saved."""
        source = self[run]
        saved = list(saved_states(Path(source.where))) if source.kind == "run" else []
        return (run, at_step, saved[-1] if saved else 0, source.stamp), saved


def _state(path: Path) -> tuple[int, int, int]:
    now = path.stat()
    return now.st_ino, now.st_mtime_ns, now.st_size


# what a folder holds is read again only when its `_stamp` is another


@lru_cache(maxsize=64)
def _description(source: Source, _stamp: Stamp) -> Description | None:
    """What a run is; None of what was not trained here."""
    return read_description(source.folder) if source.folder and source.kind == "run" else None


@lru_cache(maxsize=64)
def _config(source: Source, stamp: Stamp) -> Config | TowersConfig:
    run = _description(source, stamp)
    config: Config | TowersConfig = run.model if run else config_of(source.where)
    return config


@lru_cache(maxsize=16)  # each holds a tokenizer
def _settled(source: Source, stamp: Stamp, tokenizer: Tokenizer) -> dict[str, Any]:
    """What `schemas.RunInfo` says of a run that its training does not change."""
    config, folder, run = source.config, source.folder, _description(source, stamp)
    own_first = run is not None and run.corpus.get("kind") == "text"
    if run is not None and run.corpus.get("kind") == "translation":
        suited: list[tuple[str, str | None]] = [(sentence, None) for sentence in TO_TRANSLATE]
    else:
        data = folder / DATA if folder and not isinstance(config, TowersConfig) else None
        fills = isinstance(config, Config) and not config.causal
        suited = examples(tokenizer, config.n_ctx - fills, data, own_first)
        if fills:
            suited = [(blanked(text, tokenizer), hidden) for text, hidden in suited]
    prompt, target = suited[0]
    defaults = read_defaults(read_folder_settings(folder) if folder else FolderSettings())
    return {
        "kind": source.kind,
        "path": str(folder) if folder else None,
        "config": config.to_dict(),
        "n_ctx": config.n_ctx,
        "vocab_size": config.vocab_size,
        "tied": (config.decoder if isinstance(config, TowersConfig) else config).tied,
        "weights": weights_of(config, source.parameters),
        "tokenizer": schemas.TokenizerInfo(
            kind=tokenizer.kind,
            vocab_size=tokenizer.vocab_size,
            fingerprint=tokenizer.fingerprint,
            eos=tokenizer.eos_id,
        ),
        "suggested_prompt": prompt,
        "suggested_target": target,
        "examples": [prompt for prompt, _ in suited],
        "recipe": run.recipe.to_dict() if run else None,
        "sampling": schemas.FolderSampling(**defaults.settings),
    }


GUESSES = ("floor", "unigram_loss", "uniform_loss")
"""What is known of the loss without a model, by its key in metrics.jsonl."""

MEASURES = {
    "loss": "loss",
    "held_out": "val_loss",
    "whole_text": "text_loss",
    "tokens_per_second": "tokens_per_second",
}
"""What a row of metrics has, and its key in metrics.jsonl."""


@lru_cache(maxsize=64)
def _metrics(path: Path, _state: tuple[int, int, int]) -> schemas.Metrics:
    """The metrics in a file, read again only when its `_state` is another."""
    by_step: dict[int, dict[str, float]] = {}
    known: dict[str, float] = {}
    for row in read_metrics(path):
        finite: dict[str, Any] = {
            name: x for name, x in row.items() if not isinstance(x, float) or isfinite(x)
        }
        measured = {name: finite[key] for name, key in MEASURES.items() if key in finite}
        by_step.setdefault(row["step"], {}).update(measured)
        known |= {name: finite[name] for name in GUESSES if name in finite}
    rows = [schemas.MetricsRow(step=step, **by_step[step]) for step in sorted(by_step)]
    return schemas.Metrics(rows=rows, **known)


def weights_of(config: Config | TowersConfig, parameters: int) -> list[schemas.Weight]:
    """Every weight, its sizes and its share of all numbers."""
    with torch.device("meta"):
        views = list(kind_of(config)(config).views())
    return [
        schemas.Weight(
            name=view.name,
            axes=list(view.axes),
            shape=list(view.value.shape),
            parameters=view.value.numel(),
            share=view.value.numel() / parameters,
        )
        for view in views
    ]
