"""A model of any configuration pickles, copies and goes to another process, as torch modules do."""

import copy
import pickle  # noqa: TID251 (that it can be done is what is tested)
from typing import Any

import pytest
import torch
from torch import multiprocessing

from glassformer.model import Config, Decoder
from glassformer.text.tokenizer import Tokenizer
from glassformer.trace import SILENT
from glassformer.training.recipe import Recipe

SIZES: dict[str, Any] = {"vocab_size": 11, "n_ctx": 8, "d_model": 8, "n_layers": 1, "n_heads": 2}
CHANGES: list[dict[str, Any]] = [
    {},
    {"tied": False, "head_bias": True},
    {"norm": "rms", "norm_bias": False, "qk_norm": True, "embed_norm": True},
]
IDS = torch.tensor([[1, 2, 3]])


def pickled(thing: Any) -> Any:
    """What another process gets, or a file that somebody keeps for himself."""
    return pickle.loads(pickle.dumps(thing))  # noqa: S301 (it was made a moment ago)


@pytest.mark.parametrize("position", ["learned", "sinusoidal", "rotary", "none"])
@pytest.mark.parametrize("changes", CHANGES, ids=str)
def test_a_model_of_any_configuration_pickles_and_copies(position, changes):
    model = Decoder(Config(**SIZES, position=position, **changes)).eval()
    for copied in (pickled(model), copy.deepcopy(model)):
        assert torch.equal(copied(IDS), model(IDS))
        wide, wide_copy = copy.deepcopy(model).double(), copied.double()
        assert torch.equal(wide_copy(IDS), wide(IDS))  # fixed tables are computed afresh
        with torch.no_grad():
            copied.embed.W_E.zero_()  # a tied head is its own table, not the first model's
        assert bool((copied.unembed.weight(SILENT) == 0).all()) == model.config.tied


def answer(model: Decoder, queue: multiprocessing.Queue) -> None:
    queue.put(model(IDS).tolist())


@pytest.mark.heavy
def test_a_model_goes_to_another_process():
    model = Decoder(Config(**SIZES, position="rotary")).eval()
    context = multiprocessing.get_context("spawn")
    queue = context.Queue()
    process = context.Process(target=answer, args=(model, queue))
    process.start()
    result = queue.get(timeout=300)
    process.join()
    torch.testing.assert_close(torch.tensor(result), model(IDS))


@pytest.mark.parametrize("kind", ["bpe", "chars", "words"])
def test_tokenizers_of_every_kind_pickle_and_copy_and_so_does_a_model_with_one(kind):
    tokenizer = Tokenizer.train(kind, ["the cat sat"])
    model = Decoder(Config(**{**SIZES, "vocab_size": tokenizer.vocab_size})).eval()
    model.tokenizer = tokenizer
    tokenizer.decode(tokenizer.encode("the cat"))  # what it keeps from then on goes along
    of_model = pickled(model).tokenizer
    for copied in (pickled(tokenizer), copy.deepcopy(tokenizer), of_model):
        assert copied.fingerprint == tokenizer.fingerprint
        assert copied.encode("the cat") == tokenizer.encode("the cat")
        assert copied.token_bytes(3) == tokenizer.token_bytes(3)


def test_recipes_and_configurations_pickle():
    for described in (Config(**SIZES), Recipe(steps=7)):
        assert pickled(described) == described
