"""What each choice of the recipe `fast` is worth: one taken back at a time, at equal steps.

Trained and scored inside the training part (its first 90% train, its last 10% are scored), where
the choices were made; the validation part is not touched. Each row: the loss without the choice,
beside the loss of the whole recipe after as many steps from the same seed (two seeds of it tell how
much is noise), and how long a step takes beside the recipe's, in turns. Eager, so that nothing is
compiled a dozen times. The last rows are additions that the recipe goes without.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from bench.bench_quality import (
    FAST,
    FULL,
    make_loop,
    read_text,
    trained,
    validation_loss,
    write_characters,
)
from bench.measure import Row, alternate, compare
from glassformer.text.shard import Shard
from glassformer.training.loop import Loop

STEPS = 300
RECIPE = "the recipe"


class Without(NamedTuple):
    """A choice taken back: what stands in its place in the model and in the training."""

    what: str
    model: Mapping[str, Any] = {}
    training: Mapping[str, Any] = {}


TAKEN_BACK = (
    Without("four layers in place of three", {"n_layers": 4}),
    Without("AdamW in place of Muon", {}, {"optimizer": "adamw"}),
    Without("learned in place of rotary positions", {"position": "learned"}),
    Without("GELU in place of squared ReLU", {"activation": "gelu"}),
    Without("layer norm with gain in place of RMS norm", {"norm": "layer", "norm_gain": True}),
    Without("no norm on the embeddings", {"embed_norm": False}),
    Without("tied unembedding", {"tied": True}),
    Without("random starts in place of zeros", {"zero_init": False}),
    Without("cosine to a tenth in place of linear to 0", {}, {"decay": "cosine", "final_lr": 0.1}),
    Without("momentum 0.95 in place of 0.9", {}, {"momentum": 0.95}),
    Without("AdamW's betas 0.9 and 0.99", {}, {"beta1": 0.9, "beta2": 0.99}),
    Without("half the learning rates", {}, {"lr": 4e-3, "muon_lr": 0.02}),
    Without("no weight decay", {}, {"weight_decay": 0.0}),
    Without("fp32 in place of bf16 products", {}, {"dtype": "fp32"}),
    Without("half the batch, half the tokens", {}, {"batch_size": 12}),
    Without("with QK-norm", {"qk_norm": True}),
    Without("with biases", {"attn_bias": True, "mlp_bias": True}),
)


def run(seconds: float, text: Path | None = None) -> Iterator[Row]:
    steps = STEPS if seconds >= FULL else max(4, int(STEPS * seconds / FULL))
    with tempfile.TemporaryDirectory() as folder:
        characters = read_text(text)
        shard = write_characters(Path(folder) / "tokens", characters[: len(characters) * 9 // 10])
        loss = validation_loss(trained(loop_of(shard, steps, Without(RECIPE))), shard)
        yield Row(f"{RECIPE}, {steps} steps", loss, "nats")
        again = trained(loop_of(shard, steps, Without(RECIPE), seed=1))
        yield Row(f"{RECIPE}, another seed", validation_loss(again, shard), "nats", RECIPE, loss)
        for change in TAKEN_BACK:
            loop = trained(loop_of(shard, steps, change))
            yield Row(change.what, validation_loss(loop, shard), "nats", RECIPE, loss)
            choices = {change.what: change, RECIPE: Without(RECIPE)}
            turns = {
                name: loop_of(shard, STEPS, choice).advance for name, choice in choices.items()
            }
            yield compare("  a step of it", alternate(turns, seconds / 40), change.what, RECIPE)


def loop_of(shard: Shard, steps: int, change: Without, seed: int = 0) -> Loop:
    return make_loop(FAST, shard, steps, seed, change.model, {**change.training, "compile": False})
