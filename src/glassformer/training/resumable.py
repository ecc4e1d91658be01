"""What training keeps of a run: checkpoints to go on from, snapshots to look at, its metrics."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import safetensors.torch

from glassformer.errors import GlassformerError
from glassformer.files import ordinary_mode
from glassformer.metrics import Row
from glassformer.model.kinds import AnyModel
from glassformer.training import checkpoint as ck
from glassformer.training.data import Batch, Data
from glassformer.training.optimizer import Optimizer
from glassformer.training.ranks import Ranks
from glassformer.training.recipe import Recipe
from glassformer.training.run import Run
from glassformer.training.schedule import learning_rate
from glassformer.training.snapshots import Snapshots
from glassformer.training.step import NonFiniteError

KEPT_CHECKPOINTS = 2  # the newest, and one to go back to


class Resumable:
    """The state of one training run in memory, which a run folder keeps and gives back.

    Bit for bit (fp32, CPU): what follows a restored state is what followed the saved one.
    """

    def __init__(
        self,
        model: AnyModel,
        data: Data,
        recipe: Recipe,
        run: Run | None,
        report: Callable[[Row], None],
        ranks: Ranks,
    ) -> None:
        self.model, self.data, self.recipe, self.run = model, data, recipe, run
        self.ranks = ranks
        self.report_to = report
        self.rows: list[Row] = []
        self.optimizer = Optimizer(model, recipe)
        self.step = 0
        self.seconds = 0.0  # spent on training so far, over all sittings
        self.best_loss, self.best_step, self.waited = math.inf, 0, 0
        self.snapshots = Snapshots(run.snapshots, recipe) if run else None
        self.unheard: Exception | None = None
        """Why nobody is told any more; training ends after the step, saved, and raises it."""

    def report(self, row: Row) -> None:
        self.rows.append(row)
        if self.run is not None:
            self.run.record(row)
        if self.unheard is None:
            try:
                self.report_to(row)
            except Exception as error:  # of a pipe, a terminal, a logger: whatever it is, save
                self.unheard = error

    def contents(self) -> ck.Checkpoint:
        """Everything the next step depends on, and what it must agree with."""
        tensors = {
            "model": self.ranks.gather(ck.weights_of(self.model)),
            "optimizer": self.ranks.gather(self.optimizer.tensors()),
        }
        state = {
            # all randomness is a function of (seed, step): data order, dropout
            "random": {"seed": self.recipe.seed, "step": self.step},
            "seconds": self.seconds,
            "best": [self.best_loss, self.best_step, self.waited],
            "identity": self.identity(),
        }
        return ck.Checkpoint(tensors, state)

    def identity(self) -> dict[str, Any]:
        return {
            "model": self.model.config.to_dict(),
            "recipe": self.recipe.to_dict(),
            "data": self.data.describe(),
        }

    def save(self) -> None:
        """A checkpoint, then the model in the run folder, then the older checkpoints go."""
        run = self.run
        if run is None:
            return
        started = time.perf_counter()
        contents, best = self.contents(), self.best_step if self.recipe.patience else None

        def write() -> None:
            weights = contents.tensors["model"]
            wrong = next((name for name, w in weights.items() if not w.isfinite().all()), None)
            if wrong is not None:
                raise NonFiniteError(self.diverged(f"the weight {wrong} is no longer finite"))
            ck.save_checkpoint(run.checkpoints, self.step, contents)

        self.ranks.first_does(write)
        self.export(run)
        self.ranks.first_does(
            lambda: ck.prune_checkpoints(run.checkpoints, KEPT_CHECKPOINTS, spare=best)
        )
        self.report({"step": self.step, "checkpoint_seconds": time.perf_counter() - started})

    def export(self, run: Run) -> None:
        """Write the model as it is now into the run folder."""
        model = self.ranks.whole_model(self.model)
        self.ranks.first_does(lambda: None if model is None else run.export(model))

    def diverged(self, what: str) -> str:
        """What to say when an update has spoiled the model."""
        kept = ck.steps_saved(self.run.checkpoints) if self.run is not None else []
        intact = f"; the checkpoint of step {kept[-1]} is whole" if kept else ""
        return (
            f"step {self.step}: {what}: training diverged, its steps overshoot at learning rate"
            f" {learning_rate(self.recipe, max(self.step, 1)):g}{intact}; train again with a lower"
            " lr or a longer warm-up"
        )

    def keeps(self, step: int) -> bool:
        return self.snapshots is not None and self.snapshots.due(step)

    def snapshot(self) -> None:
        if self.snapshots is not None and self.keeps(self.step):
            started = time.perf_counter()
            snapshots, contents = self.snapshots, self.contents()
            self.ranks.first_does(lambda: snapshots.save(self.step, contents))
            self.report({"step": self.step, "snapshot_seconds": time.perf_counter() - started})

    def resume(self, run: Run) -> None:
        """Take up the newest checkpoint."""
        newest = ck.steps_saved(run.checkpoints)[-1]
        self.restore(ck.step_folder(run.checkpoints, newest))
        run.forget_after(newest)

    def restore(self, folder: Path) -> None:
        """Be where a checkpoint was saved, after checking that everything else is as it was."""
        checkpoint = ck.load_checkpoint(folder)
        changed = differences(checkpoint.state["identity"], self.identity())
        if changed:
            raise GlassformerError(
                f"{folder} was saved by another run than this one: {'; '.join(changed)};"
                " resume with what the run was started with, or start a new run --from it"
            )
        self.step = checkpoint.state["step"]
        ck.fill(self.model, self.recipe, checkpoint, folder)
        self.optimizer.restore(checkpoint.tensors["optimizer"], self.step)
        self.seconds = checkpoint.state["seconds"]
        self.best_loss, self.best_step, self.waited = checkpoint.state["best"]

    def with_batch_saved(
        self, error: NonFiniteError, batches: list[Batch], step: int
    ) -> NonFiniteError:
        """The error, with the place where its batch is kept."""
        if self.run is None or not self.ranks.is_first:
            return error
        folder = self.run.folder / "failures"
        folder.mkdir(exist_ok=True)
        path = folder / f"step-{step:06d}.safetensors"
        tensors = {
            f"{name}.{micro}": tensor.contiguous()
            for micro, batch in enumerate(batches)
            for name, tensor in batch.tensors.items()
        }
        with ordinary_mode(path):
            safetensors.torch.save_file(tensors, path)
        return NonFiniteError(f"{error}; the batch is in {path}")


def differences(saved: dict[str, Any], now: dict[str, Any], prefix: str = "") -> list[str]:
    """Field by field, what is not as it was saved.

    >>> differences({"recipe": {"lr": 0.1, "seed": 0}}, {"recipe": {"lr": 0.2, "seed": 0}})
    ['recipe.lr was 0.1 and is 0.2']
    """
    changed: list[str] = []
    for name in sorted({*saved, *now}):
        old, new = saved.get(name, "absent"), now.get(name, "absent")
        if isinstance(old, dict) and isinstance(new, dict):
            changed += differences(old, new, f"{prefix}{name}.")
        elif old != new:
            changed.append(f"{prefix}{name} was {old!r} and is {new!r}")
    return changed
