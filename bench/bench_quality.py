"""Loss in a given time: the recipe `fast` against nanoGPT's, on one text and one clock.

The text (--text FILE, else 1.1 MB of Storyland) is read by characters; the first 90% train, the
loss is the mean over the whole last 10%, in blocks of 64. The clock is nanoGPT's published
arithmetic (`bench.plain`): the time of its 2,000 steps. Its vocabulary is the characters that the
text has, and our separator; ours has the 256 bytes for all others besides. Our `classic` is the
same recipe as a configuration of our model: as low a loss. `fast` then trains for as many steps as
fit nanoGPT's time and a tenth of it; a pilot in turns with nanoGPT says how many. A machine that
others use is now quick and now slow, so between steps of `fast` nanoGPT takes some now and then,
and the share of the time stands beside the loss: the seconds of all steps of `fast` over those that
nanoGPT's 2,000 would have taken at that rate.
Training time is that of the steps, with the compiled code loaded; what loading it takes, from a
warm and from a cold cache, and the start of the process stand in rows of their own. Each loss of
`fast` is the median of three seeds. Hyperparameters were chosen on the last tenth of the training
part, never on the validation part; `bench_ingredients` shows what each is worth there.
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

import numpy as np
import torch

from bench.measure import Row, alternate, compare, ratio
from bench.plain import NanoGPT, NanoTraining
from glassformer.model import Config, Decoder, load_preset
from glassformer.text.blocks import Blocks
from glassformer.text.shard import Shard
from glassformer.text.shard_writing import write_shard
from glassformer.text.tokenizer import Tokenizer
from glassformer.training.compiling import CACHE
from glassformer.training.data import Batch, BlocksData
from glassformer.training.evaluate import evaluate
from glassformer.training.loop import Loop
from glassformer.training.recipe import Recipe
from glassformer.training.storyland import documents

FULL = 40.0  # seconds of --seconds from which on the whole protocol is run
STEPS, SEEDS = NanoTraining.STEPS, (0, 1, 2)
SPARE = 0.02  # of the time: later steps may take longer than those of the pilot
TURN, WARM = 10, 3  # of nanoGPT's steps between, and before these: its data come into the cache
PARTS = 20  # of a training
CHARACTERS = 1_115_394  # of Storyland, as many as tiny Shakespeare has
CLASSIC, FAST, NANO = "classic", "fast", "nanoGPT"
REFERENCE, TARGET = 1.90, 1.52  # on tiny Shakespeare


def run(seconds: float, text: Path | None = None) -> Iterator[Row]:
    full = seconds >= FULL
    on_shakespeare = full and text is not None
    n = STEPS if full else max(4, int(STEPS * seconds / FULL))
    with tempfile.TemporaryDirectory() as folder:
        shard = write_text(Path(folder) / "tokens", text)
        nano = Nano(shard)
        loop = make_loop(CLASSIC, shard, STEPS)
        times = alternate({CLASSIC: loop.advance, NANO: nano.step}, min(seconds, FULL) / 4, 4)
        yield compare("classic: one step", times, CLASSIC, NANO, (">=", 1.0), 12 * 64)

        reference = Nano(shard)
        took = reference.seconds(n)
        peer = reference.loss()
        yield Row(f"nanoGPT's step: loss after {n:,}", peer, "nats")
        yield Row(f"nanoGPT's step: time of {n:,}", took, "s")
        classic = trained(make_loop(CLASSIC, shard, n))
        limit = ("<=", REFERENCE) if on_shakespeare else None
        loss = validation_loss(classic, shard)
        yield Row(f"classic: loss after {n:,} steps", loss, "nats", NANO, peer, None, limit)
        yield Row("classic: training time", classic.seconds, "s", NANO, took)

        limit = ("<=", TARGET) if on_shakespeare else None
        race = Race(shard, n, peer, full)
        yield from race.in_time(1.0, "nanoGPT's time", limit)
        limit = ("<=", peer) if full else None
        yield from race.in_time(0.1, "a tenth of it", limit)
        yield from starting(folder, shard)


class Nano:
    """nanoGPT's training, with the sizes of `classic`, over the tokens that the text has."""

    def __init__(self, shard: Shard) -> None:
        sizes = load_preset(CLASSIC)["model"]
        used, tokens = np.unique(shard.tokens, return_inverse=True)
        self.shard, self.id_of = shard, torch.full((shard.header.vocab_size,), -1)
        self.id_of[used.astype(np.int64)] = torch.arange(len(used))
        config = Config.from_dict({**sizes, "vocab_size": len(used)})
        torch.manual_seed(0)
        learned = tokens[: Blocks(shard, config.n_ctx).n_train]
        self.training = NanoTraining(NanoGPT(config), learned, config.n_ctx, 12)
        self.step = self.training.step

    def seconds(self, n: int) -> float:
        """How long n steps take."""
        begun = time.perf_counter()
        for _ in range(n):
            self.step()
        return time.perf_counter() - begun

    @torch.no_grad()
    def loss(self) -> float:
        """Mean loss over the whole validation part, nats per character."""
        scored = []
        for ids, targets in Blocks(self.shard, self.training.n_ctx).evaluation(128):
            asked = targets >= 0
            known = torch.where(asked, self.id_of[targets.clamp_min(0)], targets)
            scored.append((self.training.model(self.id_of[ids], known).item(), int(asked.sum())))
        return sum(loss * n for loss, n in scored) / sum(n for _, n in scored)


class Race:
    """`fast` in shares of the time that n steps of nanoGPT take."""

    def __init__(self, shard: Shard, n: int, peer: float, full: bool) -> None:
        self.shard, self.n, self.peer, self.full = shard, n, peer, full
        self.nano = Nano(shard)

    def in_time(self, share: float, what: str, limit: tuple[str, float] | None) -> Iterator[Row]:
        """The loss of `fast` in a share of nanoGPT's time, and the share that it really took."""
        steps, losses, shares, seconds = [], [], [], []
        for seed in SEEDS:
            steps.append(max(1, int((1 - SPARE) * share * self.n / self.pilot())))
            loop, nano = self.train(make_loop(FAST, self.shard, steps[-1], seed))
            losses.append(validation_loss(loop, self.shard))
            shares.append(loop.seconds / (nano * self.n))
            seconds.append(loop.seconds)
        middle = statistics.median(steps)
        yield spread_row(f"fast: loss after {middle:,} steps, {what}", losses, self.peer, limit)
        yield Row("fast: training time", statistics.median(seconds), "s", rounds=len(SEEDS))
        most = ("<=", share) if self.full else None
        used = statistics.median(shares)
        yield Row("fast: share of nanoGPT's time", used, "", target=most, rounds=len(SEEDS))

    def pilot(self) -> float:
        """A step of `fast` over one of nanoGPT's."""
        loop = ready(make_loop(FAST, self.shard, STEPS))
        turns = {FAST: loop.advance, NANO: self.nano.step}
        times = alternate(turns, 8.0 if self.full else 0.0, TURN)
        return ratio(times[FAST], times[NANO]).median

    def train(self, loop: Loop) -> tuple[Loop, float]:
        """All its steps, with some of nanoGPT's between; how many seconds one of those took."""
        ready(loop)
        n, took = loop.recipe.steps, []
        for part in range(PARTS):
            for _ in range(n * part // PARTS, n * (part + 1) // PARTS):
                loop.advance()
            self.nano.seconds(WARM)
            took.append(self.nano.seconds(TURN) / TURN)
        return loop, statistics.mean(took)


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
        total = time.perf_counter() - begun
        first = float(said.stdout.split()[-1])
        yield Row(f"fast: first step, {what} compile cache", first, "s")
        yield Row(f"fast: process up to its second step, {what}", total, "s")


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
    model = Decoder(config).train()
    return Loop(model, BlocksData(Blocks(shard, config.n_ctx), seed), recipe)


def ready(loop: Loop) -> Loop:
    """The loop with its compiled code loaded."""
    if loop.recipe.compile:
        torch.compiler.reset()  # more than eight models in one process would run eagerly, unsaid
        loop.gradient(loop.batches(1), 1)
    return loop


def trained(loop: Loop) -> Loop:
    """The loop after its last step; the time of loading compiled code is not counted."""
    ready(loop)
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
