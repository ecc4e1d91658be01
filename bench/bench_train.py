"""Training: tokens per second of our step against nanoGPT's, 4 layers x 128, block 64, batch 12.

Ours is the step of `glassformer train` as it is: data, tape present and silent, gradient, clipping,
check for numbers that are not finite, learning rate, fused AdamW, report. The peer is nanoGPT's
loop (`bench.plain`) with the same sizes, no biases, fp32, eager.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from functools import partial

import torch

from bench.measure import Row, alternate, compare, peak_bytes
from bench.plain import NanoGPT, NanoTraining
from glassformer.model import Config, Transformer
from glassformer.text.blocks import Blocks
from glassformer.text.shard import Shard, write_shard
from glassformer.text.tokenizer import Tokenizer
from glassformer.training.data import BlocksData
from glassformer.training.loop import Loop
from glassformer.training.recipe import Recipe

OURS, PEER = "glassformer", "nanoGPT's step"
VOCABULARY, BLOCK, BATCH = 65, 64, 12
CONFIG = Config(
    vocab_size=VOCABULARY,
    n_ctx=BLOCK,
    d_model=128,
    n_layers=4,
    n_heads=4,
    activation="gelu",
    norm_bias=False,
    attn_bias=False,
    mlp_bias=False,
)
NEVER = 0
RECIPE = Recipe(
    steps=1_000_000, batch_size=BATCH, warmup_steps=100, eval_every=NEVER, save_every=NEVER
)


def run(seconds: float) -> Iterator[Row]:
    torch.manual_seed(0)
    characters = [chr(code) for code in range(33, 33 + VOCABULARY)]
    text = "".join(characters[i] for i in torch.randint(VOCABULARY, (200_000,)).tolist())
    tokenizer = Tokenizer.train("chars", [text])
    with tempfile.TemporaryDirectory() as folder:
        shard = write_shard(folder, [text], tokenizer)
        yield from against(shard, seconds)


def against(shard: Shard, seconds: float) -> Iterator[Row]:
    model, nano = Transformer(CONFIG.replace(vocab_size=int(shard.tokens.max()) + 1)), None
    nano = NanoGPT(model.config)
    assert sum(p.numel() for p in model.parameters()) == sum(p.numel() for p in nano.parameters())
    ours = Loop(model.train(), BlocksData(Blocks(shard, BLOCK)), RECIPE)
    peer = NanoTraining(nano, shard.tokens, BLOCK, BATCH)
    tokens = BATCH * BLOCK
    times = alternate({OURS: ours.advance, PEER: peer.step}, seconds, calls=4)
    yield compare("4 x 128, fp32, eager: one step", times, OURS, PEER, (">=", 1.0), tokens)
    for name, step in ((OURS, ours.advance), (PEER, peer.step)):
        grown = peak_bytes(partial(step))
        if grown is not None:
            yield Row(f"peak memory of one step, {name}", grown / 1e6, "MB")
