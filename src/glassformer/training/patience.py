"""Patience: a run that goes by what it measures ends with the weights that lost least.

Told from the rows of its metrics, for everyone who asks whether it is over and which weights its
folder holds.
"""

from __future__ import annotations

from collections.abc import Mapping

from glassformer.training.recipe import Recipe


def is_over(losses: Mapping[int, float], steps_done: int, recipe: Recipe) -> bool:
    """Whether no step is left: the last one is made, or patience has ended the run.

    losses: what was measured, by step.

    >>> recipe = Recipe(steps=100, eval_every=10, patience=2)
    >>> is_over({0: 3.0, 10: 1.0, 20: 1.5}, 20, recipe)
    False
    >>> is_over({0: 3.0, 10: 1.0, 20: 1.5, 30: 1.2}, 30, recipe)
    True
    """
    if steps_done >= recipe.steps:
        return True
    judged = _judged(losses, recipe)
    since = sum(step > _best(judged) for step in judged) if judged else 0
    return recipe.keeps_best and since >= recipe.patience


def step_held(losses: Mapping[int, float], steps_done: int, recipe: Recipe) -> int:
    """The measured step whose weights the run's folder holds: the last one's, or the best one's.

    >>> recipe, losses = Recipe(steps=20, eval_every=10, patience=2), {0: 3.0, 10: 1.0, 20: 1.5}
    >>> step_held(losses, 20, recipe), step_held(losses, 20, recipe.replace(patience=0))
    (10, 20)
    """
    if recipe.keeps_best and is_over(losses, steps_done, recipe):
        return _best(_judged(losses, recipe))
    return max(losses)


def _judged(losses: Mapping[int, float], recipe: Recipe) -> dict[int, float]:
    """What patience goes by: not what is measured before the first evaluation is due."""
    first = min(recipe.eval_every, recipe.steps)
    return {step: loss for step, loss in losses.items() if step == 0 or step >= first}


def _best(losses: Mapping[int, float]) -> int:
    return min(losses, key=losses.__getitem__)
