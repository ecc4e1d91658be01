"""Every gradient is explained by its consumers, and agrees with autograd and with nudges."""

import random
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from glassformer.errors import GlassformerError
from glassformer.trace import Address
from tests.model.variety import (
    KINDS,
    config_of,
    configs,
    random_ids,
    random_model,
    random_targets,
)
from tests.trace.test_explain import some_address

# float64 rounding, through sums of at most a few hundred terms of very different sizes
RELATIVE = 1e-10
FLOAT64_NOISE = 1e-15


def watched(config, seed, dtype=torch.float64):
    model = random_model(config, seed, dtype)
    ids = random_ids(config, seed)
    targets = random_targets(config, seed, ids)
    return model, ids, targets, model.watch(ids, targets, backward=True)


def gradients_of(trace):
    return [node for node in trace.computed if node.kind == "bwd"]


def finite_address(trace, node, rng):
    """A gradient of a number that can be nudged: a masked score can't."""
    kind = "fwd" if f"fwd/{node.name}" in trace.nodes else "weight"
    while True:
        where = Address.parse(some_address(node, rng))
        if trace[replace(where, kind=kind)].isfinite():
            return str(where)


def assert_explained(trace, address):
    explanation = trace.explain(address)
    assert explanation.agrees, f"{explanation}"
    if trace[address].dtype == torch.float64:
        size = max([abs(explanation.value), *(abs(t.value) for t in explanation.terms)])
        assert explanation.error <= RELATIVE * size + FLOAT64_NOISE, f"{explanation}"
    for operand in explanation.operands:
        assert operand.value == trace[operand.address].item(), operand


@pytest.mark.parametrize("name", KINDS)
def test_every_gradient_of_every_kind_of_model_is_the_sum_of_what_its_consumers_send(name):
    *_, trace = watched(config_of(name), 5)
    rng = random.Random(0)
    for node in gradients_of(trace):
        assert_explained(trace, some_address(node, rng))


@given(configs(), st.sampled_from([torch.float64, torch.float32]), st.integers(0, 999))
@settings(max_examples=4)
def test_random_configurations_explain_random_gradients(config, dtype, seed):
    *_, trace = watched(config, seed, dtype)
    rng = random.Random(seed)
    for node in gradients_of(trace):
        assert_explained(trace, some_address(node, rng))


@given(configs(), st.integers(0, 999))
@settings(max_examples=6)
def test_recorded_weight_gradients_are_those_of_a_plain_backward_pass(config, seed):
    model, ids, targets, trace = watched(config, seed)
    model.loss(ids, targets).backward()  # silent: fused kernels, ordinary autograd
    views = {
        view.name: view.value
        for view in model.views(lambda p: torch.zeros_like(p) if p.grad is None else p.grad)
    }
    for name, gradient in views.items():
        # the fused kernels add in another order, and a norm over two numbers magnifies rounding
        largest = max(1.0, gradient.abs().max().item())
        recorded = trace[f"bwd/{name}"].view_as(gradient)
        torch.testing.assert_close(recorded, gradient, rtol=0, atol=1e-9 * largest)
    for name, parameter in model.named_parameters():
        assert trace.parameter_gradients[name].shape == parameter.shape


@pytest.mark.parametrize("name", KINDS)
def test_a_finite_difference_finds_the_same_slope(name):
    *_, trace = watched(config_of(name), 11)
    rng = random.Random(1)
    nodes = [node for node in gradients_of(trace) if node.name != "loss"]
    for node in rng.sample(nodes, min(3, len(nodes))):
        explanation = trace.explain(finite_address(trace, node, rng), check=True)
        difference = explanation.difference
        assert difference is not None
        gap = abs(explanation.value - difference.value)
        assert gap <= max(1e-6 * abs(explanation.value), difference.error), f"{explanation}"


@given(configs(), st.integers(0, 99))
@settings(max_examples=4)
def test_finite_differences_agree_on_random_configurations(config, seed):
    *_, trace = watched(config, seed)
    rng = random.Random(seed)
    for node in rng.sample(gradients_of(trace)[1:], 4):
        explanation = trace.explain(finite_address(trace, node, rng), check=True)
        assert explanation.difference is not None
        gap = abs(explanation.value - explanation.difference.value)
        allowed = max(1e-6 * abs(explanation.value), explanation.difference.error)
        assert gap <= allowed, f"{explanation}"


def test_every_gradient_leads_up_to_the_loss():
    *_, trace = watched(config_of("gpt2"), 2)
    waiting, seen = ["bwd/embed.W_E"], set()
    while waiting:
        path = waiting.pop()
        if path not in seen and path.startswith("bwd/"):
            seen.add(path)
            waiting += trace.nodes[path].operands.values()
    assert "bwd/loss" in seen
    assert trace["bwd/loss"] == 1.0
    assert trace.explain("bwd/loss").operands == []


def test_every_value_that_the_loss_depends_on_has_a_gradient():
    *_, trace = watched(config_of("gpt2"), 2)
    aside = {"probs"}  # shown beside the loss, not part of it
    for node in trace.computed:
        if node.kind == "fwd" and node.name not in aside:
            assert f"bwd/{node.name}" in trace.nodes, node.name
    for leaf in trace.leaves:
        assert (f"bwd/{leaf.name}" in trace.nodes) == (leaf.kind == "weight"), leaf.name


def test_a_masked_score_has_no_gradient():
    *_, trace = watched(config_of("gpt2"), 2)
    assert trace["bwd/blocks.0.attn.scores_scaled[batch=0,head=0,query=1,key=3]"] == 0.0
    explanation = trace.explain("bwd/blocks.0.attn.scores_scaled[batch=0,head=0,query=1,key=3]")
    assert explanation.recomputed == 0.0


def test_a_masked_score_is_not_nudged():
    *_, trace = watched(config_of("gpt2"), 2)
    with pytest.raises(
        GlassformerError, match=r"attn_scores\[.*\] is -inf, which no nudge changes"
    ):
        trace.explain("bwd/blocks.0.attn.attn_scores[batch=0,head=0,query=1,key=3]", check=True)


def test_a_kink_is_flagged():
    config = config_of("no norms")
    model = random_model(config, 0)
    with torch.no_grad():
        model.weights()["blocks.0.mlp.W_in"].zero_()
        model.weights()["blocks.0.mlp.b_in"].zero_()
    ids = random_ids(config, 0)
    trace = model.watch(ids, random_targets(config, 0, ids), backward=True)
    at = "[batch=0,pos=0,d_mlp=0]"
    for address in (f"blocks.0.mlp.post{at}", f"bwd/blocks.0.mlp.pre{at}"):
        assert any("kink" in flag for flag in trace.explain(address).flags), address


def test_watching_backward_leaves_the_model_as_it_was():
    config = config_of("post-norm")
    model = random_model(config, 0)
    before = {name: p.clone() for name, p in model.named_parameters()}
    ids = random_ids(config, 0)
    trace = model.watch(ids, random_targets(config, 0, ids), backward=True)
    trace.explain(some_address(trace.nodes["bwd/embed.W_E"], random.Random(0)), check=True)
    for name, parameter in model.named_parameters():
        assert torch.equal(parameter, before[name])
        assert parameter.grad is None


def test_gradients_are_also_found_by_name():
    *_, trace = watched(config_of("gpt2"), 2)
    assert torch.equal(trace.grad["blocks.0.attn.q"], trace["bwd/blocks.0.attn.q"])


def test_a_backward_pass_needs_targets():
    model = random_model(config_of("gpt2"), 0)
    with pytest.raises(GlassformerError, match="give targets"):
        model.watch(random_ids(model.config, 0), backward=True)


def test_only_a_gradient_can_be_checked_by_nudging():
    *_, trace = watched(config_of("gpt2"), 2)
    with pytest.raises(GlassformerError, match="has no finite difference"):
        trace.explain("loss", check=True)


def test_a_trace_notices_that_its_weights_were_changed():
    model, _, _, trace = watched(config_of("gpt2"), 2)
    with torch.no_grad():
        model.weights()["blocks.0.attn.W_Q"].mul_(2)
    with pytest.raises(GlassformerError, match="changed after this trace"):
        trace.explain("blocks.0.attn.q[batch=0,pos=0,head=0,d_head=0]")


def test_a_gradient_is_not_checked_against_weights_that_were_changed():
    model, _, _, trace = watched(config_of("gpt2"), 2)
    with torch.no_grad():
        model.weights()["blocks.0.attn.W_Q"].mul_(2)
    with pytest.raises(GlassformerError, match="changed after this trace"):
        trace.explain("bwd/blocks.0.resid_pre[batch=0,pos=0,d_model=0]", check=True)


def test_gradients_checked_at_the_same_time_are_those_checked_one_after_the_other():
    *_, trace = watched(config_of("gpt2"), 2)
    *_, again = watched(config_of("gpt2"), 2)
    rng = random.Random(0)
    addresses = [
        some_address(node, rng)
        for node in gradients_of(trace)
        if "weight/" + node.name in trace.nodes
    ]
    addresses = rng.sample(addresses, 8)
    alone = [trace.explain(address, check=True).difference for address in addresses]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda a: again.explain(a, check=True).difference, addresses))
    assert together == alone


def test_a_trace_over_its_budget_is_refused_with_the_size_it_would_have_had():
    config = config_of("gpt2")
    model = random_model(config, 0)
    ids = random_ids(config, 0)
    targets = random_targets(config, 0, ids)
    full = model.watch(ids, targets, backward=True).nbytes
    assert model.watch(ids, targets, backward=True, budget_bytes=full).nbytes == full
    with pytest.raises(GlassformerError) as refusal:
        model.watch(ids, targets, backward=True, budget_bytes=full - 1)
    assert f"{full / 1e9:.3g} GB" in str(refusal.value)
    kept = model.watch(ids, targets, keep="*.resid_post,logits", budget_bytes=full // 10)
    assert kept.nbytes == sum(s.nbytes for s in kept.computed if s.value is not None)


def test_what_is_kept_of_a_backward_pass_never_changes_what_there_is():
    config = config_of("gpt2")
    model = random_model(config, 0)
    ids = random_ids(config, 0)
    targets = random_targets(config, 0, ids)
    full = model.watch(ids, targets, backward=True)
    few = model.watch(ids, targets, backward=True, keep="*.resid_post,logits")
    assert list(few.nodes) == list(full.nodes)
    assert all(few.nodes[p].dtype == node.dtype for p, node in full.nodes.items())
    kept = [node for node in few.computed if node.value is not None]
    assert {node.short for node in kept} == {"resid_post", "logits"}
    for node in kept:
        torch.testing.assert_close(node.value, full.nodes[node.path].value, rtol=0, atol=0)
    for name, gradient in full.parameter_gradients.items():
        torch.testing.assert_close(few.parameter_gradients[name], gradient, rtol=0, atol=0)
