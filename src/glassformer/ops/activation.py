"""What a neuron does with its sum."""

from __future__ import annotations

from functools import partial

from torch import Tensor

from glassformer.kernels import activation as kernels
from glassformer.kernels import elementwise
from glassformer.ops.elementwise import multiply, square, squash, where_above
from glassformer.ops.norm import stretch
from glassformer.ops.op import Composite, Op, Tape, composite, op, template

GELU = "Hendrycks and Gimpel 2016, section 2"

# --- GELU: each sum, weighted by the chance that a standard normal number is smaller ---

normal_cdf = template(
    "normal_cdf",
    "y[*A] = 0.5 * (1 + erf(x[*A] / sqrt(2)))",
    "x",
    kernels.normal_cdf,
    summary="The chance that a standard normal number is smaller than the neuron's sum.",
    source=GELU,
)

gelu_argument = template(
    "gelu_argument",
    "y[*A] = sqrt(2 / pi) * (x[*A] + 0.044715 * x[*A] ** 3)",
    "x",
    kernels.gelu_argument,
    summary="Part of GELU's formula: a cubic that makes tanh follow the normal distribution.",
    source=GELU,
)

half_gate = template(
    "half_gate",
    "y[*A] = 0.5 * (x[*A] + x[*A] * tanh[*A])",
    "x tanh",
    kernels.half_gate,
    summary="The neuron's sum, weighted by half of one plus the tanh.",
    source=GELU,
)

sigmoid = template(
    "sigmoid",
    "y[*A] = 1 / (1 + exp(-x[*A]))",
    "x",
    elementwise.sigmoid,
    summary="The logistic function of the sum, between 0 and 1.",
)

Activation = Op[[Tensor], Tensor] | Composite[[Tensor], Tensor]


def activations(axes: str, prefix: str = "") -> dict[str, Activation]:
    """Every activation over these axes, by its name; their ops' names begin with the prefix."""
    return {**_from_zero(axes, prefix), **_curves(axes, prefix), **_gates(axes, prefix)}


def _from_zero(axes: str, prefix: str) -> dict[str, Activation]:
    """Those that ask whether the sum is above zero."""
    result: dict[str, Activation] = {}
    positive = result["relu"] = where_above.using(kernels.relu).over(
        f"{prefix}relu",
        "post",
        {"A": axes},
        {"x": "pre", "above": "pre"},
        numbers={"limit": "0", "below": "0"},
        summary="Negative sums become zero.",
        source="Nair and Hinton 2010",
    )
    squared = square.over(
        f"{prefix}squared",
        "post",
        {"B": "", "A": axes},
        {"x": "post_relu", "factor": "post_relu"},
        summary="What is left is squared, so that strong sums count for more.",
        source="So et al. 2021, section 4.1",
    )

    def relu_squared(t: Tape, name: str, pre: Tensor) -> Tensor:
        return t(name, squared, t(f"{name}_relu", positive, pre))

    result["relu_squared"] = composite(
        f"{prefix}relu_squared",
        kernels.relu_squared,
        relu_squared,
        "Negative sums become zero, the others are squared.",
        "So et al. 2021, section 4.1",
    )

    result["step"] = where_above.using(kernels.step).over(
        f"{prefix}step",
        "post",
        {"A": axes},
        {"x": "pre"},
        numbers={"limit": "0", "above": "1", "below": "0"},
        summary="One where the sum is positive, else zero; its slope is zero, so it can't learn.",
        source="Rosenblatt 1958",
    )
    return result


def _curves(axes: str, prefix: str) -> dict[str, Activation]:
    """Those that end between two limits."""
    result: dict[str, Activation] = {}
    result["sigmoid"] = sigmoid.over(
        f"{prefix}sigmoid_neuron",
        "post",
        {"A": axes},
        {"x": "pre"},
        summary="An S-shaped curve of the sum, between 0 and 1.",
        source="Rumelhart, Hinton and Williams 1986",
    )
    result["tanh"] = squash.over(
        f"{prefix}tanh_neuron",
        "post",
        {"A": axes},
        {"x": "pre"},
        summary="An S-shaped curve of the sum, between -1 and 1.",
        source="LeCun et al. 1998, section 4.4",
    )
    return result


def _gates(axes: str, prefix: str) -> dict[str, Activation]:
    """Those that let a share of the sum through, the more, the larger it is."""
    result: dict[str, Activation] = {}
    gate = multiply.over(
        f"{prefix}gate",
        "post",
        {"B": "", "A": axes},
        {"x": "pre", "factor": "post_gate"},
        summary="The neuron's sum passes in proportion to its gate, a number between 0 and 1.",
    )
    cdf = normal_cdf.over(f"{prefix}normal_cdf", "post_cdf", {"A": axes}, {"x": "pre"})

    def gelu(t: Tape, name: str, pre: Tensor) -> Tensor:
        return t(name, gate, pre, t(f"{name}_cdf", cdf, pre))

    result["gelu"] = composite(
        f"{prefix}gelu",
        kernels.gelu,
        gelu,
        "Each sum is weighted by the chance that a standard normal number is smaller.",
        GELU,
    )

    argument = gelu_argument.over(
        f"{prefix}gelu_argument", "post_argument", {"A": axes}, {"x": "pre"}
    )
    tanh = squash.over(
        f"{prefix}tanh",
        "post_tanh",
        {"A": axes},
        {"x": "post_argument"},
        summary="Squeezed between -1 and 1.",
    )
    half = half_gate.over(
        f"{prefix}half_gate", "post", {"A": axes}, {"x": "pre", "tanh": "post_tanh"}
    )

    def gelu_tanh(t: Tape, name: str, pre: Tensor) -> Tensor:
        squeezed = t(f"{name}_tanh", tanh, t(f"{name}_argument", argument, pre))
        return t(name, half, pre, squeezed)

    result["gelu_tanh"] = composite(
        f"{prefix}gelu_tanh",
        kernels.gelu_tanh,
        gelu_tanh,
        "GELU with tanh in place of the exact normal distribution, as in GPT-2.",
        GELU,
    )

    logistic = sigmoid.over(f"{prefix}sigmoid", "post_sigmoid", {"A": axes}, {"x": "pre"})

    def silu(t: Tape, name: str, pre: Tensor) -> Tensor:
        return t(name, gate, pre, t(f"{name}_sigmoid", logistic, pre))

    result["silu"] = composite(
        f"{prefix}silu",
        kernels.silu,
        silu,
        "Each sum is weighted by its logistic sigmoid.",
        "Elfwing et al. 2017, eq. 2",
    )
    return result


ACTIVATIONS = activations("batch pos d_mlp")

# --- xIELU: a parabola above 0, an exponential below, each bent by a learned number ---

BETA, LEAST = 0.5, -1e-6
"""xIELU's slope at 0, and what its exponential is taken of at most."""

_XIELU = "Huang and Schlag 2024, section 3"

softplus = template(
    "softplus",
    "y[*A] = base[*A] + log(1 + exp(x[*A]))",
    "x base",
    kernels.softplus,
    summary="The learned number, made positive.",
    source=_XIELU,
)
strength_above = softplus.over(
    "strength_above", "strength_p", {"A": ""}, {"x": "alpha_p"}, without="base"
)
strength_below = softplus.over(
    "strength_below", "strength_n", {"A": ""}, {"x": "alpha_n"}, numbers={"base": "beta"}
)
xielu_slope = stretch.using(kernels.xielu_slope).over(
    "xielu_slope",
    "post_slope",
    {"B": "batch pos d_mlp", "A": ""},
    {"x": "pre", "w": "strength_p"},
    numbers={"b": "beta"},
    without="stored_from",
    summary="By how much a positive sum is multiplied: the more, the larger it is.",
    source=_XIELU,
    role="intermediate",
)
xielu_above = multiply.over(
    "xielu_above",
    "post_above",
    {"B": "", "A": "batch pos d_mlp"},
    {"x": "post_slope", "factor": "pre"},
    summary="What a positive sum becomes: a parabola.",
    source=_XIELU,
)
xielu_exp = op(
    "xielu_exp",
    "post_exp[batch, pos, d_mlp] = expm1(select(pre[batch, pos, d_mlp] < least,"
    " pre[batch, pos, d_mlp], least))",
    "pre",
    kernels.xielu_exp,
    summary="An exponential less 1, of negative sums; positive ones count as nearly zero.",
    source=_XIELU,
    role="intermediate",
)
xielu_below = op(
    "xielu_below",
    "post_below[batch, pos, d_mlp] = strength_n[()] * (post_exp[batch, pos, d_mlp]"
    " - pre[batch, pos, d_mlp]) + beta * pre[batch, pos, d_mlp]",
    "pre post_exp strength_n",
    kernels.xielu_below,
    summary="What a negative sum becomes: an exponential beside a line.",
    source=_XIELU,
)
choose_side = where_above.over(
    "choose_side",
    "post",
    {"A": "batch pos d_mlp"},
    {"x": "pre", "above": "post_above", "below": "post_below"},
    numbers={"limit": "0"},
    summary="A positive sum goes one way, a negative one the other.",
    source=_XIELU,
)


def _xielu(t: Tape, name: str, pre: Tensor, alpha_p: Tensor, alpha_n: Tensor) -> Tensor:
    strength_p = t("strength_p", strength_above, alpha_p)
    strength_n = t("strength_n", strength_below, alpha_n, beta=BETA)
    slope = t(f"{name}_slope", xielu_slope, pre, strength_p, beta=BETA)
    above = t(f"{name}_above", xielu_above, slope, pre)
    exponential = t(f"{name}_exp", xielu_exp, pre, least=LEAST)
    below = t(f"{name}_below", xielu_below, pre, exponential, strength_n, beta=BETA)
    return t(name, choose_side, pre, above, below)


xielu = composite(
    "xielu",
    partial(kernels.xielu, beta=BETA, least=LEAST),
    _xielu,
    "A parabola above zero, an exponential beside a line below, bent by two learned numbers.",
    _XIELU,
)
