"""Snapshots: checkpoints kept at log-spaced steps, for looking back through training.

Early on a model changes with every step, later slowly: steps 0, 1, 2, 4, 8, ... are kept, as many
as a disk budget allows.
"""

from __future__ import annotations

from pathlib import Path

from glassformer.training import checkpoint as ck
from glassformer.training.recipe import Recipe


class Snapshots:
    """The snapshots of one run: which steps are due, and which go when the disk budget is spent."""

    def __init__(self, folder: Path, recipe: Recipe) -> None:
        self.folder = folder
        self.last = recipe.steps
        self.budget = recipe.snapshot_mb * 1_000_000  # bytes

    def due(self, step: int) -> bool:
        """True at 0, at the powers of two and at the last step.

        >>> snapshots = Snapshots(Path("."), Recipe(steps=10))
        >>> [step for step in range(11) if snapshots.due(step)]
        [0, 1, 2, 4, 8, 10]
        """
        return self.budget > 0 and (step & (step - 1) == 0 or step == self.last)

    def save(self, step: int, checkpoint: ck.Checkpoint) -> None:
        """Keep one more, unless one alone is beyond the budget; thin out the earlier ones."""
        size = sum(t.nbytes for tensors in checkpoint.tensors.values() for t in tensors.values())
        if size > self.budget:
            return
        ck.save_checkpoint(self.folder, step, checkpoint)
        while (len(saved := ck.steps_saved(self.folder))) * size > self.budget:
            ck.remove_checkpoint(self.folder, least_missed(saved))


def least_missed(steps: list[int]) -> int:
    """The step whose neighbors are closest, by ratio; never the first or the last.

    >>> least_missed([0, 1, 2, 4, 8, 10])
    8
    """
    if len(steps) < 3:
        return steps[0]
    inner = range(1, len(steps) - 1)
    return steps[min(inner, key=lambda i: (steps[i + 1] + 1) / (steps[i - 1] + 1))]
