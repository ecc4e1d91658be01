"""One GPU: GPT-2 124M trained, asked and watched; without a GPU it says so and measures nothing.

Training is the step of `glassformer train`, bf16, compiled, flash attention, fused AdamW: blocks of
1,024 tokens, BATCH at a time, ACCUMULATE times per update. MFU is the share of the GPU's bf16 peak
that the model's own arithmetic takes: (6 N + 12 L H Q T) x tokens per second / peak, with N all
parameters but the positions, L layers, H heads, Q their width and T the block's length (Chowdhery
et al. 2022, appendix B). Decoding is greedy, 64 + 128 tokens, batch 1. A trace of 64 tokens stands
beside a plain forward pass.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable, Iterator

import torch

from bench.measure import Row
from glassformer.generation.generate import generate
from glassformer.model import Config, Decoder
from glassformer.model.size import parameter_count
from glassformer.text.blocks import Blocks
from glassformer.text.shard_writing import write_shard
from glassformer.text.tokenizer import Tokenizer
from glassformer.training.data import BlocksData
from glassformer.training.loop import Loop
from glassformer.training.recipe import Recipe

BATCH, ACCUMULATE = 64, 8  # half a million tokens an update, in passes of about 25 GB
PADDED = 50_304  # GPT-2's vocabulary, up to a multiple of 64: the rows of logits are then aligned
PROMPT, NEW = 64, 128
PEAKS = {"H100": 989e12, "H200": 989e12, "A100": 312e12, "L4": 121e12}
"""Dense bf16 products per second, by the name of the GPU: the makers' data sheets (SXM)."""


RECIPE = Recipe(
    steps=1_000_000,
    batch_size=BATCH,
    accumulate=ACCUMULATE,
    dtype="bf16",
    compile=True,
    eval_every=0,
    save_every=0,
)


def run(seconds: float) -> Iterator[Row]:
    if not torch.cuda.is_available():
        yield Row("no GPU here: nothing was measured", 0, "")
        return
    config, gpu = Config.preset("gpt2"), torch.device("cuda")
    for vocab_size in (config.vocab_size, PADDED):
        sized = config.replace(vocab_size=vocab_size)
        yield from training(sized, RECIPE, gpu, torch.cuda.get_device_name(), seconds)
    yield Row("peak memory", torch.cuda.max_memory_allocated() / 1e9, "GB")
    model = Decoder(config).to(gpu).bfloat16().eval()
    yield from decoding(model)
    yield from tracing(model)


def training(
    config: Config, recipe: Recipe, device: torch.device, gpu: str, seconds: float
) -> Iterator[Row]:
    """Tokens per second on a device, and MFU as of the GPU of that name."""
    with tempfile.TemporaryDirectory() as folder:
        words = [f"w{i}" for i in range(1000)]
        tokenizer = Tokenizer.from_words(words)
        shard = write_shard(folder, [" ".join(words * 200)], tokenizer)
        model = Decoder(config).to(device).train()
        loop = Loop(model, BlocksData(Blocks(shard, config.n_ctx)), recipe)
        took = timed(loop.advance, seconds)
    tokens = loop.tokens_per_step / took
    sizes = f"{recipe.batch_size} x {config.n_ctx} x {recipe.accumulate}"
    notes = [row["note"] for row in loop.rows if "note" in row]  # that it could not be compiled
    model_name = f"{named(config)} of {config.vocab_size:,} tokens"
    what = ", ".join([f"{gpu}: {model_name}", sizes, recipe.dtype, *notes])
    yield Row(what, tokens, "tokens/s")
    peak = peak_of(gpu)
    if peak is not None:
        share = mfu(config, tokens, peak)
        yield Row(f"MFU (N {counted(config):,}, peak {peak:.3g})", share, "", target=(">=", 0.5))


def named(config: Config) -> str:
    """A model by its size.

    >>> named(Config.preset("gpt2"))
    '124M'
    """
    return f"{parameter_count(config) / 1e6:.0f}M"


def counted(config: Config) -> int:
    """N: all parameters but the positions, a tied table once (it works as the unembedding)."""
    with torch.device("meta"):
        named = Decoder(config).named_parameters()
    return sum(p.numel() for name, p in named if not name.startswith("pos_embed."))


def flops_per_token(config: Config) -> float:
    """Additions and multiplications, forward and backward: 6 N + 12 L H Q T.

    >>> round(flops_per_token(Config.preset("gpt2")) / 1e6)
    855
    """
    attention = 12 * config.n_layers * config.n_heads * config.d_head * config.n_ctx
    return 6 * counted(config) + attention


def mfu(config: Config, tokens_per_second: float, peak: float) -> float:
    return flops_per_token(config) * tokens_per_second / peak


def peak_of(gpu: str) -> float | None:
    """The bf16 peak of a GPU by its name; None where we know none, and then there is no MFU.

    >>> peak_of("NVIDIA H100 80GB HBM3"), peak_of("NVIDIA T4")
    (989000000000000.0, None)
    """
    return next((peak for name, peak in PEAKS.items() if name in gpu.split()), None)


def decoding(model: Decoder) -> Iterator[Row]:
    device = next(model.parameters()).device
    prompt = torch.randint(model.config.vocab_size, (PROMPT,), device=device)

    def once() -> None:
        text = generate(model, prompt, max_new_tokens=NEW, temperature=0)
        assert len(list(text)) == NEW

    what = f"{named(model.config)}, greedy, {PROMPT} + {NEW} tokens"
    yield Row(what, NEW / timed(once, 5), "tokens/s")


def tracing(model: Decoder) -> Iterator[Row]:
    device = next(model.parameters()).device
    ids = torch.randint(model.config.vocab_size, (1, PROMPT), device=device)

    def plain() -> None:
        with torch.no_grad():
            model(ids)

    forward, trace = timed(plain, 5), timed(lambda: model.watch(ids), 5)
    name = named(model.config)
    yield Row(f"{name}, forward of {PROMPT} tokens", 1000 * forward, "ms")
    yield Row(f"{name}, trace of {PROMPT} tokens", 1000 * trace, "ms", "forward", 1000 * forward)


def timed(once: Callable[[], object], seconds: float) -> float:
    """The median of one call's seconds, with a GPU's work done; three calls warm up."""
    for _ in range(3):
        once()
    taken: list[float] = []
    while sum(taken) < seconds or len(taken) < 5:
        synchronize()
        begun = time.perf_counter()
        once()
        synchronize()
        taken.append(time.perf_counter() - begun)
    return statistics.median(taken)


def synchronize() -> None:
    """Wait until a GPU, where there is one, has done what it was asked for."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
