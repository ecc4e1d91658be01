"""Snapshots: checkpoints kept at log-spaced steps, for looking back through training.

Early on a model changes with every step, later slowly: steps 0, 1, 2, 4, 8, ... are kept, or as
many as the recipe asks for, as far as a disk budget allows.
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
        self.steps = frozenset(log_spaced(recipe.steps, recipe.snapshots))

    def due(self, step: int) -> bool:
        """True at 0, at the powers of two, or as many steps as were asked for, and at the last.

        >>> snapshots = Snapshots(Path("."), Recipe(steps=10))
        >>> [step for step in range(11) if snapshots.due(step)]
        [0, 1, 2, 4, 8, 10]
        """
        if self.budget == 0:
            return False
        return step in self.steps if self.steps else step & (step - 1) == 0 or step == self.last

    def save(self, step: int, checkpoint: ck.Checkpoint) -> None:
        """Keep one more, unless one alone is beyond the budget; thin out the earlier ones."""
        size = sum(t.nbytes for tensors in checkpoint.tensors.values() for t in tensors.values())
        if size > self.budget:
            return
        ck.save_checkpoint(self.folder, step, checkpoint)
        while (len(saved := ck.steps_saved(self.folder))) * size > self.budget:
            ck.remove_checkpoint(self.folder, least_missed(saved))


def log_spaced(last: int, count: int) -> list[int]:
    """`count` steps from 0 to `last`, their ratios as equal as whole numbers can be; all if fewer.

    >>> log_spaced(1000, 8)
    [0, 1, 3, 10, 32, 101, 318, 1000]
    """
    if count == 0:
        return []
    steps = [last] if count == 1 else [0]
    while steps[-1] < last:
        here, n_left = steps[-1], count - len(steps)  # n_left are still to come
        if n_left == 1:
            steps.append(last)
        else:
            ratio = (last / max(here, 1)) ** (1 / n_left)
            steps.append(max(here + 1, round(here * ratio)))
    return steps


def least_missed(steps: list[int]) -> int:
    """The step whose neighbors are closest, by ratio; never the first or the last.

    >>> least_missed([0, 1, 2, 4, 8, 10])
    8
    """
    if len(steps) < 3:
        return steps[0]
    inner = range(1, len(steps) - 1)
    return steps[min(inner, key=lambda i: (steps[i + 1] + 1) / (steps[i - 1] + 1))]
