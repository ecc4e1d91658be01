"""Looking inside GPT-2 124M and 4 x 128 (64 tokens): what watching costs beside plain passes.

A trace holds every value of the pass, down to the squares of a norm, and ends in the probabilities;
the plain pass beside it ends in the logits. TransformerLens caches the same weights in the same
rounds where it is installed (extra `parity`); ours / TransformerLens below 1 means that we take
less. Peak memory is what the process grows by, beside the bytes that the trace says it holds.
"Few kept" is keep='*.resid_post,logits'.
"""

from __future__ import annotations

import importlib
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial

import torch
from torch import Tensor

from bench.measure import Row, alternate, compare, peak_bytes
from glassformer.interop import save
from glassformer.model import Config, Transformer
from glassformer.text.tokenizer import Tokenizer
from glassformer.trace import Trace

LENGTH = 64
SMALL = Config(vocab_size=65, n_ctx=64, d_model=128, n_layers=4, n_heads=4)
WATCH, FORWARD, LENS = "watch", "plain forward", "run_with_cache"
BACKWARD = "plain forward + backward"
KEEP = "*.resid_post,logits"

NUMBERS = (
    "blocks.5.attn.attn_scores[head=3,query=40,key=7]",
    "blocks.5.ln2.variance[pos=40]",
    "blocks.5.mlp.mlp_out[pos=40,d_model=11]",
    "logits[pos=63,vocab=123]",
    "logits_sum[pos=63]",
    "loss",
    "bwd/blocks.5.mlp.W_in[d_model=11,d_mlp=7]",
    "bwd/blocks.5.attn.z[pos=40,head=3,d_head=7]",
    "bwd/blocks.5.ln2.normalized[pos=40,d_model=11]",
    "bwd/embed.W_E[vocab=123,d_model=11]",
    "bwd/ln_final.normalized[pos=40,d_model=11]",
    "bwd/logits[pos=40,vocab=123]",
)
"""Sums of 1 to 3,072 terms, and those over the whole vocabulary of 50,257."""


def run(seconds: float) -> Iterator[Row]:
    torch.manual_seed(0)
    yield from small(seconds / 4)
    model = Transformer(Config.preset("gpt2")).eval()
    passes = Passes(model)
    watch, both = partial(model.watch, passes.ids), passes.watch_both
    forward: dict[str, Callable[[], object]] = {WATCH: watch, FORWARD: passes.forward}
    cached = run_with_cache(model, passes.ids)
    if cached is not None:
        forward[LENS] = cached
    times = alternate(forward, seconds / 2)
    yield compare("forward trace", times, WATCH, FORWARD, ("<=", 1.25))
    if cached is not None:
        yield compare("forward trace", times, WATCH, LENS, ("<=", 1.0))
        yield compare("forward trace of TransformerLens", times, LENS, FORWARD)
    times = alternate({WATCH: both, BACKWARD: passes.backward}, seconds / 4)
    yield compare("forward + backward trace", times, WATCH, BACKWARD, ("<=", 1.4))
    model.zero_grad()
    yield from memory(passes.forward, passes.backward, watch, both)
    yield from explaining(both())


def small(seconds: float) -> Iterator[Row]:
    """4 layers x 128, where what a tape does for each value weighs most."""
    model = Transformer(SMALL).eval()
    passes = Passes(model)
    runs: dict[str, Callable[[], object]] = {
        WATCH: partial(model.watch, passes.ids),
        FORWARD: passes.forward,
    }
    cached = run_with_cache(model, passes.ids)
    if cached is not None:
        runs[LENS] = cached
    times = alternate(runs, seconds, calls=8)
    yield compare("4 x 128, forward trace", times, WATCH, FORWARD, ("<=", 2.0))
    if cached is not None:
        yield compare("4 x 128, forward trace", times, WATCH, LENS, ("<=", 0.5))


class Passes:
    """One text, and the plain passes over it."""

    def __init__(self, model: Transformer) -> None:
        self.model = model
        self.ids, self.targets = torch.randint(model.config.vocab_size, (2, 1, LENGTH))

    def forward(self) -> Tensor:
        with torch.no_grad():
            return self.model(self.ids)

    def backward(self) -> Tensor:
        self.model.zero_grad()
        loss = self.model.loss(self.ids, self.targets)
        loss.backward()
        return loss

    def watch_both(self, keep: str = "*") -> Trace:
        return self.model.watch(self.ids, self.targets, backward=True, keep=keep)


def run_with_cache(model: Transformer, ids: Tensor) -> Callable[[], object] | None:
    """TransformerLens's own trace of the same weights, if it is installed."""
    os.environ["HF_HUB_OFFLINE"] = "1"  # it reads a folder; nothing is to be fetched
    try:
        bridge = importlib.import_module("transformer_lens.model_bridge").TransformerBridge
    except ImportError:
        return None
    with tempfile.TemporaryDirectory() as folder:
        save(model, Tokenizer.train("words", ["the cat sat"]), folder)
        lens = bridge.boot_transformers(folder, device="cpu")

    def once() -> object:
        with torch.no_grad():
            return lens.run_with_cache(ids)

    return once


def memory(
    forward: Callable[[], object],
    backward: Callable[[], object],
    watch: Callable[..., Trace],
    both: Callable[..., Trace],
) -> Iterator[Row]:
    """How far the process grows in each kind of pass, beside what the trace holds."""
    runs: list[tuple[str, Callable[[], object]]] = [
        ("plain forward", forward),
        ("plain forward + backward", backward),
    ]
    for what, traced in (("forward trace", watch), ("forward + backward trace", both)):
        runs += [(what, traced), (f"{what}, few kept", partial(traced, keep=KEEP))]
    for what, once in runs:
        held: list[object] = []
        grown = peak_bytes(lambda once=once, held=held: held.append(once()))
        if isinstance(held[0], Trace):
            yield Row(f"recorded, {what}", held[0].nbytes / 1e6, "MB")
        if grown is not None:
            yield Row(f"peak memory, {what}", grown / 1e6, "MB")


def explaining(trace: Trace) -> Iterator[Row]:
    """The whole text that explains a number, from its address: the median of some elements."""
    for address in NUMBERS:
        taken = []
        for _ in range(9):
            start = time.perf_counter()
            text = str(trace.explain(address))
            taken.append(time.perf_counter() - start)
            assert ": agrees" in text, text
        ms = 1000 * statistics.median(taken)
        yield Row(f"explain {address.partition('[')[0]}", ms, "ms", target=("<=", 5), rounds=9)
