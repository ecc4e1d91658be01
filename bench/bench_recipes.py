"""The recipes beside the same in Llama's shape, in equal time: what a gate and its norms cost.

Storyland's preset, scored in nats above the floor on fresh documents and by the answers that only
the document tells; `fast`, on the last tenth of a text's training part. Llama's shape has RMS norms
with gains, gated MLPs with as many parameters, and no other norm; Qwen3's has norms of queries and
keys too. Each trains for as many steps as take the recipe's processor time, which turns with the
recipe say; the losses are medians of three seeds. One thread, eager.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from bench.bench_quality import (
    FAST,
    FULL,
    SEEDS,
    make_loop,
    read_text,
    trained,
    validation_loss,
    write_characters,
)
from bench.measure import Row, alternate, one_thread, ratio
from glassformer.model import Config, Decoder, load_preset
from glassformer.text.tokenizer import Tokenizer
from glassformer.training.loop import Loop
from glassformer.training.recipe import Recipe
from glassformer.training.storyland import documents, measure, open_storyland, write_storyland

STORYLAND, RECIPE = "storyland", "the recipe"
STEPS = {STORYLAND: 600, FAST: 200}
ALLOWED = 0.01  # nats, that a shape which every reader knows may cost
PILOT = 6.0  # seconds, for each shape

LLAMA: Mapping[str, Any] = {
    "norm": "rms",
    "norm_gain": True,
    "embed_norm": False,
    "qk_norm": False,
    "gated": True,
    "activation": "silu",
}
SHAPES: Mapping[str, Mapping[str, Any]] = {
    RECIPE: {},
    "Llama's shape": LLAMA,
    "Qwen3's shape": {**LLAMA, "qk_norm": True},
}

Make = Callable[[int, int, Mapping[str, Any]], Loop]
"""A training of so many steps, from a seed, with other fields of the model."""


def run(seconds: float, text: Path | None = None) -> Iterator[Row]:
    with one_thread():
        yield from of_storyland(seconds)
        yield from of_fast(seconds, text)


def of_storyland(seconds: float) -> Iterator[Row]:
    preset = load_preset(STORYLAND)
    words = (document.text for document in documents("vocabulary", 5_000))
    tokenizer = Tokenizer.train("words", words, vocab_size=preset["tokenizer"]["vocab_size"])
    quiet = {"eval_every": 0, "sample_every": 0, "save_every": 0}
    recipe = Recipe.from_dict({**preset["training"], **quiet, "steps": STEPS[STORYLAND]})
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "tokens"
        floor = write_storyland(folder, tokenizer, recipe)

        def loop(steps: int, seed: int, changes: Mapping[str, Any]) -> Loop:
            torch.manual_seed(seed)
            sizes = {**preset["model"], "vocab_size": tokenizer.vocab_size}
            model = Decoder(shaped(sizes, changes)).train()
            data = open_storyland(folder, tokenizer, model.config.n_ctx, seed, floor)
            return Loop(model, data, replace(recipe, steps=steps, seed=seed))

        def score(loop: Loop) -> list[float]:
            fresh = measure(loop.model, tokenizer)
            right, asked = sum(fresh.right.values()), sum(fresh.asked.values())
            return [fresh.loss - fresh.floor, 100 * right / asked]

        said = ("above the floor", "nats"), ("right", "%")
        yield from compared(STORYLAND, loop, score, seconds, *said)


def of_fast(seconds: float, text: Path | None) -> Iterator[Row]:
    with tempfile.TemporaryDirectory() as temporary:
        characters = read_text(text)
        shard = write_characters(
            Path(temporary) / "tokens", characters[: len(characters) * 9 // 10]
        )
        preset = load_preset(FAST)["model"]

        def loop(steps: int, seed: int, changes: Mapping[str, Any]) -> Loop:
            shape = shaped({**preset, "vocab_size": shard.header.vocab_size}, changes)
            return make_loop(FAST, shard, steps, seed, shape.to_dict(), {"compile": False})

        def score(loop: Loop) -> list[float]:
            return [validation_loss(loop, shard)]

        yield from compared(FAST, loop, score, seconds, ("loss", "nats"))


def shaped(sizes: Mapping[str, Any], changes: Mapping[str, Any]) -> Config:
    """The model with changes; a gate is a third matrix, so gated neurons are two thirds as many."""
    plain = Config.from_dict({**sizes})
    d_mlp = plain.d_mlp * 2 // 3 if changes.get("gated") else plain.d_mlp
    return Config.from_dict({**sizes, **changes, "d_mlp": d_mlp})


def compared(
    name: str,
    make: Make,
    score: Callable[[Loop], list[float]],
    seconds: float,
    *what: tuple[str, str],
) -> Iterator[Row]:
    """Rows of what is scored, for each shape, beside the recipe's own."""
    steps = max(4, int(STEPS[name] * min(1.0, seconds / FULL)))
    usual: list[float] = []
    for shape, changes in SHAPES.items():
        slower = 1.0 if shape == RECIPE else step_ratio(make, changes, seconds)
        n = round(steps / slower)
        each = [score(trained(make(n, seed, changes))) for seed in SEEDS]
        medians = [statistics.median(values) for values in zip(*each, strict=True)]
        usual = usual or medians
        for i, (meaning, unit) in enumerate(what):
            low, high = min(values[i] for values in each), max(values[i] for values in each)
            title = f"{name}, {shape}, {n} steps: {meaning} [{low:.3f}, {high:.3f}]"
            is_judged = shape != RECIPE and i == 0 and seconds >= FULL
            target = ("<=", usual[0] + ALLOWED) if is_judged else None
            peer = "" if shape == RECIPE else RECIPE
            theirs = None if shape == RECIPE else usual[i]
            yield Row(title, medians[i], unit, peer, theirs, None, target, len(SEEDS))


def step_ratio(make: Make, changes: Mapping[str, Any], seconds: float) -> float:
    """Processor time of a step with changes over one of the recipe's."""
    loops = {name: make(10_000, 0, shape) for name, shape in ((RECIPE, {}), ("changed", changes))}
    turns = {name: partial(Loop.advance, loop) for name, loop in loops.items()}
    times = alternate(turns, PILOT * min(1.0, seconds / FULL), 4, clock=time.process_time)
    return ratio(times["changed"], times[RECIPE]).median
