"""What each process of `bench_scale` does: torchrun starts it, and the first writes the figures."""

from __future__ import annotations

import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

import torch
import torch.distributed as dist

from bench.on_paper import EXCHANGES, GATHER, SCATTER, SUM
from glassformer.model import Config, Decoder
from glassformer.text.blocks import Blocks
from glassformer.text.shard_writing import write_shard
from glassformer.text.tokenizer import Tokenizer
from glassformer.training.data import BlocksData
from glassformer.training.distributed import Group, join
from glassformer.training.loop import Loop
from glassformer.training.ranks import ALONE, Ranks, local
from glassformer.training.recipe import Recipe

ONE = "1 process"
CONFIG = Config(vocab_size=1000, n_ctx=128, d_model=256, n_layers=4, n_heads=4)
RECIPE = Recipe(steps=10**6, batch_size=8, eval_every=0, save_every=0)


def loop_of(ranks: Ranks, rows: int) -> Loop:
    torch.manual_seed(0)
    with tempfile.TemporaryDirectory() as folder:
        words = [f"w{i}" for i in range(CONFIG.vocab_size)]
        shard = write_shard(folder, [" ".join(words * 20)], Tokenizer.from_words(words))
        data = BlocksData(Blocks(shard, CONFIG.n_ctx))
        model = Decoder(CONFIG).train()
        return Loop(model, data, RECIPE.replace(batch_size=rows), ranks=ranks)


def timed(once: Callable[[], object], times: int) -> float:
    """The median of one call's seconds; two warm up."""
    return in_turn({ONE: once}, times)[ONE]


def in_turn(
    calls: Mapping[str, Callable[[], object]],
    times: int,
    ready: Callable[[], object] = lambda: None,
) -> dict[str, float]:
    """The median of each call's seconds, one after the other; two rounds warm up.

    ready: called before each call, and not timed.
    """
    taken: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(times + 2):
        for name, once in calls.items():
            ready()
            begun = time.perf_counter()
            once()
            taken[name].append(time.perf_counter() - begun)
    return {name: statistics.median(seconds[2:]) for name, seconds in taken.items()}


def held_bytes(loop: Loop) -> int:
    """Weights, gradient and moments that this process holds."""
    named = dict(loop.model.named_parameters())
    tensors = [*named.values(), *(p.grad for p in named.values() if p.grad is not None)]
    tensors += loop.optimizer.tensors().values()
    return sum(local(tensor).nbytes for tensor in tensors)


def pieces_of(model: Decoder, ranks: int) -> list[int]:
    """How many numbers are exchanged at once: those of each block, then all others."""
    blocks = [sum(p.numel() for p in block.parameters()) for block in model.blocks]
    others = sum(p.numel() for p in model.parameters()) - sum(blocks)
    return [ranks * -(-n // ranks) for n in (*blocks, others)]  # of equal parts


def exchanges(pieces: list[int], ranks: int) -> dict[str, Callable[[], None]]:
    """Each exchange, bare: one collective for every piece."""
    wholes = [torch.zeros(n) for n in pieces]
    parts = [torch.zeros(n // ranks) for n in pieces]

    def gather() -> None:
        for whole, part in zip(wholes, parts, strict=True):
            dist.all_gather_into_tensor(whole, part)

    def scatter() -> None:
        for whole, part in zip(wholes, parts, strict=True):
            dist.reduce_scatter_tensor(part, whole)

    def add_up() -> None:
        for whole in wholes:
            dist.all_reduce(whole)

    return {SUM: add_up, GATHER: gather, SCATTER: scatter}


def main(steps: int, file: Path) -> None:
    """Time a step of one process; of each kind; the same with each rank as a group of its own.

    The last is all of a step but the exchange: a rank's arithmetic, and what DDP and FSDP2 do
    before and after. All are timed in turn, and each bare exchange with them, so that they meet as
    busy a machine.
    """
    torch.set_num_threads(1)
    with join("cpu", sharded=False, deadline=300) as copies:
        each = [dist.new_group([rank]) for rank in range(copies.size)]
        itself = each[copies.rank]
        assert isinstance(itself, dist.ProcessGroup)
        loops = {ONE: loop_of(ALONE, RECIPE.batch_size)}
        for name in EXCHANGES:
            make = partial(Group, copies.store, device=copies.device, sharded=name == "parts")
            alone = make(rank=0, size=1, members=itself)
            loops[f"{name} alone"] = loop_of(alone, RECIPE.batch_size // copies.size)
            loops[name] = loop_of(make(rank=copies.rank, size=copies.size), RECIPE.batch_size)
        calls: dict[str, Callable[[], object]] = {n: loop.advance for n, loop in loops.items()}
        if not copies.is_first:
            calls[ONE] = lambda: None
        calls |= exchanges(pieces_of(Decoder(CONFIG), copies.size), copies.size)
        result = in_turn(calls, steps, ready=lambda: copies.any(False))  # all begin at once
        result |= {f"{name} bytes": held_bytes(loop) for name, loop in loops.items()}
        if copies.is_first:
            file.write_text(json.dumps(result))


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]))
