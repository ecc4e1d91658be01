"""Every number is explained by numbers that are recorded, and the explanation can be redone."""

import random

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from glassformer.formula.nodes import Drawn
from glassformer.trace import Trace
from tests.model.variety import (
    KINDS,
    VARIETY,
    config_of,
    configs,
    random_ids,
    random_model,
    random_targets,
)

DTYPES = [torch.float64, torch.float32, torch.bfloat16]


def watched(config, seed: int, dtype: torch.dtype, with_targets: bool = True) -> Trace:
    model = random_model(config, seed, dtype)
    ids = random_ids(config, seed)
    return model.watch(ids, random_targets(config, seed, ids) if with_targets else None)


def some_address(node, rng: random.Random) -> str:
    index = ",".join(f"{a}={rng.randrange(n)}" for a, n in zip(node.axes, node.shape, strict=True))
    return f"{node.path}[{index}]"


def same(a: float, b: float) -> bool:
    return a == b or (a != a and b != b)


def check_every_step(trace: Trace, rng: random.Random, elements: int) -> None:
    for node in trace.computed:
        for _ in range(elements):
            explanation = trace.explain(some_address(node, rng))
            assert explanation.agrees, f"{explanation}"
            assert same(explanation.value, trace[explanation.address].item())
            for operand in explanation.operands:
                assert same(operand.value, trace[operand.address].item()), operand
            assert node.short in explanation.arithmetic
            assert explanation.summary
            assert explanation.latex


@pytest.mark.parametrize(
    ("name", "dtype"),
    [
        *(pytest.param(*kind.values, torch.float32, marks=kind.marks) for kind in KINDS),
        *(("gpt2", dtype) for dtype in (torch.float64, torch.bfloat16)),
        *(
            pytest.param(name, dtype, marks=pytest.mark.heavy)
            for name in VARIETY
            if name != "gpt2"
            for dtype in (torch.float64, torch.bfloat16)
        ),
    ],
    ids=str,
)
def test_every_step_of_every_kind_of_model_explains_itself(name, dtype):
    trace = watched(config_of(name), 3, dtype)
    check_every_step(trace, random.Random(0), elements=1)


ANY_MODEL = given(configs(), st.sampled_from(DTYPES), st.integers(0, 999), st.booleans())


def check_any_model(config, dtype, seed, with_targets):
    trace = watched(config, seed, dtype, with_targets)
    check_every_step(trace, random.Random(seed), elements=1)


@ANY_MODEL
@settings(max_examples=5)
def test_every_step_of_some_models_explains_itself(config, dtype, seed, with_targets):
    check_any_model(config, dtype, seed, with_targets)


@pytest.mark.heavy
@ANY_MODEL
@settings(max_examples=60)
def test_every_step_of_any_model_explains_itself(config, dtype, seed, with_targets):
    check_any_model(config, dtype, seed, with_targets)


@pytest.mark.parametrize("name", KINDS)
def test_following_operands_ends_at_weights_tokens_and_constants(name):
    trace = watched(config_of(name), 3, torch.float32)
    rng = random.Random(1)
    ends = set()
    for _ in range(20):
        address = "fwd/loss"
        for _ in range(len(trace.nodes)):  # no path is longer than the trace
            operands = trace.explain(address).operands
            if not operands:
                break
            address = rng.choice(operands).address
        ends.add(trace.node(address).kind)
        assert trace.node(address).op is None
    assert ends <= {"weight", "token", "const"}


def test_every_operand_is_a_node_and_every_leaf_but_unused_rows_is_consumed():
    trace = watched(config_of("gpt2"), 3, torch.float32)
    for node in trace.computed:
        assert set(node.operands.values()) <= set(trace.nodes)
        for operand, path in node.operands.items():
            assert (node, operand) in trace.consumers(path)
    for leaf in trace.leaves:
        assert trace.consumers(leaf.path), leaf.path


def test_a_masked_target_and_what_belongs_to_its_place_say_that_nothing_is_asked_there():
    model = random_model(config_of("gpt2"), 3, torch.float32)
    trace = model.watch([[1, 2, 3]], [[2, -100, 4]], backward=True)
    names = ("token/targets", "fwd/token_loss", "fwd/target_logit", "bwd/token_loss")
    for name in names:
        asked, masked = (trace.explain(f"{name}[batch=0,pos={pos}]").flags for pos in (0, 1))
        assert asked == [], name
        assert masked == ["masked: not asked for"]
    assert trace.explain("fwd/loss").flags == []


def test_a_masked_score_is_minus_infinity_and_agrees():
    trace = watched(config_of("gpt2"), 3, torch.float32)
    masked = trace.explain("blocks.0.attn.attn_scores[batch=0,head=0,query=1,key=2]")
    assert masked.value == masked.recomputed == float("-inf")
    assert masked.error == 0
    assert masked.agrees
    assert any("masked" in flag for flag in masked.flags)
    weight = trace.explain("blocks.0.attn.pattern[batch=0,head=0,query=1,key=2]")
    assert weight.value == 0
    assert weight.agrees


def test_a_relu_exactly_at_its_corner_is_flagged():
    model = random_model(config_of("no norms"), 3)
    with torch.no_grad():
        model.weights()["blocks.0.mlp.W_in"][:, 0] = 0.0
        model.weights()["blocks.0.mlp.b_in"][0] = 0.0
    trace = model.watch(torch.tensor([[1, 2]]))
    corner = trace.explain("blocks.0.mlp.post[pos=1,d_mlp=0]")
    assert corner.value == 0
    assert any("kink" in flag for flag in corner.flags)
    other = trace.explain("blocks.0.mlp.post[pos=1,d_mlp=1]")
    assert not other.flags


def test_a_wrong_recorded_value_does_not_agree():
    trace = watched(config_of("gpt2"), 3, torch.float32)
    node = trace.node("blocks.0.attn.z")
    assert node.value is not None
    node.value[0, 0, 0, 0] += 1e-3
    assert not trace.explain("blocks.0.attn.z[batch=0,pos=0,head=0,d_head=0]").agrees
    assert "DOES NOT AGREE" in str(trace.explain("blocks.0.attn.z[batch=0,pos=0,head=0,d_head=0]"))


def test_what_is_not_a_number_is_explained_and_flagged():
    model = random_model(config_of("gpt2"), 3)
    with torch.no_grad():
        model.weights()["blocks.1.mlp.W_in"][0, 0] = float("nan")
    trace = model.watch(torch.tensor([[1, 2]]))
    broken = trace.explain("blocks.1.mlp.pre[pos=1,d_mlp=0]")
    assert broken.agrees
    assert any("not a number" in flag for flag in broken.flags)
    assert any(operand.value != operand.value for operand in broken.operands)


@pytest.mark.parametrize("name", KINDS)
def test_a_bound_is_tight_enough_to_mean_something(name):
    trace = watched(config_of(name), 3, torch.float32)
    rng = random.Random(4)
    for node in trace.computed:
        explanation = trace.explain(some_address(node, rng))
        # float32 has seven digits: an error in the fifth of the largest operand is always caught
        sizes = [abs(o.value) for o in explanation.operands if abs(o.value) < float("inf")]
        assert explanation.bound < 1e-5 * max(1.0, *sizes, *(s * s for s in sizes)), (
            f"{explanation}"
        )


def test_the_running_sum_ends_at_the_sum():
    trace = watched(config_of("no biases"), 3, torch.float64)
    explanation = trace.explain("blocks.1.mlp.pre[batch=1,pos=2,d_mlp=3]")
    assert len(explanation.terms) == 6
    assert [term.index for term in explanation.terms] == [{"d_model": i} for i in range(6)]
    # two summation orders of six float64 terms
    assert float(explanation.terms[-1].running) == pytest.approx(explanation.value, rel=1e-5)
    merged = trace.explain("blocks.1.attn.attn_out[batch=1,pos=2,d_model=3]")
    assert [term.index for term in merged.terms] == [
        {"head": h, "d_head": d} for h in range(3) for d in range(2)
    ]


def test_an_explanation_reads_like_a_calculation():
    trace = watched(config_of("no biases"), 3, torch.float64)
    text = str(trace.explain("blocks.0.ln1.variance[batch=0,pos=1]"))
    assert "variance[batch, pos] = mean(d_model, squared[batch, pos, d_model])" in text
    assert " / 6" in text
    assert "recomputed in float64" in text
    assert "agrees" in text


def test_formulas_name_the_step_that_they_explain():
    trace = watched(config_of("gpt2"), 3, torch.float32)
    for node in trace.computed:
        index = ",".join(f"{axis}=0" for axis in node.axes)
        formula = trace.explain(f"{node.path}[{index}]").formula
        assert formula.startswith(node.short), formula


def test_leaves_are_their_own_explanation():
    trace = watched(config_of("gpt2"), 3, torch.float32)
    for address in ("weight/embed.W_E[vocab=1,d_model=2]", "token/ids[batch=0,pos=1]"):
        leaf = trace.explain(address)
        assert leaf.recomputed == leaf.value == trace[address].item()
        assert leaf.operands == []
        assert leaf.formula == ""
        assert leaf.agrees
        assert leaf.summary


def test_a_drawn_mask_explains_the_dropped_values():
    config = config_of("gpt2").replace(dropout=0.4)
    model = random_model(config, 3).train()
    torch.manual_seed(2)
    trace = model.watch(random_ids(config, 3))
    dropped = [node for node in trace.computed if node.name.endswith("_dropped")]
    assert [node.name for node in dropped] == [
        "embed_dropped",
        *(f"blocks.{i}.{part}_dropped" for i in range(2) for part in ("attn", "mlp")),
    ]
    check_every_step(trace, random.Random(0), elements=3)
    for node in dropped:
        kept = trace[node.path.replace("_dropped", "_kept")]
        source = trace[trace.node(node.path).operands["x"]]
        torch.testing.assert_close(trace[node.path], source * kept / 0.6)
        assert 0 < kept.float().mean() < 1
    drawn = trace.node("embed_kept")
    assert drawn.formula is not None
    assert isinstance(drawn.formula.body, Drawn)


def test_in_eval_mode_nothing_is_dropped():
    config = config_of("gpt2").replace(dropout=0.4)
    model = random_model(config, 3).eval()
    names = [node.name for node in model.watch(random_ids(config, 3)).computed]
    assert not [name for name in names if "dropped" in name or "kept" in name]
