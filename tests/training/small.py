"""A model and a corpus so small that a training step takes a millisecond or two."""

import functools
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

from glassformer.model import Config, Decoder
from glassformer.text.blocks import Blocks
from glassformer.text.shard import Shard
from glassformer.text.shard_writing import Encoded, write_asked, write_shard
from glassformer.text.tokenizer import Tokenizer
from glassformer.training.data import BlocksData
from glassformer.training.loop import train
from glassformer.training.preference import PreferenceData, write_reference
from glassformer.training.prepare import Prepared
from glassformer.training.recipe import Recipe

N_CTX = 8
TOKENIZER = Tokenizer.from_words(list("abcdefg"))


def small_model(**changes: Any) -> Decoder:
    torch.manual_seed(0)
    sizes = {
        "vocab_size": TOKENIZER.vocab_size,
        "n_ctx": N_CTX,
        "d_model": 16,
        "n_layers": 2,
        "n_heads": 2,
    }
    return Decoder(Config(**{**sizes, **changes}))


@functools.cache
def small_data(n: int = 800) -> BlocksData:
    words = ["abcdefg"[i * i // 3 % 7] for i in range(n)]  # a pattern with some order in it
    shard = write_shard(tempfile.mkdtemp(), [" ".join(words)], TOKENIZER)
    return BlocksData(Blocks(shard, N_CTX))


def small_pairs(n: int = 40) -> PreferenceData:
    """Pairs of replies of two to five tokens to prompts of three, compared with `small_model`."""
    draw = np.random.default_rng(0)
    folder = Path(tempfile.mkdtemp())

    def replies() -> Iterator[Encoded]:
        for _ in range(n):
            prompt = draw.integers(TOKENIZER.vocab_size, size=3)
            for _ in range(2):
                reply = draw.integers(TOKENIZER.vocab_size, size=draw.integers(2, 6))
                asked = np.repeat([False, True], [len(prompt), len(reply)])
                yield Encoded(np.concatenate([prompt, reply]), True, len(asked), asked)

    write_asked(folder, replies(), TOKENIZER)
    sha256 = write_reference(folder, small_model(), TOKENIZER)
    return PreferenceData(Shard(folder, tokenizer=TOKENIZER), 0, 0.5, sha256)


def small_recipe(**changes: Any) -> Recipe:
    choices = {"steps": 12, "batch_size": 4, "lr": 1e-2, "warmup_steps": 2, "eval_every": 4}
    return Recipe(**{**choices, "save_every": 5, **changes})


def weights_equal(a: Decoder, b: Decoder) -> bool:
    """Whether all weights are equal to the last bit."""
    pairs = zip(a.parameters(), b.parameters(), strict=True)
    return all(torch.equal(p, q) for p, q in pairs)


def finished(prepared: Prepared) -> Prepared:
    """A run, trained to its end."""
    with prepared.run:
        train(prepared.model, prepared.data, prepared.recipe, run=prepared.run)
    return prepared
