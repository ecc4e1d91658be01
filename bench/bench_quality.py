"""Loss in a given time: the recipe `fast` against nanoGPT's, on one text and one clock.

The text (--text FILE, else 1.1 MB of Storyland) is read by characters; the first 90% train, the
loss is the mean over the whole last 10%, in blocks of 64. The clock is nanoGPT's published
arithmetic (`bench.plain`): the time of its 2,000 steps, measured here. Our `classic` is the same
recipe as a configuration of our model: as low a loss, in less time. `fast` then trains for as many
steps as fit nanoGPT's time, that of `classic`, and a tenth of nanoGPT's; how long a step takes is
measured just before, and what the trainings really took stands beside their losses. Training time
is that of the steps, with the compiled code loaded; what loading it takes, from a warm and from a
cold cache, and the start of the process stand in rows of their own. Each loss of `fast` is the
median of three seeds. Hyperparameters were chosen on the last tenth of the training part, never on
the validation part; `bench_ingredients` shows what each is worth there.
Fewer --seconds than 40 shorten all trainings, and then no target applies.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch

from bench.measure import Row, alternate, compare
from bench.plain import NanoGPT, NanoTraining
from glassformer.model import Config, Transformer, load_preset
from glassformer.text.blocks import Blocks
from glassformer.text.shard import Shard, write_shard
from glassformer.text.tokenizer import Tokenizer
from glassformer.training.compiling import CACHE
from glassformer.training.data import Batch, BlocksData
from glassformer.training.evaluate import evaluate
from glassformer.training.loop import Loop
from glassformer.training.recipe import Recipe
from glassformer.training.storyland import documents

FULL = 40.0  # seconds of --seconds from which on the whole protocol is run
STEPS, SEEDS = NanoTraining.STEPS, (0, 1, 2)
PILOT = 40  # steps that tell how long a step takes
SPARE = 0.04  # of the time: later steps may take longer than those of the pilot
CHARACTERS = 1_115_394  # of Storyland, as many as tiny Shakespeare has
CLASSIC, FAST, NANO = "classic", "fast", "nanoGPT"
REFERENCE, TARGET = 1.90, 1.52  # on tiny Shakespeare


def run(seconds: float, text: Path | None = None) -> Iterator[Row]:
    whole = seconds >= FULL
    on_shakespeare = whole and text is not None
    n = STEPS if whole else max(4, int(STEPS * seconds / FULL))
    with tempfile.TemporaryDirectory() as folder:
        shard = write_text(Path(folder) / "tokens", text)
        nano = make_nano(shard)
        loop = make_loop(CLASSIC, shard, STEPS)
        times = alternate({CLASSIC: loop.advance, NANO: nano.step}, min(seconds, FULL) / 4, 4)
        yield compare("classic: one step", times, CLASSIC, NANO, (">=", 1.0), 12 * 64)

        reference = Reference(make_nano(shard), shard, n)
        yield Row(f"nanoGPT's step: loss after {n:,}", reference.loss, "nats")
        yield Row(f"nanoGPT's step: time of {n:,}", reference.seconds, "s")
        classic = trained(make_loop(CLASSIC, shard, n))
        limit = ("<=", REFERENCE) if on_shakespeare else None
        loss = validation_loss(classic, shard)
        yield Row(
            f"classic: loss after {n:,} steps", loss, "nats", NANO, reference.loss, None, limit
        )
        yield Row("classic: training time", classic.seconds, "s", NANO, reference.seconds)

        limit = ("<=", TARGET) if on_shakespeare else None
        yield from in_time(1.0, "that time", shard, reference, limit, whole)
        share = classic.seconds / reference.seconds
        yield from in_time(share, "the time of classic", shard, reference, None, whole)
        limit = ("<=", reference.loss) if whole else None
        yield from in_time(0.1, "a tenth of it", shard, reference, limit, whole)
        yield from starting(folder, shard)


class Reference:
    """nanoGPT's published arithmetic after n steps: how long they took, and the loss."""

    def __init__(self, training: NanoTraining, shard: Shard, n: int) -> None:
        begun = time.perf_counter()
        for _ in range(n):
            training.step()
        self.seconds = time.perf_counter() - begun
        with torch.no_grad():
            scored = [
                (training.model(ids, targets.contiguous()).item(), int((targets >= 0).sum()))
                for ids, targets in Blocks(shard, training.n_ctx).evaluation(128)
            ]
        self.loss = sum(loss * n for loss, n in scored) / sum(n for _, n in scored)


def in_time(
    share: float,
    what: str,
    shard: Shard,
    reference: Reference,
    limit: tuple[str, float] | None,
    whole: bool,
) -> Iterator[Row]:
    """The loss of `fast` in a share of the reference's time, and the time that it really took."""
    runs = []
    for seed in SEEDS:
        n = max(1, int((1 - SPARE) * share * reference.seconds / step_seconds(shard)))
        runs.append(trained(make_loop(FAST, shard, n, seed)))
    losses = [validation_loss(loop, shard) for loop in runs]
    steps = statistics.median(loop.recipe.steps for loop in runs)
    yield spread_row(f"fast: loss after {steps:,} steps, {what}", losses, reference.loss, limit)
    took = statistics.median(loop.seconds for loop in runs)
    yield Row("fast: training time", took, "s", NANO, reference.seconds, rounds=len(runs))
    most = ("<=", share) if whole else None
    used = took / reference.seconds
    yield Row("fast: share of nanoGPT's time", used, "", target=most, rounds=len(runs))


def step_seconds(shard: Shard) -> float:
    """How long a step of `fast` takes now."""
    return trained(make_loop(FAST, shard, PILOT)).seconds / PILOT


def spread_row(
    what: str, losses: list[float], reference: float, limit: tuple[str, float] | None
) -> Row:
    """The median of some seeds' losses; the lowest and highest stand in the name."""
    low, high = min(losses), max(losses)
    what = f"{what} [{low:.3f}, {high:.3f}]"
    median = statistics.median(losses)
    return Row(what, median, "nats", NANO, reference, target=limit, rounds=len(losses))


def starting(folder: str, shard: Shard) -> Iterator[Row]:
    """What comes on top of training: from the process's start to the end of its first step."""
    caches = {**os.environ, CACHE: str(Path(folder) / "cache")}
    command = [sys.executable, "-m", "bench.bench_quality", str(shard.folder)]
    for what in ("cold", "warm"):
        begun = time.perf_counter()
        said = subprocess.run(command, env=caches, check=True, capture_output=True, text=True)
        whole = time.perf_counter() - begun
        first = float(said.stdout.split()[-1])
        yield Row(f"fast: first step, {what} compile cache", first, "s")
        yield Row(f"fast: process up to its second step, {what}", whole, "s")


def write_text(folder: Path, text: Path | None) -> Shard:
    """The characters of a text, or of as much Storyland, as tokens."""
    return write_characters(folder, read_text(text))


def read_text(text: Path | None) -> str:
    if text is not None:
        return text.read_text(encoding="utf-8")
    pieces, length = [], 0
    for document in documents("bench", CHARACTERS):
        pieces.append(document.text + "\n")
        length += len(pieces[-1])
        if length >= CHARACTERS:
            break
    return "".join(pieces)


def write_characters(folder: Path, characters: str) -> Shard:
    return write_shard(folder, [characters], Tokenizer.train("chars", [characters]))


def make_nano(shard: Shard) -> NanoTraining:
    """nanoGPT's training, with the sizes that `classic` has, on the training part."""
    config = Config.from_dict(
        {**load_preset(CLASSIC)["model"], "vocab_size": shard.header.vocab_size}
    )
    torch.manual_seed(0)
    tokens = shard.tokens[: Blocks(shard, config.n_ctx).n_train]
    return NanoTraining(NanoGPT(config), tokens, config.n_ctx, 12)


def make_loop(
    name: str,
    shard: Shard,
    steps: int,
    seed: int = 0,
    sizes: Mapping[str, Any] | None = None,
    training: Mapping[str, Any] | None = None,
) -> Loop:
    """A recipe's training of its own model, with nothing between its steps.

    sizes, training: fields of the model and of the recipe that are to be others.
    """
    preset = load_preset(name)
    quiet = {"eval_every": 0, "sample_every": 0, "save_every": 0, "steps": steps, "seed": seed}
    recipe = Recipe.from_dict({**preset["training"], **quiet, **(training or {})})
    torch.manual_seed(seed)
    vocabulary = {"vocab_size": shard.header.vocab_size}
    config = Config.from_dict({**preset["model"], **vocabulary, **(sizes or {})})
    model = Transformer(config).train()
    return Loop(model, BlocksData(Blocks(shard, config.n_ctx), seed), recipe)


def trained(loop: Loop) -> Loop:
    """The loop after its last step; the time of loading compiled code is not counted."""
    if loop.recipe.compile:
        torch.compiler.reset()  # more than eight models in one process would run eagerly, unsaid
        loop.gradient(loop.batches(1), 1)
    for _ in range(loop.recipe.steps):
        loop.advance()
    return loop


def validation_loss(loop: Loop, shard: Shard) -> float:
    """Mean loss over the whole validation part, in fp32, nats per character."""
    blocks = Blocks(shard, loop.model.config.n_ctx)
    batches = (Batch(ids, targets) for ids, targets in blocks.evaluation(128))
    return evaluate(loop.model, batches).loss


def main(folder: str) -> None:
    """One process that makes two steps; prints how long the first one took."""
    loop = make_loop(FAST, Shard(Path(folder)), STEPS)
    loop.advance()
    print(loop.seconds)
    loop.advance()


if __name__ == "__main__":
    main(sys.argv[1])
