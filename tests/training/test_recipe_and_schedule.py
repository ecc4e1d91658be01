"""A recipe checks itself; the schedule rises, then falls."""

import itertools
import math

import pytest

from glassformer.errors import GlassformerError
from glassformer.model import load_preset, preset_names
from glassformer.training.recipe import Recipe
from glassformer.training.schedule import learning_rate


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("steps", 0, "must be at least 1"),
        ("lr", -0.1, "must be a finite number"),
        ("steps", 10**20, "the most there can be"),
        ("seed", 2**64, "give one below 2^64"),
        ("muon_lr", 0.0, "would leave every weight as it is"),
        ("momentum", 1.0, "below 1"),
        ("optimizer", "moun", "Did you mean 'muon'?"),
        ("lr", math.nan, "is not a number"),
        ("beta2", 1.0, "below 1"),
        ("decay", "cosin", "Did you mean 'cosine'?"),
        ("dtype", "fp16", "is none of fp32, bf16"),
    ],
)
def test_a_recipe_that_cannot_be_followed_is_refused_by_field(field, value, said):
    with pytest.raises(GlassformerError, match=field) as refusal:
        Recipe.from_dict({field: value})
    assert said in str(refusal.value)


def test_an_unknown_field_is_answered_with_the_nearest_one():
    with pytest.raises(GlassformerError, match="Did you mean 'batch_size'"):
        Recipe.from_dict({"batchsize": 4})


def test_a_recipe_survives_its_dictionary():
    recipe = Recipe(steps=7, lr=3e-4, decay="linear")
    assert Recipe.from_dict(recipe.to_dict()) == recipe


def test_every_preset_with_a_training_table_is_a_recipe():
    tables = [load_preset(name).get("training") for name in preset_names()]
    assert [Recipe.from_dict(table) for table in tables if table]


@pytest.mark.parametrize("decay", ["cosine", "linear"])
def test_the_learning_rate_rises_to_its_peak_and_falls_to_the_end(decay):
    recipe = Recipe(steps=100, warmup_steps=10, lr=1.0, decay=decay, final_lr=0.1)
    rates = [learning_rate(recipe, step) for step in range(1, 101)]
    assert rates[:10] == [step / 11 for step in range(1, 11)]
    assert rates[10] == 1.0
    assert all(a > b for a, b in itertools.pairwise(rates[10:]))
    assert 0.1 < rates[-1] < 0.12
    middle = rates[55]  # halfway down both decays are at the mean of peak and end
    assert math.isclose(middle, 0.55, rel_tol=1e-12)


def test_a_run_shorter_than_its_warm_up_still_reaches_the_peak():
    recipe = Recipe(steps=10, warmup_steps=50, lr=1.0)
    assert max(learning_rate(recipe, step) for step in range(1, 11)) == 1.0
