"""A run's training gone through again: the model and optimizer as they were after any step.

All that a step depends on is in the run folder (weights, moments, tokens, recipe) or a function of
(seed, step), so a replay from a snapshot gives the same bits: in fp32 on the CPU, where as many
threads are at hand. The run is only read: no lock, no metrics, no file.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

from torch import Tensor

from glassformer.errors import GlassformerError
from glassformer.kernels.threads import one_thread
from glassformer.metrics import Row
from glassformer.text.tokenizer import Tokenizer
from glassformer.training import checkpoint as ck
from glassformer.training.corpora import open_data
from glassformer.training.data import Batch
from glassformer.training.loop import Loop
from glassformer.training.recipe import Recipe
from glassformer.training.run import DATA, open_tokenizer, read_description, unfilled_model


class State(NamedTuple):
    """What training had after a step; `moments` as in the checkpoints, ``exp_avg.NAME`` ..."""

    model: Any
    moments: dict[str, Tensor]
    recipe: Recipe
    tokenizer: Tokenizer


def state_at(folder: Path, step: int) -> State:
    """The state after `step` updates: read where it was saved, else replayed to.

    Raises GlassformerError for a step that the run has not come to, or that nothing saved leads to.
    """
    result = nearest(folder, step)
    if result.step != step:
        replay = Replay(folder, step)
        return replay.state
    description = read_description(folder)
    checkpoint = ck.load_checkpoint(result.folder)
    model = unfilled_model(folder, description)
    ck.fill(model, description.recipe, checkpoint, result.folder)
    model.tokenizer = tokenizer = open_tokenizer(folder, description)
    return State(model.eval(), checkpoint.tensors["optimizer"], description.recipe, tokenizer)


class Saved(NamedTuple):
    step: int
    folder: Path


def saved_states(folder: Path) -> dict[int, Path]:
    """Every step whose state a run has kept, in order, and where: snapshots and checkpoints."""
    result: dict[int, Path] = {}
    for parent in (folder / "snapshots", folder / "checkpoints"):
        result |= {step: ck.step_folder(parent, step) for step in ck.steps_saved(parent)}
    return dict(sorted(result.items()))


def nearest(folder: Path, step: int) -> Saved:
    """The saved state at `step`, or the last one before it."""
    read_description(folder)  # refuses a folder that is no run
    saved = saved_states(folder)
    if not saved:
        raise GlassformerError(
            f"{folder} has no snapshots and no checkpoints, so its past is not known; train with"
            " snapshot_mb above 0"
        )
    newest = max(saved)
    if step > newest:
        raise GlassformerError(
            f"step {step} is beyond the run: {folder} has saved up to step {newest}; give 0 to"
            f" {newest}"
        )
    earlier = [s for s in saved if s <= step]
    if not earlier:
        raise GlassformerError(
            f"nothing saved leads to step {step}: the first that {folder} has kept is step"
            f" {min(saved)} (without snapshots only the newest checkpoints are kept); give"
            f" {min(saved)} to {newest}"
        )
    return Saved(earlier[-1], saved[earlier[-1]])


class Replay:
    """Training at a step of the past; `advance` makes the next step as it was made then."""

    def __init__(self, folder: Path, step: int) -> None:
        start = nearest(folder, step)
        description = read_description(folder)
        self.tokenizer = open_tokenizer(folder, description)
        self.recipe = recipe = description.recipe
        data = open_data(folder / DATA, description.corpus, self.tokenizer, recipe)
        data.verify()
        self._loop = Loop(unfilled_model(folder, description), data, recipe)
        self._loop.restore(start.folder)
        # what is done between steps has no part in them
        self._loop.recipe = recipe.replace(eval_every=0, sample_every=0, save_every=0, patience=0)
        self.model.tokenizer = self.tokenizer
        self.model.train()
        while self.step < step:
            self.advance()

    @property
    def model(self) -> Any:
        """As it is now; its parameters' `grad` are the last step's, clipped."""
        return self._loop.model

    @property
    def step(self) -> int:
        """How many updates the model has had."""
        return self._loop.step

    def advance(self) -> Row:
        """Make the next step; return its metrics."""
        self.model.train()
        with one_thread(self._loop.is_small):  # as in training: the threads' sums are the numbers
            self._loop.advance()
        return self._loop.rows[-1]

    def batches(self, step: int) -> list[Batch]:
        """What update number `step` (the first is 1) learned from."""
        return self._loop.batches(step)

    @property
    def state(self) -> State:
        """The state now."""
        moments = self._loop.optimizer.tensors()
        return State(self.model.eval(), moments, self.recipe, self.tokenizer)
