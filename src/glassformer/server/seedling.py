"""The model that a page makes anew for a pasted text, whose words nobody knows yet."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import torch

from glassformer.model import Config, Decoder
from glassformer.model.initial import deviation
from glassformer.model.size import parameter_count
from glassformer.server import schemas
from glassformer.server.runnable import packed_model
from glassformer.server.runs import weights_of
from glassformer.text.tokenizer import Tokenizer
from glassformer.training.recipe import Recipe
from glassformer.training.train_state import TrainState
from glassformer.training.watched import zero_moments

NAME = "your-text"
LR = 0.01

CONFIG = Config(
    vocab_size=2,
    n_ctx=24,
    d_model=16,
    n_layers=2,
    n_heads=2,
    position="rotary",
    norm="rms",
    norm_bias=False,
    attn_bias=False,
    mlp_bias=False,
    init_std=0.1,
    tied=True,
)
"""Six thousand numbers and sixteen for each word: some hundred steps a second in a browser."""


@cache
def seedling() -> schemas.PackedSeedling:
    """The packed model, with a vocabulary of a size that no other axis has."""
    size = CONFIG.d_mlp + 1
    words = [f"w{i}" for i in range(size)]
    tokenizer = Tokenizer.train("words", [" ".join(words)], vocab_size=size)
    config = replace(CONFIG, vocab_size=size)
    model = Decoder(config).eval()
    with torch.no_grad():
        for name, weight in model.weights().items():
            if deviation(name, config):
                weight.zero_()  # the page draws them
    state = TrainState(model, tokenizer, zero_moments(model), Recipe(), 0, LR)
    packed = packed_model(state)
    assert packed is not None, "it is small, and of words"
    return schemas.PackedSeedling(
        run=_info(config), model=packed, deviations=[deviation(n, config) for n in model.weights()]
    )


def _info(config: Config) -> schemas.RunInfo:
    """What is known of it before it has a text."""
    parameters = parameter_count(config)
    return schemas.RunInfo(
        id=NAME,
        name="a model of your text",
        parameters=parameters,
        steps_done=None,
        steps_left=None,
        loss=None,
        kind="preset",
        path=None,
        config=config.to_dict(),
        n_ctx=config.n_ctx,
        vocab_size=config.vocab_size,
        tied=config.tied,
        weights=weights_of(config, parameters),
        tokenizer=schemas.TokenizerInfo(kind="words"),
        snapshots=[],
        floor=None,
        suggested_prompt="",
        suggested_target=None,
        examples=[],
        recipe=None,
        sampling=schemas.FolderSampling(),
    )
