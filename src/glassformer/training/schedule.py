"""The learning rate of every step: a linear warm-up, then a decay."""

from __future__ import annotations

import math

from glassformer.training.recipe import Recipe


def learning_rate(recipe: Recipe, step: int) -> float:
    """The learning rate of update number `step` (1 is the first, `recipe.steps` the last).

    Warm-up: lr * step / (w + 1) for w = min(warmup_steps, steps // 5) steps. Then
    lr * (final_lr + (1 - final_lr) * c), with c = 1 - p (linear) or c = (1 + cos(pi p)) / 2
    (cosine; Loshchilov & Hutter 2017, eq. 5). p goes from 0, at the first step after the warm-up,
    towards 1, which it would reach one step after the last: the last step still moves.

    >>> recipe = Recipe(steps=5, warmup_steps=1, lr=1.0, decay="linear", final_lr=0.0)
    >>> [learning_rate(recipe, step) for step in range(1, 6)]
    [0.5, 1.0, 0.75, 0.5, 0.25]
    """
    # a run shorter than its warm-up still spends most of its steps beyond it
    warmup = min(recipe.warmup_steps, recipe.steps // 5)
    if step <= warmup:
        return recipe.lr * step / (warmup + 1)
    progress = (step - warmup - 1) / (recipe.steps - warmup)
    kept = 1 - progress if recipe.decay == "linear" else (1 + math.cos(math.pi * progress)) / 2
    return recipe.lr * (recipe.final_lr + (1 - recipe.final_lr) * kept)
