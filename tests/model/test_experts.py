"""Experts: only the chosen ones are computed, and what is said of them is what happened."""

from typing import Any

import numpy as np
import pytest
import torch

from glassformer.errors import GlassformerError
from glassformer.lab import ablate
from glassformer.lab.edits import without_expert, without_neuron
from glassformer.model import Config
from glassformer.training.data import Batch
from glassformer.training.health import dead_units
from tests.model.variety import config_of, random_ids, random_model

LAYER = 1  # of "like gpt-oss": the layer below it has one MLP for all tokens


@pytest.fixture(scope="module")
def model():
    return random_model(config_of("like gpt-oss"), 0)


@pytest.fixture(scope="module")
def trace(model):
    return model.watch(random_ids(model.config, 0))


def test_a_token_goes_to_the_experts_with_the_highest_scores_and_no_other_has_a_weight(trace):
    scores, weights = trace["blocks.1.mlp.router_scores"], trace["blocks.1.mlp.expert_weights"]
    experts = trace["blocks.1.mlp.experts"]
    assert torch.equal(experts, scores.topk(3).indices)
    assert torch.equal((weights > 0).sum(-1), torch.full(weights.shape[:2], 3))
    chosen = scores.softmax(-1).gather(-1, experts)
    torch.testing.assert_close(
        weights.gather(-1, experts), chosen, rtol=1e-14, atol=0
    )  # of rounding


def test_an_expert_that_is_switched_off_gives_nothing_and_the_others_what_they_gave(model, trace):
    ids = random_ids(model.config, 0)
    expert = int(trace["blocks.1.mlp.experts"][0, 0, 0])
    without = model.watch(ids, edit=without_expert(model.config, LAYER, expert))
    gone = trace["blocks.1.mlp.expert_weights"][..., expert, None]
    part = (trace["blocks.1.mlp.experts"] == expert)[..., None] * trace["blocks.1.mlp.expert_out"]
    lost = trace["blocks.1.mlp.mlp_out"] - without["blocks.1.mlp.mlp_out"]
    torch.testing.assert_close(lost, gone * part.sum(-2), rtol=1e-12, atol=1e-12)  # of rounding


def test_tokens_that_go_elsewhere_do_not_notice(model, trace):
    unused = {*range(5)} - {*trace["blocks.1.mlp.experts"][0, :1].flatten().tolist()}
    comparison = ablate(model, random_ids(model.config, 0)[:1, :1], experts=[(LAYER, min(unused))])
    assert torch.equal(comparison.before["logits"], comparison.after["logits"])


def test_what_is_no_expert_is_not_switched_off(model):
    for call, said in (
        (lambda c: without_expert(c, 0, 1), "layer 0 has no experts"),
        (lambda c: without_expert(c, LAYER, 5), "experts go from 0 to 4"),
        (lambda c: without_neuron(c, LAYER, 1), "layer 1 has experts"),
    ):
        with pytest.raises(GlassformerError, match=said):
            call(model.config)


def test_numbers_of_experts_that_make_no_sense_are_refused():
    small: dict[str, Any] = {"vocab_size": 9, "n_ctx": 4, "d_model": 6, "n_layers": 2, "n_heads": 3}
    cases: tuple[tuple[dict[str, Any], str], ...] = (
        ({"n_experts": 2, "gated": True}, "experts_per_token=0 must be from 1"),
        ({"n_experts": 2, "experts_per_token": 3, "gated": True}, "from 1 to n_experts=2"),
        ({"n_experts": 2, "experts_per_token": 1}, "give gated=True"),
    )
    for wrong, said in cases:
        with pytest.raises(GlassformerError, match=said):
            Config(**small, **wrong)


def test_a_neuron_is_dead_if_no_token_of_its_expert_wakes_it():
    model = random_model(config_of("like gpt-oss"), 1)
    with torch.no_grad():
        model.weights()["blocks.1.mlp.b_router"][2] = -1e3  # nobody goes there
    ids = random_ids(model.config, 0)
    trace = model.watch(ids)
    awake = set()
    for where, expert in np.ndenumerate(trace["blocks.1.mlp.experts"].numpy()):
        post = trace["blocks.1.mlp.post"][where]
        awake |= {(int(expert), int(neuron)) for neuron in (post > 0).nonzero()}
    dead = dead_units(model, Batch(ids, ids))
    assert dead["blocks.1"] == pytest.approx(1 - len(awake) / 25)
    assert len(awake) <= 20


def test_where_every_expert_reads_every_token_the_logits_are_the_same(model, monkeypatch):
    """As when it is compiled, where sizes may not follow from who went where."""
    ids = random_ids(model.config, 0)
    with torch.no_grad():
        sorted_by_expert = model(ids)
        monkeypatch.setattr("glassformer.kernels.experts.torch.compiler.is_compiling", lambda: True)
        of_all = model(ids)
    # the same sums in another order, in float64
    torch.testing.assert_close(of_all, sorted_by_expert, rtol=1e-12, atol=1e-12)
    assert not torch.equal(of_all, torch.zeros_like(of_all))
