"""Training: tokens per second of our step against nanoGPT's, same sizes, precision and batch.

Ours is the step of `glassformer train` as it is: data, tape present and silent, gradient, clipping,
check for numbers that are not finite, learning rate, fused AdamW, report. The peer is nanoGPT's
loop (`bench.plain`) with the same sizes and no biases. Small: 4 layers x 128, block 64, batch 12,
fp32. Larger: 6 layers x 384, block 256, batch 16, products in bf16, eager and compiled, both the
same way. Then the loss over a vocabulary of 50,257 against the plain one: time and peak memory.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator

import torch
import torch.nn.functional as F

from bench.measure import Row, alternate, compare, peak_bytes
from bench.plain import NanoGPT, NanoTraining
from glassformer.model import Config, Decoder
from glassformer.ops import unembed_cross_entropy
from glassformer.text.blocks import Blocks
from glassformer.text.shard import Shard
from glassformer.text.shard_writing import write_shard
from glassformer.text.tokenizer import Tokenizer
from glassformer.training.data import BlocksData
from glassformer.training.loop import Loop
from glassformer.training.recipe import Recipe

OURS, PEER = "glassformer", "nanoGPT's step"
VOCABULARY = 65
NEVER = 0
RECIPE = Recipe(steps=1_000_000, warmup_steps=100, eval_every=NEVER, save_every=NEVER)


def config(n_layers: int, d_model: int, n_heads: int, block: int) -> Config:
    """nanoGPT's model in our words."""
    return Config(
        vocab_size=VOCABULARY,
        n_ctx=block,
        d_model=d_model,
        n_layers=n_layers,
        n_heads=n_heads,
        activation="gelu",
        norm_bias=False,
        attn_bias=False,
        mlp_bias=False,
    )


SMALL, LARGER = config(4, 128, 4, 64), config(6, 384, 6, 256)
SUBJECTS = (
    ("4 x 128, fp32, eager", SMALL, RECIPE.replace(batch_size=12), 4),
    ("6 x 384, bf16, eager", LARGER, RECIPE.replace(batch_size=16, dtype="bf16"), 1),
    (
        "6 x 384, bf16, compiled",
        LARGER,
        RECIPE.replace(batch_size=16, dtype="bf16", compile=True),
        1,
    ),
)
"""Name, model, recipe, steps in a turn."""


def run(seconds: float) -> Iterator[Row]:
    torch.manual_seed(0)
    characters = [chr(code) for code in range(33, 33 + VOCABULARY)]
    text = "".join(characters[i] for i in torch.randint(VOCABULARY, (200_000,)).tolist())
    tokenizer = Tokenizer.train("chars", [text])
    with tempfile.TemporaryDirectory() as folder:
        shard = write_shard(folder, [text], tokenizer)
        for name, sizes, recipe, calls in SUBJECTS:
            yield from against(name, shard, sizes, recipe, calls, seconds / 4)
    yield from large_vocabulary(seconds / 4)


def against(
    name: str, shard: Shard, sizes: Config, recipe: Recipe, calls: int, seconds: float
) -> Iterator[Row]:
    model = Decoder(sizes.replace(vocab_size=shard.header.vocab_size))
    nano = NanoGPT(model.config)
    assert sum(p.numel() for p in model.parameters()) == sum(p.numel() for p in nano.parameters())
    ours = Loop(model.train(), BlocksData(Blocks(shard, sizes.n_ctx)), recipe)
    peer = NanoTraining(
        nano,
        shard.tokens,
        sizes.n_ctx,
        recipe.batch_size,
        bf16=recipe.dtype == "bf16",
        compiled=recipe.compile,
    )
    tokens = recipe.batch_size * sizes.n_ctx
    times = alternate({OURS: ours.advance, PEER: peer.step}, seconds, calls)
    yield compare(f"{name}: one step", times, OURS, PEER, (">=", 1.0), tokens)
    yield from peaks(f"{name}: peak memory of one step", ours.advance, peer.step, PEER)


def large_vocabulary(seconds: float) -> Iterator[Row]:
    """1,024 rows of 256 numbers over 50,257 tokens, forward and backward, in fp32."""
    x = torch.randn(1024, 256, requires_grad=True)
    # as small as weights are: logits of 50 make probabilities below 1e-38, at which Intel's
    # processors are a hundred times as slow
    W_U = torch.normal(0.0, 0.02, (256, 50_257), requires_grad=True)
    targets = torch.randint(50_257, (1024,))

    def chunked() -> object:
        loss = unembed_cross_entropy.kernel(x, W_U, None, targets)
        return torch.autograd.grad(loss, [x, W_U])

    def plain() -> object:
        return torch.autograd.grad(F.cross_entropy(x @ W_U, targets), [x, W_U])

    name, peer = "loss over 50,257 tokens", "all logits at once"
    yield compare(f"{name}: time", alternate({OURS: chunked, peer: plain}, seconds), OURS, peer)
    yield from peaks(f"{name}: peak memory", chunked, plain, peer, ("<=", 0.5))


def peaks(
    what: str,
    ours: Callable[[], object],
    theirs: Callable[[], object],
    peer: str,
    target: tuple[str, float] | None = None,
) -> Iterator[Row]:
    """How far the process grows in each, and their ratio."""
    grown = [peak_bytes(once) for once in (ours, theirs)]
    if grown[0] is not None and grown[1]:
        yield Row(what, grown[0] / 1e6, "MB", peer, grown[1] / 1e6)
        yield Row(f"{what}, ours / peer", grown[0] / grown[1], "", target=target)
