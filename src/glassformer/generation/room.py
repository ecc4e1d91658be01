"""How many texts a machine has room for beside a model, and of how many tokens each."""

from __future__ import annotations

from glassformer.generation.c_step import MOST_ROWS
from glassformer.memory import machine_memory
from glassformer.model.config import Config
from glassformer.model.decoder import Decoder
from glassformer.model.encoder_decoder import EncoderDecoder

CACHE_BYTES, CACHE_SHARE = 4_000_000_000, 8
"""What keys and values may take at most: this, or an eighth of the machine's memory."""

LEAST_SLOTS = 4
"""For so many texts there is room; a context that is too long for that is cut."""


def room_for(config: Config, itemsize: int) -> tuple[int, int]:
    """How many texts are held at once, and of how many tokens each.

    >>> room_for(Config(vocab_size=11, n_ctx=8, d_model=6, n_layers=2, n_heads=3), 4)
    (32, 8)
    """
    budget = min(CACHE_BYTES, machine_memory() // CACHE_SHARE)
    token = 2 * config.n_layers * config.n_kv_heads * config.d_head * itemsize
    capacity = max(min(config.n_ctx, budget // (token * LEAST_SLOTS)), 1)
    return max(min(budget // (token * capacity), MOST_ROWS), 1), capacity


def room_of(model: Decoder | EncoderDecoder) -> tuple[int, int]:
    """The same for a model; of two towers it is the decoder that holds texts."""
    config = model.config.decoder if isinstance(model, EncoderDecoder) else model.config
    return room_for(config, model.embed.W_E.itemsize)
