"""A watched training step on disk."""

from glassformer.trace import Trace
from glassformer.training.recipe import Recipe
from glassformer.training.watched import watch_step
from tests.model.variety import config_of, random_ids, random_model


def test_a_step_without_clipping_can_be_saved_and_is_still_explained(tmp_path):
    model = random_model(config_of("gpt2"), 4)
    ids = random_ids(model.config, 4)
    recipe = Recipe(clip=0)
    trace = watch_step(model, ids, ids, recipe=recipe, lr=0.02, t=1).trace
    saved = Trace.load(trace.save(tmp_path / "step"))
    explanation = saved.explain("opt/clip")
    assert explanation.value == 1
    assert explanation.agrees
