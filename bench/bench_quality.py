"""Loss in a given time: the recipe `fast` against nanoGPT's, on one text and one clock.

The text (--text FILE, else 1.1 MB of Storyland) is read by characters; the first 90% train, the
loss is the mean over the whole last 10%, in blocks of 64. The reference is nanoGPT's recipe as our
`classic` (2,000 steps), first held against nanoGPT's published arithmetic (`bench.plain`) step by
step. Steps of all three alternate, and from the ratio of their medians follows how many steps of
`fast` fit the reference's time, and a tenth of it. Training time is that of the steps, with the
compiled code loaded; what loading it takes, from a warm and from a cold cache, and the start of
the process stand in rows of their own. Each loss of `fast` is the median of three seeds.
Hyperparameters were chosen on the last tenth of the training part, never on the validation part.
Fewer --seconds than 40 shorten both trainings, and then no target applies.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

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
STEPS, SEEDS = 2000, (0, 1, 2)
CHARACTERS = 1_115_394  # of Storyland, as many as tiny Shakespeare has
CLASSIC, FAST, NANO = "classic", "fast", "nanoGPT's step"
REFERENCE, TARGET = 1.90, 1.52  # on tiny Shakespeare


def run(seconds: float, text: Path | None = None) -> Iterator[Row]:
    whole = seconds >= FULL
    on_shakespeare = whole and text is not None
    with tempfile.TemporaryDirectory() as folder:
        shard = write_text(Path(folder) / "tokens", text)
        tokens = 12 * 64
        loops = {name: make_loop(name, shard, STEPS) for name in (CLASSIC, FAST)}
        nano = NanoTraining(
            NanoGPT(loops[CLASSIC].model.config),
            shard.tokens[: loops[CLASSIC].data.n_tokens],
            64,
            12,
        )
        steps = {CLASSIC: loops[CLASSIC].advance, NANO: nano.step, FAST: loops[FAST].advance}
        times = alternate(steps, min(seconds, FULL) / 2, calls=4)
        yield compare("classic: one step", times, CLASSIC, NANO, (">=", 1.0), tokens)
        yield compare("fast: one step, twice the tokens", times, FAST, CLASSIC)
        cost = statistics.median(times[FAST]) / statistics.median(times[CLASSIC])
        n_reference = STEPS if whole else max(4, int(STEPS * seconds / FULL))
        reference = trained(make_loop(CLASSIC, shard, n_reference))
        loss = validation_loss(reference, shard)
        limit = ("<=", REFERENCE) if on_shakespeare else None
        yield Row(f"classic: loss after {n_reference:,} steps", loss, "nats", target=limit)
        n_fast = max(1, int(n_reference / cost))
        yield from quality(n_fast, shard, reference, loss, on_shakespeare)
        yield from sooner(max(1, n_fast // 10), shard, reference, loss, whole)
        yield from starting(folder, shard)


def quality(
    n: int, shard: Shard, reference: Loop, loss: float, on_shakespeare: bool
) -> Iterator[Row]:
    """The loss of `fast` in the reference's own time."""
    runs = [trained(make_loop(FAST, shard, n, seed)) for seed in SEEDS]
    losses = [validation_loss(loop, shard) for loop in runs]
    limit = ("<=", TARGET) if on_shakespeare else None
    yield spread_row(f"fast: loss after {n:,} steps, in that time", losses, loss, limit)
    took = statistics.median(loop.seconds for loop in runs)
    yield Row("fast: training time", took, "s", "classic", reference.seconds, rounds=len(runs))


def sooner(n: int, shard: Shard, reference: Loop, loss: float, whole: bool) -> Iterator[Row]:
    """The loss of `fast` in a tenth of the reference's time: at most the reference's."""
    runs = [trained(make_loop(FAST, shard, n, seed)) for seed in SEEDS]
    losses = [validation_loss(loop, shard) for loop in runs]
    limit = ("<=", loss) if whole else None
    yield spread_row(f"fast: loss after {n:,} steps, a tenth of it", losses, loss, limit)
    took = statistics.median(loop.seconds for loop in runs)
    yield Row("fast: training time", took, "s", "classic", reference.seconds, rounds=len(runs))


def spread_row(
    what: str, losses: list[float], reference: float, limit: tuple[str, float] | None
) -> Row:
    """The median of some seeds' losses; the lowest and highest stand in the name."""
    low, high = min(losses), max(losses)
    what = f"{what} [{low:.3f}, {high:.3f}]"
    median = statistics.median(losses)
    return Row(what, median, "nats", "classic", reference, target=limit, rounds=len(losses))


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
    if text is not None:
        characters = text.read_text(encoding="utf-8")
    else:
        pieces, length = [], 0
        for document in documents("bench", CHARACTERS):
            pieces.append(document.text + "\n")
            length += len(pieces[-1])
            if length >= CHARACTERS:
                break
        characters = "".join(pieces)
    return write_shard(folder, [characters], Tokenizer.train("chars", [characters]))


def make_loop(name: str, shard: Shard, steps: int, seed: int = 0) -> Loop:
    """A recipe's training of its own model, with nothing between its steps."""
    preset = load_preset(name)
    quiet = {"eval_every": 0, "sample_every": 0, "save_every": 0}
    recipe = Recipe.from_dict({**preset["training"], **quiet, "steps": steps, "seed": seed})
    torch.manual_seed(seed)
    vocabulary = shard.header.vocab_size
    config = Config.from_dict({**preset["model"], "vocab_size": vocabulary})
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
