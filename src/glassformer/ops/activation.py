"""What a neuron does with its sum."""

from __future__ import annotations

from torch import Tensor

from glassformer.kernels import activation as kernels
from glassformer.kernels import elementwise
from glassformer.ops.elementwise import multiply, squash
from glassformer.ops.op import Composite, Op, Tape, composite, op
from glassformer.ops.rows import square

_PRE = "pre[batch, pos, d_mlp]"

relu = op(
    "relu",
    f"post[batch, pos, d_mlp] = select({_PRE} > 0, {_PRE}, 0)",
    "pre",
    kernels.relu,
    summary="Negative sums become zero.",
    source="Nair and Hinton 2010",
)

squared = square.over(
    "squared",
    "post",
    {"A": "batch pos d_mlp"},
    {"x": "post_relu"},
    summary="What is left is squared, so that strong sums count for more.",
    source="So et al. 2021, section 4.1",
)

# --- GELU: each sum, weighted by the chance that a standard normal number is smaller ---

GELU = "Hendrycks and Gimpel 2016, section 2"

normal_cdf = op(
    "normal_cdf",
    f"post_cdf[batch, pos, d_mlp] = 0.5 * (1 + erf({_PRE} / sqrt(2)))",
    "pre",
    kernels.normal_cdf,
    summary="The chance that a standard normal number is smaller than the neuron's sum.",
    source=GELU,
)

gate = multiply.over(
    "gate",
    "post",
    {"B": "", "A": "batch pos d_mlp"},
    {"x": "pre", "factor": "post_gate"},
    summary="The neuron's sum passes in proportion to its gate, a number between 0 and 1.",
)

gelu_argument = op(
    "gelu_argument",
    f"post_argument[batch, pos, d_mlp] = sqrt(2 / pi) * ({_PRE} + 0.044715 * {_PRE} ** 3)",
    "pre",
    kernels.gelu_argument,
    summary="A cubic of the sum that makes tanh follow the normal distribution.",
    source=GELU,
)

tanh = squash.over(
    "tanh",
    "post_tanh",
    {"A": "batch pos d_mlp"},
    {"x": "post_argument"},
    summary="Squeezed between -1 and 1.",
)

half_gate = op(
    "half_gate",
    f"post[batch, pos, d_mlp] = 0.5 * ({_PRE} + {_PRE} * post_tanh[batch, pos, d_mlp])",
    "pre post_tanh",
    kernels.half_gate,
    summary="The neuron's sum, weighted by half of one plus the tanh.",
    source=GELU,
)

sigmoid = op(
    "sigmoid",
    f"post_sigmoid[batch, pos, d_mlp] = 1 / (1 + exp(-{_PRE}))",
    "pre",
    elementwise.sigmoid,
    summary="The logistic function of the sum, between 0 and 1.",
)


def _relu_squared_steps(t: Tape, name: str, pre: Tensor) -> Tensor:
    return t(name, squared, t(f"{name}_relu", relu, pre))


def _gelu_steps(t: Tape, name: str, pre: Tensor) -> Tensor:
    return t(name, gate, pre, t(f"{name}_cdf", normal_cdf, pre))


def _gelu_tanh_steps(t: Tape, name: str, pre: Tensor) -> Tensor:
    argument = t(f"{name}_argument", gelu_argument, pre)
    return t(name, half_gate, pre, t(f"{name}_tanh", tanh, argument))


def _silu_steps(t: Tape, name: str, pre: Tensor) -> Tensor:
    return t(name, gate, pre, t(f"{name}_sigmoid", sigmoid, pre))


relu_squared = composite(
    "relu_squared",
    kernels.relu_squared,
    _relu_squared_steps,
    summary="Negative sums become zero, the others are squared.",
    source="So et al. 2021, section 4.1",
)

gelu = composite(
    "gelu",
    kernels.gelu,
    _gelu_steps,
    summary="Each sum is weighted by the chance that a standard normal number is smaller.",
    source=GELU,
)

gelu_tanh = composite(
    "gelu_tanh",
    kernels.gelu_tanh,
    _gelu_tanh_steps,
    summary="GELU with tanh in place of the exact normal distribution, as in GPT-2.",
    source=GELU,
)

silu = composite(
    "silu",
    kernels.silu,
    _silu_steps,
    summary="Each sum is weighted by its logistic sigmoid.",
    source="Elfwing et al. 2017, eq. 2",
)

Activation = Op[[Tensor], Tensor] | Composite[[Tensor], Tensor]

ACTIVATIONS: dict[str, Activation] = {
    "relu": relu,
    "relu_squared": relu_squared,
    "gelu": gelu,
    "gelu_tanh": gelu_tanh,
    "silu": silu,
}
