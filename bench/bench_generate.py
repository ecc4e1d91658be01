"""Tokens per second: with a cache, without one, and transformers' generate on the same weights.

4 layers x 128, greedy, batch 1, 3 + 250 tokens.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from typing import Any

import torch
from transformers import AutoModelForCausalLM

from bench.measure import Row, alternate, compare
from glassformer.generation.generate import generate
from glassformer.interop import save
from glassformer.model import Config, Transformer

N_NEW = 250
OURS, WITHOUT, PEER = "with a cache", "without a cache", "transformers, with one"


def run(seconds: float) -> Iterator[Row]:
    config = Config(vocab_size=512, n_ctx=256, d_model=128, n_layers=4, n_heads=4)
    model = Transformer(config).eval()
    with tempfile.TemporaryDirectory() as folder:
        save(model, None, folder)
        theirs: Any = AutoModelForCausalLM.from_pretrained(folder).eval()
    prompt = torch.tensor([[1, 2, 3]])

    def ours(use_cache: bool) -> None:
        text = generate(model, prompt[0], max_new_tokens=N_NEW, temperature=0, use_cache=use_cache)
        assert len(list(text)) == N_NEW

    def peer() -> None:
        ids = theirs.generate(
            prompt,
            attention_mask=torch.ones_like(prompt),
            max_new_tokens=N_NEW,
            do_sample=False,
            pad_token_id=0,
            eos_token_id=None,
        )
        assert ids.shape[1] == N_NEW + prompt.shape[1]

    runs: dict[str, Callable[[], object]] = {
        OURS: lambda: ours(use_cache=True),
        WITHOUT: lambda: ours(use_cache=False),
        PEER: peer,
    }
    times = alternate(runs, seconds)
    for other in (WITHOUT, PEER):
        yield compare("4 x 128, 250 tokens, with a cache", times, OURS, other, per_second=N_NEW)
