"""A watched training step is the optimizer's own, and every number of it is explained."""

import random
import subprocess
import sys
from copy import deepcopy

import pytest
import torch

from glassformer.kernels.newton_schulz import work_dtype
from glassformer.model import Decoder
from glassformer.training.muon import Muon, matrices, muon_parameters
from glassformer.training.recipe import Recipe
from glassformer.training.watched import watch_step, zero_moments
from glassformer.watch.update import record_descent
from tests.model.variety import config_of, random_ids, random_model, random_targets
from tests.trace.test_explain import some_address

RECIPE = Recipe(lr=3e-2, clip=0.5, weight_decay=0.1, beta1=0.9, beta2=0.97)
MUON = RECIPE.replace(optimizer="muon", muon_lr=0.05, momentum=0.9)


def torch_adamw(model: Decoder) -> torch.optim.AdamW:
    matrices = [p for p in model.parameters() if p.ndim >= 2]
    vectors = [p for p in model.parameters() if p.ndim < 2]
    groups = [
        {"params": matrices, "weight_decay": RECIPE.weight_decay},
        {"params": vectors, "weight_decay": 0.0},
    ]
    groups = [group for group in groups if group["params"]]
    betas = (RECIPE.beta1, RECIPE.beta2)
    return torch.optim.AdamW(groups, lr=RECIPE.lr, betas=betas, foreach=False, fused=False)


def test_a_recorded_step_of_gradient_descent_is_torchs_bit_for_bit_and_explained():
    config = config_of("gpt2")
    model, ids = random_model(config, 0), random_ids(config, 1, 2, 6)
    targets = random_targets(config, 2, ids)
    trace = model.watch(ids, targets, backward=True)
    record_descent(trace, model, 0.3)
    trained = deepcopy(model)
    for name, parameter in trained.named_parameters():
        parameter.grad = trace.parameter_gradients[name].clone()
    torch.optim.SGD(trained.parameters(), lr=0.3).step()
    for name, weight in trained.weights().items():
        assert torch.equal(trace.value_of(trace.node(f"opt/{name}")), weight)
        address = some_address(trace.node(f"opt/{name}"), random.Random(0))
        assert trace.explain(address).agrees


BOTH_DTYPES = pytest.mark.parametrize(
    "dtype", [torch.float32, pytest.param(torch.float64, marks=pytest.mark.heavy)], ids=str
)


@BOTH_DTYPES
@pytest.mark.parametrize("name", ["gpt2", "no norms", "post-norm", "no biases"])
def test_watched_steps_leave_the_weights_that_adamw_leaves_bit_for_bit(name, dtype):
    model = random_model(config_of(name), 1, dtype)
    plain = random_model(config_of(name), 1, dtype)
    optimizer = torch_adamw(plain)
    moments = zero_moments(model)
    ids = random_ids(model.config, 1)
    targets = random_targets(model.config, 1, ids)
    for t in range(1, 4):
        watched = watch_step(model, ids, targets, recipe=RECIPE, moments=moments, lr=RECIPE.lr, t=t)
        same = plain.watch(ids, targets, backward=True).parameter_gradients
        for parameter_name, parameter in plain.named_parameters():
            parameter.grad = same[parameter_name].clone()
        torch.nn.utils.clip_grad_norm_(plain.parameters(), RECIPE.clip)
        optimizer.step()
        model, moments = watched.model, watched.moments
        for ours, reference in zip(model.parameters(), plain.parameters(), strict=True):
            assert torch.equal(ours, reference)
        for parameter_name, parameter in plain.named_parameters():
            state = optimizer.state[parameter]
            assert torch.equal(moments[f"exp_avg.{parameter_name}"], state["exp_avg"])
            assert torch.equal(moments[f"exp_avg_sq.{parameter_name}"], state["exp_avg_sq"])


@torch.no_grad()
def muon_by_hand(
    model: Decoder,
    averages: dict[str, torch.Tensor],
    gradients: dict[str, torch.Tensor],
    recipe: Recipe,
) -> None:
    """Muon on one matrix after the other, in PyTorch's own functions; the averages change too."""
    named = muon_parameters(model, recipe)
    ahead = {}
    for name, parameter in named.items():
        m, g = averages[f"exp_avg.{name}"], gradients[name]
        m.lerp_(g, 1 - recipe.momentum)
        ahead[id(parameter)] = g.lerp(m, recipe.momentum)
        parameter.mul_(1 - recipe.muon_lr * recipe.weight_decay)
    looked_ahead = matrices(model, lambda p: ahead.get(id(p), p))
    for (_, weight, scale), (_, matrix, _) in zip(matrices(model), looked_ahead, strict=True):
        x = (matrix / (matrix.square().sum().sqrt() + 1e-7)).to(work_dtype(matrix, recipe.dtype))
        for _ in range(5):
            gram = x @ x.T
            poly = torch.addmm(gram, gram, gram, beta=-4.7750, alpha=2.0315)
            x = torch.addmm(x, poly, x, beta=3.4445)
        weight.sub_(x.to(weight.dtype), alpha=recipe.muon_lr * scale)


@BOTH_DTYPES
@pytest.mark.parametrize(
    ("name", "products"),
    [("gpt2", "fp32"), ("fast", "bf16"), ("wide heads", "fp32")],
)
def test_watched_steps_leave_the_weights_that_muon_leaves_bit_for_bit(name, products, dtype):
    recipe = MUON.replace(dtype=products)
    model, plain = (random_model(config_of(name), 1, dtype) for _ in "ab")
    rest = {n: p for n, p in plain.named_parameters() if n not in muon_parameters(plain, MUON)}
    betas = (MUON.beta1, MUON.beta2)
    groups = [
        {"params": [p for p in rest.values() if p.ndim >= 2], "weight_decay": MUON.weight_decay},
        {"params": [p for p in rest.values() if p.ndim < 2], "weight_decay": 0.0},
    ]
    groups = [group for group in groups if group["params"]]
    optimizer = torch.optim.AdamW(groups, lr=MUON.lr, betas=betas, foreach=False, fused=False)
    moments, averages = zero_moments(model), zero_moments(plain)
    ids = random_ids(model.config, 1)
    targets = random_targets(model.config, 1, ids)
    for t in range(1, 4):
        watched = watch_step(model, ids, targets, recipe=recipe, moments=moments, lr=MUON.lr, t=t)
        for n, gradient in plain.watch(ids, targets, backward=True).parameter_gradients.items():
            plain.get_parameter(n).grad = gradient.clone()
        torch.nn.utils.clip_grad_norm_(plain.parameters(), MUON.clip)
        optimizer.step()
        grads = {n: p.grad for n, p in plain.named_parameters() if p.grad is not None}
        muon_by_hand(plain, averages, grads, recipe)
        model, moments = watched.model, watched.moments
        for ours, reference in zip(model.parameters(), plain.parameters(), strict=True):
            assert torch.equal(ours, reference)
        for n in muon_parameters(plain, MUON):
            assert torch.equal(moments[f"exp_avg.{n}"], averages[f"exp_avg.{n}"])
            assert f"exp_avg_sq.{n}" not in moments


@pytest.mark.parametrize(
    ("dtype", "products", "gap"),
    [(torch.float32, "bf16", 4e-3), (torch.float32, "fp32", 2e-6), (torch.float64, "fp32", 1e-13)],
)
def test_training_in_stacks_stays_near_the_watched_step(dtype, products, gap):
    """Of a step of length 1 per direction, some units of the roundoff of the products."""
    recipe = MUON.replace(dtype=products)
    model = random_model(config_of("fast"), 4, dtype)
    ids = random_ids(model.config, 4)
    targets = random_targets(model.config, 4, ids)
    watched = watch_step(model, ids, targets, recipe=recipe, lr=MUON.lr, t=1)
    muon = Muon(model, recipe)
    for n, parameter in model.named_parameters():
        parameter.grad = watched.trace.parameter_gradients[n] * watched.trace["opt/clip"]
    muon.step(MUON.muon_lr)
    for ours, other in zip(matrices(model), matrices(watched.model), strict=True):
        difference = (ours.value - other.value).norm() / (MUON.muon_lr * ours.scale)
        assert difference / min(ours.value.shape) ** 0.5 < gap, ours.name


@pytest.mark.parametrize("recipe", [RECIPE, MUON], ids=["adamw", "muon"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_every_number_of_the_update_is_explained(dtype, recipe):
    model = random_model(config_of("gpt2"), 4, dtype)
    ids = random_ids(model.config, 4)
    targets = random_targets(model.config, 4, ids)
    moments = zero_moments(model)
    for t in (1, 2):
        watched = watch_step(model, ids, targets, recipe=recipe, moments=moments, lr=0.02, t=t)
        model, moments = watched.model, watched.moments
    rng = random.Random(0)
    updates = [step for step in watched.trace.computed if step.kind == "opt"]
    assert len(updates) > 8 * len(model.weights())
    moved = {step.name.removesuffix(".change") for step in updates if step.role == "change"}
    assert moved == model.weights().keys()
    for step in updates:
        explanation = watched.trace.explain(some_address(step, rng))
        assert explanation.agrees, f"{explanation}"
        for operand in explanation.operands:
            assert operand.value == watched.trace[operand.address].item()


@pytest.mark.parametrize("recipe", [RECIPE, MUON], ids=["adamw", "muon"])
def test_a_new_weight_leads_back_to_its_gradient_and_up_to_the_loss(recipe):
    model = random_model(config_of("gpt2"), 4)
    ids = random_ids(model.config, 4)
    targets = random_targets(model.config, 4, ids)
    trace = watch_step(model, ids, targets, recipe=recipe, lr=0.02, t=1).trace
    waiting, seen = ["opt/blocks.0.attn.W_Q"], set()
    while waiting:
        path = waiting.pop()
        if path not in seen:
            seen.add(path)
            waiting += trace.nodes[path].operands.values()
    assert {"bwd/loss", "opt/clip", "opt/grad_norm", "weight/embed.W_E", "token/ids"} <= seen


READ_IN_A_FRESH_PROCESS = """
import sys
from glassformer.trace import Trace
trace = Trace.load(sys.argv[1])
for address in sys.argv[2:]:
    assert trace.explain(address).agrees, address
    print(trace.explain(address).summary)
"""


def test_a_step_that_was_saved_explains_itself_in_a_process_that_never_trained(tmp_path):
    model = random_model(config_of("gpt2"), 4)
    ids = random_ids(model.config, 4)
    targets = random_targets(model.config, 4, ids)
    trace = watch_step(model, ids, targets, recipe=MUON, lr=0.02, t=1).trace
    trace.save(tmp_path / "trace")
    asked = ["opt/clip", "opt/blocks.0.mlp.W_in.step_gram_2[d_model=3,other=2]"]
    command = [sys.executable, "-c", READ_IN_A_FRESH_PROCESS, str(tmp_path / "trace"), *asked]
    shown = subprocess.run(command, capture_output=True, text=True)
    assert shown.returncode == 0, shown.stderr
    assert [line.split()[0] for line in shown.stdout.splitlines()] == ["A", "Each"]


@pytest.mark.parametrize("recipe", [RECIPE, MUON], ids=lambda r: r.optimizer)
def test_axes_of_length_one_are_updated_too(recipe):
    config = config_of("post-norm").replace(vocab_size=1, d_head=1, d_mlp=1)
    model = random_model(config, 1)
    ids = random_ids(config, 1)
    watched = watch_step(model, ids, ids, recipe=recipe, lr=0.1, t=1)
    for view in watched.model.views():
        new = watched.trace.value_of(watched.trace.node(f"opt/{view.name}"))
        assert torch.equal(view.value, new)


def test_watching_a_step_changes_nothing():
    model = random_model(config_of("gpt2"), 4)
    before = {name: p.clone() for name, p in model.named_parameters()}
    moments = zero_moments(model)
    ids = random_ids(model.config, 4)
    targets = random_targets(model.config, 4, ids)
    watched = watch_step(model, ids, targets, recipe=RECIPE, moments=moments, lr=0.02, t=1)
    assert all(torch.equal(p, before[name]) for name, p in model.named_parameters())
    assert all((value == 0).all() for value in moments.values())
    changed = dict(watched.model.named_parameters())
    assert not torch.equal(changed["blocks.0.attn.W_O"], before["blocks.0.attn.W_O"])


def test_the_fused_kernel_stays_within_a_few_roundings_of_the_watched_update():
    model = random_model(config_of("gpt2"), 4, torch.float32)
    ids = random_ids(model.config, 4)
    targets = random_targets(model.config, 4, ids)
    watched = watch_step(model, ids, targets, recipe=RECIPE, lr=0.02, t=1)
    for name, parameter in model.named_parameters():
        parameter.grad = watched.trace.parameter_gradients[name].clone()
    torch.nn.utils.clip_grad_norm_(model.parameters(), RECIPE.clip)
    fused = torch.optim.AdamW(
        model.parameters(), lr=0.02, betas=(RECIPE.beta1, RECIPE.beta2), weight_decay=0, fused=True
    )
    fused.step()
    for name, parameter in model.named_parameters():
        if parameter.ndim < 2:  # no decay on these: the same rule on both sides
            # 4 units in the last place of weights of size 1, which fp32 rounds to 6e-8
            gap = (parameter - dict(watched.model.named_parameters())[name]).abs().max()
            assert gap < 3e-7, name
