"""What a position says depends on it and on earlier ones, and on nothing else."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from glassformer import GlassformerError
from tests.model.variety import VARIETY, config_of, configs, random_ids, random_model


def logits_before_and_after_a_change(config, seed: int, position: int, watched: bool):
    model = random_model(config, seed)
    ids = random_ids(config, seed)
    changed = ids.clone()
    changed[:, position:] = (changed[:, position:] + 1) % config.vocab_size
    if watched:
        return model.watch(ids)["logits"], model.watch(changed)["logits"]
    return model(ids), model(changed)


@given(configs(), st.integers(0, 999), st.integers(1, 5), st.booleans())
@settings(max_examples=25)
def test_future_tokens_never_change_past_logits(config, seed, position, watched):
    before, after = logits_before_and_after_a_change(config, seed, position, watched)
    assert torch.equal(before[:, :position], after[:, :position])


def test_present_and_past_tokens_do_change_later_logits():
    config = config_of("gpt2")
    before, after = logits_before_and_after_a_change(config, 1, 3, False)
    assert not torch.isclose(before[:, 3:], after[:, 3:]).all(-1).any()


@pytest.mark.parametrize("name", VARIETY)
def test_a_text_says_the_same_alone_and_in_a_batch(name):
    config = config_of(name)
    model, ids = random_model(config, 1), random_ids(config, 1, batch=3)
    together = model(ids)
    for row, text in enumerate(ids):
        # float64: a batch may be summed in another order
        torch.testing.assert_close(model(text[None])[0], together[row], rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", [n for n in VARIETY if not config_of(n).turns_by_length])
def test_a_shorter_text_says_the_same_as_the_start_of_a_longer_one(name):
    config = config_of(name)
    model, ids = random_model(config, 1), random_ids(config, 1)
    full = model(ids)
    for n in range(1, config.n_ctx + 1):
        # float64: other lengths may be summed in another order
        torch.testing.assert_close(model(ids[:, :n]), full[:, :n], rtol=0, atol=1e-12)


def test_a_text_longer_than_the_context_is_refused():
    model = random_model(config_of("gpt2"), 1)
    with pytest.raises(
        GlassformerError, match=r"8 tokens do not fit the model's n_ctx=7 positions"
    ):
        model(torch.zeros(1, 8, dtype=torch.int64))


@pytest.mark.parametrize(
    ("targets", "message"),
    [
        (torch.tensor([[3, 11]]), "token id 11 is outside the vocabulary of 11"),
        (torch.tensor([[3, -5]]), "token id -5 is outside the vocabulary of 11"),
        (torch.tensor([[-100, -100]]), "every target is ignored: give at least one"),
    ],
)
def test_targets_that_cannot_be_asked_for_are_refused(targets, message):
    model = random_model(config_of("gpt2"), 1)
    with pytest.raises(GlassformerError, match=message):
        model.watch(torch.tensor([[1, 2]]), targets)


def test_targets_of_another_shape_are_refused():
    model = random_model(config_of("gpt2"), 1)
    ids, targets = torch.tensor([[1, 2]]), torch.tensor([[1]])
    message = r"targets \[1, 1\] must have the shape of ids, \[1, 2\]"
    with pytest.raises(GlassformerError, match=message):
        model.watch(ids, targets)


@pytest.mark.parametrize(
    ("ids", "message"),
    [
        (torch.tensor([[3, 11]]), "token id 11 is outside the vocabulary of 11"),
        (torch.tensor([[-1, 3]]), "token id -1 is outside the vocabulary of 11"),
        (torch.zeros(1, 0, dtype=torch.int64), r"with a token in it, not \[1, 0\]"),
    ],
)
def test_ids_that_cannot_be_read_are_refused_before_anything_is_computed(ids, message):
    model = random_model(config_of("gpt2"), 1)
    with pytest.raises(GlassformerError, match=message):
        model.watch(ids)
