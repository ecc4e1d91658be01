"""A kernel and its formula are one thing said twice; so are a fused kernel and its sub-steps."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from glassformer.formula.evaluate import evaluate, unit_roundoff
from glassformer.formula.nodes import Drawn
from glassformer.ops import REGISTRY, Composite, Op
from glassformer.trace import Recorder, Trace
from tests.examples import examples
from tests.ops.cases import CASES, draws

DTYPES = [torch.float64, torch.float32, torch.bfloat16]
ELEMENTARY = {name: op for name, op in REGISTRY.items() if isinstance(op, Op)}
COMPOSITE = {name: op for name, op in REGISTRY.items() if isinstance(op, Composite)}


def test_every_op_has_a_case():
    assert set(REGISTRY) == set(CASES)


def test_every_op_says_what_it_does_in_one_sentence():
    for op in REGISTRY.values():
        for said in (op.said(), op.said(arguments=())):
            assert said[0].isupper(), op.name
            assert said[-1] in ".?", op.name
            assert ". " not in said, op.name
            assert "if any" not in said, op.name


def test_a_bias_is_spoken_of_where_there_is_one():
    pre, norm = REGISTRY["mlp_in"], REGISTRY["gain_and_bias"]
    assert pre.said({"x", "W_in"}).endswith("weighs the numbers of the token's vector.")
    assert pre.said({"x", "W_in", "b_in"}).endswith("vector and adds its bias.")
    assert norm.said({"x", "w"}).endswith(": a gain stretches it.")
    assert norm.said({"x", "w", "b"}).endswith(": a gain stretches it, a bias shifts it.")


def recorded(op: Op | Composite, args: tuple, params: dict, trace: Trace) -> None:
    """Run an op on a tape, its operands registered as constants."""
    tape = Recorder(trace)
    bound = op.bind(*args, **params) if isinstance(op, Op) and op.bind else args
    for i, operand in enumerate(bound):
        if isinstance(operand, Tensor):
            axes = tuple(f"axis_{dim}" for dim in range(operand.ndim))
            tape.leaf("const", f"operand_{i}", operand, axes)
    outputs = op.outputs if isinstance(op, Op) else ()
    name = tuple(f"out_{o.name}" for o in outputs) if len(outputs) > 1 else "out"
    tape(name, op, *args, **params)


@pytest.mark.parametrize("name", ELEMENTARY)
@given(st.data())
@examples(6)
def test_a_kernel_computes_its_formula(name, data):
    dtype = data.draw(st.sampled_from(DTYPES))
    args, params = CASES[name](data.draw(draws(dtype)))
    trace = Trace()
    recorded(ELEMENTARY[name], args, params, trace)
    for node in trace.computed:
        assert node.formula is not None
        assert len(node.axes) == len(node.shape)
        if isinstance(node.formula.body, Drawn):
            continue
        operands = {o: trace.value_of(trace.nodes[path]) for o, path in node.operands.items()}
        value, bound, _ = evaluate(
            node.formula,
            operands,
            node.params,
            shape=node.shape,
            dtype=node.dtype,
            sizes=dict(zip(node.axes, node.shape, strict=True)),
        )
        kernel = trace.value_of(node).double().numpy()
        with np.errstate(invalid="ignore"):
            agrees = (kernel == value) | (np.abs(kernel - value) <= bound)
        assert agrees.all(), (kernel, value, bound)


def _largest(trace: Trace, *names: str) -> float:
    """The largest finite absolute number among the values of these names; 1 at least."""
    values = [trace[name].double().flatten() for name in names if trace.nodes.get(name)]
    return max([1.0, *(float(v[v.isfinite()].abs().max()) for v in values)])


# How far the two may be apart, in units of roundoff: 8 for a handful of roundings of the output,
# and what exp makes of the error of a score (as large as the score) or a norm of that of its input.
TOLERANCE = {
    "attention": lambda t: _largest(t, "const/operand_2") * (8 + 4 * _largest(t, "fwd/scores_raw")),
    "layer_norm": lambda t: (
        _largest(t, "const/operand_1", "const/operand_2")
        * (8 + 4 * _largest(t, "const/operand_0") / float(t["fwd/scale"].min()))
    ),
    "rms_norm": lambda t: 8 * _largest(t, "const/operand_1") * (1 + _largest(t, "const/operand_0")),
    **{
        f"{prefix}{name}": lambda t: 8 * _largest(t, "const/operand_0", "out")
        for prefix in ("", "expert_")
        for name in ("relu_squared", "gelu", "gelu_tanh", "silu")
    },
    # a strength times the square of a number
    "xielu": lambda t: 8 * _largest(t, "const/operand_0", "out", "fwd/post_below"),
    "router_probs": lambda t: 8 + 4 * _largest(t, "const/operand_0"),
    # at most 5 neurons, each a product of two sums, times a weight
    "mixture": lambda t: (
        (8 * 5 * _largest(t, "fwd/pre") * _largest(t, "fwd/pre_linear"))
        * _largest(t, "const/operand_5")
    ),
    "softmax_probs": lambda t: 8 + 4 * _largest(t, "const/operand_0"),
    "unembed_cross_entropy": lambda t: 8 + 4 * _largest(t, "fwd/logits"),
    # the surprise at up to pos targets, each as exact as its logits, times beta
    "unembed_preference": lambda t: (
        (
            8
            * t.nodes["fwd/token_loss"].shape[1]
            * (1 + _largest(t, "const/operand_4", "const/operand_5"))
        )
        * _largest(t, "fwd/logits", "fwd/reply_surprise")
    ),
    **dict.fromkeys(("cap_scores", "cap_logits"), lambda t: 8 * _largest(t, "const/operand_0")),
    **dict.fromkeys(("rotary", "shared_rotary"), lambda t: 8 * _largest(t, "const/operand_0")),
    **dict.fromkeys(
        ("head_norm", "kv_head_norm", "wide_norm", "kv_wide_norm"),
        lambda t: 8 * (1 + _largest(t, "const/operand_1")) * (1 + _largest(t, "const/operand_0")),
    ),
    "orthogonalize": lambda t: 0.0,  # of one matrix, these are the same products
    "choose": lambda t: 0.0,  # a token
}


@pytest.mark.parametrize("name", COMPOSITE)
@given(st.data())
@examples(12)
def test_a_fused_kernel_computes_what_its_steps_do(name, data):
    dtype = data.draw(st.sampled_from(DTYPES))
    args, params = CASES[name](data.draw(draws(dtype)))
    trace = Trace()
    recorded(COMPOSITE[name], args, params, trace)
    steps, fused = trace["out"], COMPOSITE[name].kernel(*args, **params)
    assert steps.dtype == fused.dtype
    atol = TOLERANCE[name](trace) * unit_roundoff(dtype)
    torch.testing.assert_close(fused.reshape(steps.shape), steps, rtol=0, atol=atol)
