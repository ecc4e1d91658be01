"""Tokens per second, one text, greedy, 64 + 128 tokens, prefill included; `transformers` beside it.

The weights are the same (random, saved and loaded again), the texts as long, and all take turns.
4 layers x 128, packed and as stored, all on one thread, where `transformers` is quicker too; what
compiling the step takes once on a machine stands apart. GPT-2 124M as stored, and packed in
float32, bfloat16 and int8. Reading every matrix once per token at the memory's speed is the floor
that no single text gets below; its rows say which fraction of that was reached. CTranslate2's
figure for int8 at 124M is 71 tokens/s, from `transformers` 37 on the same machine. What narrower
weights cost stands beside: how often the most probable token is another one, and the perplexity of
a small model that was trained for it.
"""

from __future__ import annotations

import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import AutoModelForCausalLM

from bench.bench_quality import make_loop, trained, write_text
from bench.measure import Row, alternate, compare, one_thread
from glassformer.generation.generate import generate, generate_batch
from glassformer.generation.packed import WEIGHTS, PackedModel, pack, unpacked
from glassformer.interop import save
from glassformer.model import Config, Decoder
from glassformer.text.blocks import Blocks

PROMPT, NEW = 64, 128
SMALL = Config(vocab_size=65, n_ctx=256, d_model=128, n_layers=4, n_heads=4)
OURS, PACKED, WITHOUT = "ours", "packed", "no cache"
PEER, PEER_BF16 = "transformers", "transformers bf16"
CTRANSLATE2 = 71.1 / 37.4
"""CTranslate2's int8 over transformers' fp32, tokens per second at 124M, measured side by side."""

TRAINED_STEPS = 300


def run(seconds: float) -> Iterator[Row]:
    torch.manual_seed(0)
    yield from small(seconds / 4)
    yield from large(seconds)
    yield from perplexities()


def small(seconds: float) -> Iterator[Row]:
    model = Decoder(SMALL).eval()
    prompt = torch.randint(SMALL.vocab_size, (PROMPT,))
    with one_thread():
        compiling = seconds_to_compile(model)
        times = alternate(
            {
                PACKED: partial(ours, pack(model), prompt),
                OURS: partial(ours, model, prompt),
                WITHOUT: partial(ours, model, prompt, use_cache=False),
                PEER: peer(model, prompt, torch.float32),
            },
            seconds,
        )
    yield compare("4 x 128, packed", times, PACKED, PEER, (">=", 4.0), NEW)
    yield compare("4 x 128, as stored", times, OURS, PEER, (">=", 4.0), NEW)
    yield compare("4 x 128, as stored", times, OURS, WITHOUT, per_second=NEW)
    yield Row("4 x 128, compiled once in", compiling, "s")
    yield from several(seconds / 2)


def several(seconds: float) -> Iterator[Row]:
    """Eight texts of eight lengths, at once and one by one."""
    model = Decoder(SMALL).eval()
    packed = pack(model)
    prompts = [torch.randint(SMALL.vocab_size, (8 * n,)).tolist() for n in range(1, 9)]
    runs: dict[str, Callable[[], object]] = {
        OURS: partial(generate_batch, model, prompts, **HOW),
        PACKED: partial(generate_batch, packed, prompts, **HOW),
        "one by one": lambda: [ours(model, prompt) for prompt in prompts],
    }
    with one_thread():
        times = alternate(runs, seconds)
    n = len(prompts) * NEW
    yield compare("4 x 128, 8 texts, as stored", times, OURS, "one by one", None, n)
    yield compare("4 x 128, 8 texts, packed", times, PACKED, "one by one", None, n)


def seconds_to_compile(model: Decoder) -> float:
    """What packing a small model takes where nothing was compiled before."""
    with tempfile.TemporaryDirectory() as caches, patch.dict(os.environ, XDG_CACHE_HOME=caches):
        start = time.perf_counter()
        assert pack(model).compiled is not None, "there is no C compiler"
        return time.perf_counter() - start


def large(seconds: float) -> Iterator[Row]:
    model = Decoder(Config.preset("gpt2")).eval()
    prompt = torch.randint(model.config.vocab_size, (PROMPT,))
    packed = {weights: pack(model, weights) for weights in WEIGHTS}
    runs: dict[str, Callable[[], object]] = {OURS: partial(ours, model, prompt)}
    runs |= {weights: partial(ours, packed[weights], prompt) for weights in WEIGHTS}
    runs |= {
        PEER: peer(model, prompt, torch.float32),
        PEER_BF16: peer(model, prompt, torch.bfloat16),
    }
    times = alternate(runs, seconds)
    best = min(PEER, PEER_BF16, key=lambda name: statistics.median(times[name]))
    yield compare("124M, as stored", times, OURS, PEER, None, NEW)
    yield compare("124M, float32", times, "float32", PEER, (">=", 1.25), NEW)
    yield compare("124M, bfloat16", times, "bfloat16", best, (">=", 1.6), NEW)
    yield compare("124M, int8", times, "int8", PEER, (">=", CTRANSLATE2), NEW)
    bandwidth = read_bandwidth()
    yield Row("memory is read at", bandwidth / 1e9, "GB/s")
    for weights, dtype in WEIGHTS.items():
        floor = bandwidth / (matrix_elements(model) * dtype.itemsize)
        reached = NEW / statistics.median(times[weights]) / floor
        yield Row(f"124M, {weights}: of the floor {floor:.0f} tokens/s", 100 * reached, "%")
    text = torch.tensor([[*prompt.tolist(), *generate(model, prompt, **HOW)]])
    with torch.inference_mode():
        plain = model(text).argmax(-1)
        for weights, other in packed.items():
            agree = (other(text).argmax(-1) == plain).double().mean().item()
            yield Row(f"124M, {weights}: same most probable token", 100 * agree, "%")


HOW: dict[str, Any] = {"max_new_tokens": NEW, "temperature": 0}


def ours(
    model: Decoder | PackedModel, prompt: Sequence[int] | Tensor, use_cache: bool = True
) -> None:
    assert len(list(generate(model, prompt, use_cache=use_cache, **HOW))) == NEW


def peer(model: Decoder, prompt: Tensor, dtype: torch.dtype) -> Callable[[], None]:
    with tempfile.TemporaryDirectory() as folder:
        save(model, None, folder)
        theirs: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=dtype).eval()

    def once() -> None:
        ids = theirs.generate(
            prompt[None],
            attention_mask=torch.ones_like(prompt[None]),
            max_new_tokens=NEW,
            do_sample=False,
            pad_token_id=0,
            eos_token_id=None,
        )
        assert ids.shape[1] == PROMPT + NEW

    return once


def matrix_elements(model: Decoder) -> int:
    """Numbers of the matrices that a token is multiplied with, the unembedding too."""
    positions = 0 if model.pos_embed is None else model.config.n_ctx * model.config.d_model
    matrices = sum(p.numel() for p in model.parameters() if p.ndim > 1)
    return matrices - positions


def read_bandwidth() -> float:
    """Bytes per second: the best of some sums over 512 MB."""
    numbers = torch.ones(2**27)
    taken = []
    for _ in range(8):
        start = time.perf_counter()
        numbers.sum()
        taken.append(time.perf_counter() - start)
    return numbers.nbytes / min(taken)


def perplexities() -> Iterator[Row]:
    """Of a model trained on Storyland for some seconds, on the text kept for validation."""
    with tempfile.TemporaryDirectory() as folder:
        shard = write_text(Path(folder) / "tokens", None)
        model = trained(make_loop("classic", shard, TRAINED_STEPS)).model.eval()
        assert isinstance(model, Decoder)
        batches = list(islice(Blocks(shard, model.config.n_ctx).evaluation(32), 16))
    as_stored = perplexity(unpacked(model), batches)
    yield Row("perplexity, trained 4 x 128, as stored", as_stored, "")
    for weights in WEIGHTS:
        change = perplexity(pack(model, weights), batches) / as_stored - 1
        yield Row(f"perplexity, {weights}: change", 100 * change, "%")


@torch.inference_mode()
def perplexity(packed: PackedModel, batches: list[tuple[Tensor, Tensor]]) -> float:
    loss, count = 0.0, 0
    for ids, targets in batches:
        scores, asked = packed(ids).flatten(0, 1), targets.flatten()
        loss += F.cross_entropy(scores, asked, reduction="sum").item()
        count += int((asked != -100).sum())
    return float(torch.tensor(loss / count).exp())
