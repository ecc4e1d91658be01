"""A tiny run whose every step is remembered, to hold replays against."""

from pathlib import Path
from typing import Any

import torch

from glassformer.metrics import Row
from glassformer.training.choices import Choices
from glassformer.training.loop import train
from glassformer.training.prepare import new_run

STEPS = 13
SIZES = {"n_ctx": 8, "d_model": 16, "n_layers": 1, "n_heads": 2, "d_mlp": 32}
RECIPE = {"steps": STEPS, "batch_size": 4, "accumulate": 2, "eval_every": 4, "lr": 1e-2}


def train_run(
    folder: Path, dropout: float = 0.1, **recipe: Any
) -> dict[int, dict[str, torch.Tensor]]:
    """Train a tiny run; return the weights after each of its steps."""
    text = folder.with_suffix(".txt")
    text.write_text("the cat sat on the mat and the dog sat on the log. " * 40)
    choices = Choices(
        texts=(str(text),),
        tokenizer="words",
        model={**SIZES, "dropout": dropout},
        recipe={**RECIPE, **recipe},
    )
    prepared = new_run(folder, choices)
    weights = {0: {n: p.detach().clone() for n, p in prepared.model.named_parameters()}}

    def remember(row: Row) -> None:
        if "loss" in row:
            named = prepared.model.named_parameters()
            weights[row["step"]] = {n: p.detach().clone() for n, p in named}

    with prepared.run as run:
        train(prepared.model, prepared.data, prepared.recipe, run=run, report=remember)
    return weights
