"""What each process of `bench_scale` does: torchrun starts it, and the first writes the figures."""

from __future__ import annotations

import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
import torch.distributed as dist

from glassformer.model import Config, Decoder
from glassformer.text.blocks import Blocks
from glassformer.text.shard_writing import write_shard
from glassformer.text.tokenizer import Tokenizer
from glassformer.training.data import BlocksData
from glassformer.training.distributed import Group, join
from glassformer.training.loop import Loop
from glassformer.training.ranks import ALONE, Ranks, local
from glassformer.training.recipe import Recipe

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
    taken = []
    for _ in range(times + 2):
        begun = time.perf_counter()
        once()
        taken.append(time.perf_counter() - begun)
    return statistics.median(taken[2:])


def held_bytes(loop: Loop) -> int:
    """Weights, gradient and moments that this process holds."""
    named = dict(loop.model.named_parameters())
    tensors = [*named.values(), *(p.grad for p in named.values() if p.grad is not None)]
    tensors += loop.optimizer.tensors().values()
    return sum(local(tensor).nbytes for tensor in tensors)


def main(steps: int, file: Path) -> None:
    torch.set_num_threads(1)
    result: dict[str, float] = {}
    with join("cpu", sharded=False, deadline=300) as copies:
        parts = Group(copies.store, copies.rank, copies.size, copies.device, sharded=True)
        share = loop_of(ALONE, RECIPE.batch_size // copies.size)
        copies.any(False)  # both begin now
        result["share"] = timed(share.advance, steps)  # no exchange, and as busy a machine
        for name, ranks in (("copies", copies), ("parts", parts)):
            loop = loop_of(ranks, RECIPE.batch_size)
            result[name] = timed(loop.advance, steps)
            result[f"{name} bytes"] = held_bytes(loop)
        gradient = torch.zeros(sum(p.numel() for p in share.model.parameters()))
        took = timed(lambda: dist.all_reduce(gradient), steps)
        result["bandwidth"] = 2 * (copies.size - 1) / copies.size * gradient.nbytes / took
        if copies.is_first:
            file.write_text(json.dumps(result))


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]))
