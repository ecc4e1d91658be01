"""Activation checkpointing: fewer numbers are kept, and not one of them changes."""

import copy

import pytest
import torch
from torch.autograd.graph import saved_tensors_hooks

from glassformer.training.loop import Loop, train
from tests.training.small import small_data, small_model, small_recipe, weights_equal


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
def test_training_that_computes_blocks_twice_ends_in_the_same_weights(optimizer):
    plain, frugal = small_model(dropout=0.2), small_model(dropout=0.2)
    train(plain, small_data(), small_recipe(optimizer=optimizer))
    recipe = small_recipe(optimizer=optimizer, checkpoint_activations=True)
    train(frugal, small_data(), recipe)
    assert weights_equal(plain, frugal)


def test_it_keeps_fewer_numbers_for_the_backward_pass():
    kept = []
    for frugal in (False, True):
        sizes: list[int] = []
        model = small_model()
        loop = Loop(model, small_data(), small_recipe(checkpoint_activations=frugal))
        batch = small_data().batch(0, 4)
        with saved_tensors_hooks(lambda t, n=sizes: n.append(t.numel()) or t, lambda t: t):
            assert loop.model is model.train()
            model.loss(batch.ids, batch.targets)
        kept.append(sum(sizes))
    assert kept[1] < kept[0] / 2


def test_a_copy_of_such_a_model_computes_with_its_own_weights():
    model = small_model()
    train(model, small_data(), small_recipe(steps=2, checkpoint_activations=True))
    other = copy.deepcopy(model)
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.mul_(2.0)
    ids = small_data().batch(0, 2).ids
    fresh = small_model()
    fresh.load_state_dict(other.state_dict())
    assert torch.equal(other.train()(ids), fresh.train()(ids))
