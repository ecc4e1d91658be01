"""Ids are taken in the same forms everywhere: [pos] or [batch, pos], as lists or tensors."""

import subprocess
import sys
from typing import Any

import numpy as np
import pytest
import torch

from glassformer.errors import GlassformerError
from glassformer.generation.generate import generate, generate_batch
from glassformer.model.ids import as_ids, one_text
from glassformer.text.tokenizer import Tokenizer
from tests.model.variety import config_of, random_model

ONE_TEXT: list[Any] = [
    [1, 2, 3],
    (1, 2, 3),
    range(1, 4),
    np.array([1, 2, 3], dtype=np.uint16),
    torch.tensor([1, 2, 3]),
    torch.tensor([[1, 2, 3]], dtype=torch.int32),
    [[1, 2, 3]],
]
WRONG = """
import numpy, torch
from glassformer.errors import GlassformerError
from glassformer.generation.generate import generate
from glassformer.model import Config, Decoder
from glassformer.text.tokenizer import Tokenizer

model = Decoder(Config(vocab_size=11, n_ctx=8, d_model=6, n_layers=1, n_heads=3))
for ids in ("the cat", 5, None, [1.0, 2.0], torch.tensor([True]), [None], [2**70],
            [[1, 2], [3]], torch.zeros(1, 1, 1, dtype=torch.long), numpy.array(3)):
    for taken in (model, model.watch, lambda ids: model.loss(ids, ids),
                  lambda ids: generate(model, ids)):
        try:
            taken(ids)
        except GlassformerError as error:
            assert "ids" in str(error) and "\\n" not in str(error), error
        else:
            raise AssertionError(ids)
tokenizer = Tokenizer.train("chars", ["abc"])
for wrong in (["a"], None, 5):
    try:
        tokenizer.encode(wrong)
    except GlassformerError as error:
        assert "is no text" in str(error)
    else:
        raise AssertionError(wrong)
print("all refused")
"""


@pytest.fixture(scope="module")
def model():
    return random_model(config_of("gpt2"), 1)


@pytest.mark.parametrize("ids", ONE_TEXT, ids=repr)
def test_one_text_may_come_as_a_list_an_array_or_a_tensor_with_or_without_a_batch(model, ids):
    assert as_ids(ids).tolist() == [[1, 2, 3]]
    assert torch.equal(model(ids), model(torch.tensor([[1, 2, 3]])))
    assert model.watch(ids).node("token/ids").shape == (1, 3)
    assert model.loss(ids, ids).isfinite()
    assert generate(model, ids, max_new_tokens=0).prompt == [1, 2, 3]
    assert generate_batch(model, [ids], max_new_tokens=0)[0].prompt == [1, 2, 3]


def test_what_are_no_ids_is_refused_in_one_line_everywhere():
    """In a process of its own: in tests, the annotations would answer first."""
    done = subprocess.run([sys.executable, "-c", WRONG], capture_output=True, text=True)
    assert done.stdout == "all refused\n", done.stderr


def test_decode_takes_one_text_with_or_without_a_batch_of_one():
    tokenizer = Tokenizer.train("chars", ["abc"])
    ids = tokenizer.encode("cab")
    forms: list[Any] = [ids, [ids], torch.tensor(ids), torch.tensor([ids]), np.array([ids])]
    for one in forms:
        assert tokenizer.decode(one) == "cab"
    both: list[Any] = [[ids, ids], torch.tensor([ids, ids])]
    for several in both:
        with pytest.raises(GlassformerError, match="decode takes the ids of one text"):
            tokenizer.decode(several)


def test_texts_of_different_lengths_are_told_so():
    with pytest.raises(GlassformerError, match="ids hold texts of 2 and 1 tokens"):
        as_ids([[1, 2], [3]])


@pytest.mark.parametrize("ids", [[3, 11], [-1]])
def test_ids_outside_the_vocabulary_are_refused_by_passes_too(model, ids):
    for taken in (model, lambda ids: model.loss(ids, ids), lambda ids: generate(model, ids)):
        with pytest.raises(GlassformerError, match="outside the vocabulary of 11"):
            taken(ids)


def test_several_texts_are_never_continued_as_one(model):
    with pytest.raises(GlassformerError, match=r"ids \[2, 1\] are 2 texts"):
        generate(model, torch.tensor([[5], [7]]))
    texts = generate_batch(model, torch.tensor([[5], [7]]), max_new_tokens=0)
    assert [text.prompt for text in texts] == [[5], [7]]
    assert one_text([]) == []
