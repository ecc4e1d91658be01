"""Looking inside GPT-2 124M and 4 x 128 (64 tokens): what watching costs beside plain passes.

A trace holds every value of the pass, down to the squares of a norm, and ends in the probabilities;
the plain pass beside it ends in the logits. The table of steps is written when someone looks at it;
"with its table" has it written at once. TransformerLens's bridge caches the same weights in the
same rounds where it is installed (extra `parity`); ours / TransformerLens below 1 means that we
take less. Times, but for explaining, are processor time on one thread. Peak memory is what the
process grows by, beside the bytes that the trace says it holds.
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

from bench.measure import Row, alternate, compare, one_thread, peak_bytes
from glassformer.interop import save
from glassformer.model import Config, Decoder
from glassformer.text.tokenizer import Tokenizer
from glassformer.trace import Trace

LENGTH = 64
SMALL = Config(vocab_size=65, n_ctx=64, d_model=128, n_layers=4, n_heads=4)
WATCH, TABLE, FORWARD, LENS = "watch", "its table too", "plain forward", "run_with_cache"
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
    with one_thread():
        # 4 layers x 128 is where what a tape does for each value weighs most
        yield from forward_traces("4 x 128, forward trace", SMALL, seconds / 4, 8, (2.0, 0.5))
        gpt2 = Config.preset("gpt2")
        yield from forward_traces("forward trace", gpt2, seconds / 2, 1, (1.25, 1.0))
        passes = Passes(gpt2)
        both = {WATCH: passes.watch_both, BACKWARD: passes.backward}
        times = alternate(both, seconds / 4, clock=time.process_time)
        yield compare("forward + backward trace", times, WATCH, BACKWARD, ("<=", 1.4))
    passes.model.zero_grad()
    yield from memory(passes)
    yield from explaining(passes.watch_both())


def forward_traces(
    what: str, config: Config, seconds: float, calls: int, targets: tuple[float, float]
) -> Iterator[Row]:
    """Watching beside our own silent forward, and beside what TransformerLens takes."""
    passes = Passes(config)
    runs: dict[str, Callable[[], object]] = {
        WATCH: passes.watch,
        TABLE: lambda: passes.watch().nodes,
        FORWARD: passes.forward,
    }
    cached = run_with_cache(passes.model, passes.ids)
    if cached is not None:
        runs[LENS] = cached
    times = alternate(runs, seconds, calls, time.process_time)
    of_silent, of_lens = targets
    yield compare(what, times, WATCH, FORWARD, ("<=", of_silent))
    yield compare(f"{what}, with its table", times, TABLE, FORWARD, ("<=", of_silent))
    if cached is not None:
        yield compare(what, times, WATCH, LENS, ("<=", of_lens))
        yield compare(f"{what}, with its table", times, TABLE, LENS, ("<=", of_lens))
        yield compare(f"{what} of TransformerLens", times, LENS, FORWARD)


class Passes:
    """One text, and the plain passes over it."""

    def __init__(self, config: Config) -> None:
        self.model = Decoder(config).eval()
        self.ids, self.targets = torch.randint(config.vocab_size, (2, 1, LENGTH))

    def forward(self) -> Tensor:
        with torch.no_grad():
            return self.model(self.ids)

    def backward(self) -> Tensor:
        self.model.zero_grad()
        loss = self.model.loss(self.ids, self.targets)
        loss.backward()
        return loss

    def watch(self, keep: str = "*") -> Trace:
        return self.model.watch(self.ids, keep=keep)

    def watch_both(self, keep: str = "*") -> Trace:
        return self.model.watch(self.ids, self.targets, backward=True, keep=keep)


def run_with_cache(model: Decoder, ids: Tensor) -> Callable[[], object] | None:
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


def memory(passes: Passes) -> Iterator[Row]:
    """How far the process grows in each kind of pass, beside what the trace holds."""
    runs: list[tuple[str, Callable[[], object]]] = [
        ("plain forward", passes.forward),
        ("plain forward + backward", passes.backward),
    ]
    traces = (("forward trace", passes.watch), ("forward + backward trace", passes.watch_both))
    for what, traced in traces:
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
