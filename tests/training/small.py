"""A model and a corpus so small that a training step takes a millisecond or two."""

import functools
import tempfile
from typing import Any

import torch

from glassformer.model import Config, Decoder
from glassformer.text.blocks import Blocks
from glassformer.text.shard_writing import write_shard
from glassformer.text.tokenizer import Tokenizer
from glassformer.training.data import BlocksData
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


def small_recipe(**changes: Any) -> Recipe:
    choices = {"steps": 12, "batch_size": 4, "lr": 1e-2, "warmup_steps": 2, "eval_every": 4}
    return Recipe(**{**choices, "save_every": 5, **changes})


def weights_equal(a: Decoder, b: Decoder) -> bool:
    """Whether all weights are equal to the last bit."""
    pairs = zip(a.parameters(), b.parameters(), strict=True)
    return all(torch.equal(p, q) for p, q in pairs)
