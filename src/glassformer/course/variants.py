"""The text's model once more, with one thing different: what that thing is good for."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import torch

from glassformer.model import Config, Decoder, load_preset
from glassformer.text.blocks import Blocks
from glassformer.text.shard_writing import write_shard
from glassformer.text.tokenizer import Tokenizer
from glassformer.training.corpora import open_data
from glassformer.training.data import BlocksData
from glassformer.training.evaluate import evaluate
from glassformer.training.loop import train
from glassformer.training.recipe import Recipe
from glassformer.training.run import DATA, read_description
from glassformer.training.sizing import LITTLE


class Variant(NamedTuple):
    """A trained model, and its mean surprise at the text, in nats per token."""

    model: Decoder
    loss: float


def variant(run: Path, trained: Decoder, tokenizer: Tokenizer, changes: dict[str, Any]) -> Variant:
    """The model of a run trained with some fields of its configuration changed, and nothing else.

    The same text, seed and recipe. Where nothing is changed it is `trained`, the run's own model.
    """
    described = read_description(run)
    recipe = described.recipe
    config = described.model.replace(**changes)
    data = open_data(run / DATA, described.corpus, tokenizer, recipe)
    model = trained
    if config != described.model:
        torch.manual_seed(recipe.seed)
        model = Decoder(config)
        train(model, data, recipe)
        model.eval()
    return Variant(model, evaluate(model, data.held_out(recipe.batch_size)).loss)


def learned(text: str, steps: int, changes: dict[str, Any]) -> tuple[Decoder, Tokenizer]:
    """A model of the smallest size that learns a few sentences word by word, and its tokenizer."""
    tokenizer = Tokenizer.train("words", [text])
    sizes = {**load_preset("text")["model"], **LITTLE["model"], **changes}
    recipe = Recipe.from_dict({**LITTLE["training"], "steps": steps})
    torch.manual_seed(recipe.seed)
    model = Decoder(Config.from_dict({**sizes, "d_mlp": 0, "vocab_size": tokenizer.vocab_size}))
    with TemporaryDirectory() as folder:
        shard = write_shard(folder, [text], tokenizer)
        train(model, BlocksData(Blocks(shard, model.config.n_ctx, mode="whole")), recipe)
    return model.eval(), tokenizer
