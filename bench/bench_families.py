"""Llama and Qwen3 with random weights: a silent pass, a trace, and decoding, each beside a peer.

0.1B in both shapes and Qwen3-0.6B, opened from folders in bfloat16. One text of 64 tokens; decoding
is greedy, prefill included, by packed weights, beside `transformers` in the same width; where its
bfloat16 is slower than its fp32, that is the peer (llama.cpp is that of `bench_llama_cpp`). All
figures are processor time on one thread, so that a busy machine can measure them.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import AutoModelForCausalLM

from bench.measure import Row, alternate, compare, one_thread
from bench.plain_llama import PlainLlama
from glassformer.generation.generate import generate
from glassformer.generation.packed import PackedModel, pack
from glassformer.interop import load
from glassformer.model import Decoder
from tests.real_sizes import write

LENGTH = 64
NEW = {"llama 0.1B": 32, "qwen3 0.1B": 32, "qwen3 0.6B": 8}
OURS, PLAIN, WATCH = "ours", "the same calls, no tape", "watch"
PEER = "transformers"


def run(seconds: float) -> Iterator[Row]:
    with one_thread():
        for name, folder in folders(NEW):
            yield from of_model(name, folder, NEW[name], seconds / len(NEW))


def folders(names: Iterable[str]) -> Iterator[tuple[str, Path]]:
    """A folder of random weights of each size, which is there until the next one is."""
    for name in names:
        with tempfile.TemporaryDirectory() as temporary:
            folder = Path(temporary) / "model"
            write(name, folder)
            yield name, folder


def of_model(name: str, folder: Path, new: int, seconds: float) -> Iterator[Row]:
    model, _ = load(folder, dtype=torch.float32)
    ids = random_text()
    yield from passes(name, model, ids, seconds / 3)
    packed = {"fp32": pack(model), "bf16": pack(model, "bfloat16")}
    runs = {kind: partial(ours, one, ids[0], new) for kind, one in packed.items()}
    theirs = {
        kind: peer(folder, ids, new, dtype)
        for kind, dtype in (("fp32", torch.float32), ("bf16", torch.bfloat16))
    }
    contestants = {**runs, **{f"{PEER} {kind}": once for kind, once in theirs.items()}}
    times = alternate(contestants, 2 * seconds / 3, clock=time.process_time)
    quicker = min(
        (f"{PEER} {kind}" for kind in theirs), key=lambda who: statistics.median(times[who])
    )
    how = "compiled" if packed["fp32"].compiled else "flat"
    yield compare(f"{name}, decode, fp32 ({how})", times, "fp32", f"{PEER} fp32", (">=", 1.25), new)
    yield compare(f"{name}, decode, bf16", times, "bf16", quicker, (">=", 1.5), new)


def random_text() -> Tensor:
    """Ids [batch 1, LENGTH] that all of the models have."""
    return torch.randint(8000, (1, LENGTH), generator=torch.Generator().manual_seed(0))


def passes(name: str, model: Decoder, ids: Tensor, seconds: float) -> Iterator[Row]:
    plain = PlainLlama(model).eval()

    def once(call: Callable[[Tensor], Any]) -> Callable[[], None]:
        def inside() -> None:
            with torch.no_grad():
                call(ids)

        return inside

    with torch.no_grad():
        assert torch.equal(model(ids), plain(ids)), "the peer is another model"
    runs = {OURS: once(model), PLAIN: once(plain), WATCH: once(model.watch)}
    times = alternate(runs, seconds, clock=time.process_time)
    yield compare(f"{name}, silent pass", times, OURS, PLAIN, ("<=", 1.03))
    yield compare(f"{name}, full trace", times, WATCH, OURS, ("<=", 1.25))


def ours(model: PackedModel, prompt: Tensor, new: int) -> None:
    assert len(list(generate(model, prompt, max_new_tokens=new, temperature=0))) == new


def peer(folder: Path, ids: Tensor, new: int, dtype: torch.dtype) -> Callable[[], None]:
    theirs: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=dtype).eval()

    def once() -> None:
        result = theirs.generate(
            ids,
            attention_mask=torch.ones_like(ids),
            max_new_tokens=new,
            do_sample=False,
            pad_token_id=0,
            eos_token_id=None,
        )
        assert result.shape[1] == LENGTH + new

    return once
