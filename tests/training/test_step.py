"""One step: the right gradient, the right update, and no update from a number gone wrong."""

import math
import re

import pytest
import torch

from glassformer.errors import GlassformerError
from glassformer.model import Decoder
from glassformer.trace import SILENT
from glassformer.training.data import Batch
from glassformer.training.evaluate import evaluate
from glassformer.training.optimizer import Optimizer
from glassformer.training.step import (
    NonFiniteError,
    accumulate_gradient,
    clip_and_check,
    dropout_seed,
)
from tests.training.small import small_data, small_model, small_recipe


def gradients(model):
    return {name: p.grad.clone() for name, p in model.named_parameters()}


def test_accumulated_batches_give_the_gradient_of_one_big_batch():
    model, recipe = small_model().double(), small_recipe()
    together = small_data().batch(0, 6).map(torch.clone)
    together.targets[0, :5] = -100  # unequal counts: the parts must be weighed by them
    accumulate_gradient(model, model.loss, [together], recipe, step=1)
    expected = gradients(model)
    parts = [Batch(together.ids[i : i + 2], together.targets[i : i + 2]) for i in (0, 2, 4)]
    accumulate_gradient(model, model.loss, parts, recipe, step=1)
    for name, gradient in gradients(model).items():
        # float64 sums of a few hundred terms in another order
        torch.testing.assert_close(gradient, expected[name], rtol=1e-12, atol=1e-15)


def test_a_batch_that_asks_for_nothing_takes_no_part_wherever_it_stands():
    model, recipe = small_model().double(), small_recipe()
    asked = small_data().batch(0, 2)
    nothing = Batch(asked.ids, torch.full_like(asked.targets, -100))
    loss = accumulate_gradient(model, model.loss, [asked], recipe, step=1)
    expected = gradients(model)
    for batches in ([nothing, asked], [asked, nothing], [nothing, asked, nothing]):
        assert accumulate_gradient(model, model.loss, batches, recipe, step=1) == loss
        assert all(torch.equal(g, expected[name]) for name, g in gradients(model).items())
        assert evaluate(model, batches).loss == evaluate(model, [asked]).loss
    for measured in (
        lambda: accumulate_gradient(model, model.loss, [nothing, nothing], recipe, step=1),
        lambda: evaluate(model, [nothing]),
    ):
        with pytest.raises(GlassformerError, match="no target is asked for in any"):
            measured()


def test_the_same_step_draws_the_same_dropout_and_another_step_another():
    model, recipe = small_model(dropout=0.3).train(), small_recipe()
    batch = small_data().batch(0, 4)
    losses = []
    for step in (1, 1, 2):
        torch.rand(5)  # someone else draws numbers in between
        losses.append(float(accumulate_gradient(model, model.loss, [batch], recipe, step)))
    assert losses[0] == losses[1] != losses[2]


def test_clipping_scales_the_gradient_to_the_norm_and_reports_the_norm_before():
    model, batch = small_model(), small_data().batch(0, 4)
    loss = accumulate_gradient(model, model.loss, [batch], small_recipe(), 1)
    before = math.sqrt(sum(float(g.double().square().sum()) for g in gradients(model).values()))
    recipe = small_recipe(clip=before / 10)
    _, norm = clip_and_check(model, loss, [batch], recipe, 1)
    after = math.sqrt(sum(float(g.double().square().sum()) for g in gradients(model).values()))
    assert norm == pytest.approx(before, rel=1e-6)  # fp32 norm against float64
    assert after == pytest.approx(before / 10, rel=1e-5)  # torch divides by norm + 1e-6


@pytest.mark.parametrize("optimizer_name", ["adamw", "muon"])
def test_weight_decay_shrinks_matrices_only(optimizer_name):
    model = small_model()
    recipe = small_recipe(weight_decay=0.5, optimizer=optimizer_name, muon_lr=1e-2)
    optimizer = Optimizer(model, recipe)
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)  # leaves decay as the only force
    optimizer.step(1e-2)
    for name, parameter in model.named_parameters():
        # both: w * (1 - lr * weight_decay), lr = 1e-2
        kept = 1 - 1e-2 * 0.5 if parameter.ndim >= 2 else 1.0
        torch.testing.assert_close(parameter.detach(), before[name] * kept)


def step_with(model, batch, recipe=None):
    recipe = recipe or small_recipe()
    loss = accumulate_gradient(model, model.loss, [batch], recipe, 3)
    return clip_and_check(model, loss, [batch], recipe, 3)


def test_a_weight_that_is_not_finite_is_named():
    model = small_model()
    with torch.no_grad():
        model.weights()["blocks.1.mlp.W_in"][2, 3] = math.nan
    with pytest.raises(
        NonFiniteError, match=r"step 3: the loss is nan.*weight blocks\.1\.mlp\.W_in"
    ):
        step_with(model, small_data().batch(0, 4))


def test_an_activation_that_overflows_is_named_by_the_step_where_it_first_does():
    model = small_model()
    with torch.no_grad():
        model.weights()["blocks.1.mlp.W_in"].fill_(3e38)  # finite, but the sum of products is not
    with pytest.raises(NonFiniteError, match=r"first value .* is fwd/blocks\.1\.mlp\.pre;"):
        step_with(model, small_data().batch(0, 4))


class KinkedLoss(Decoder):
    """A loss that is finite and has no slope: sqrt(x - x) gives 0 and inf - inf."""

    def loss(self, ids, targets, tape=SILENT, begins=None, reference=None, beta=None):
        weight = self.weights()["blocks.0.mlp.W_out"][0, 0]
        return super().loss(ids, targets, tape, begins, reference, beta) + (weight - weight).sqrt()


def test_a_gradient_that_is_not_finite_under_a_finite_loss_is_named():
    model = KinkedLoss(small_model().config)
    with pytest.raises(NonFiniteError, match=r"the gradient of blocks\.0\.mlp\.W_out is not"):
        step_with(model, small_data().batch(0, 4))


def test_gradients_whose_norm_overflows_are_named_by_the_largest():
    model = small_model(norm_position="none", final_norm=False, activation="relu", tied=False)
    with torch.no_grad():
        for name, weight in model.weights().items():
            weight.mul_(1e30 if name == "unembed.W_U" else 1e-12)
    with pytest.raises(NonFiniteError) as failure:
        step_with(model, small_data().batch(0, 4))
    assert re.search(r"but the gradient of \S+ reaches \S+e\+", str(failure.value))


def test_the_masked_half_of_the_scores_counts_as_healthy():
    loss, norm = step_with(small_model(), small_data().batch(0, 4))
    assert math.isfinite(loss)
    assert math.isfinite(norm)


def test_no_two_passes_of_a_run_draw_the_same_dropout_masks():
    drawn = [dropout_seed(0, step, micro) for step in range(30) for micro in range(3_000)]
    assert len({*drawn}) == len(drawn)
    # those of the runs that there are stay as they were
    assert dropout_seed(3, 7, 1_008) == (3 * 1_000_003 + 7) * 1_009 + 1_008
