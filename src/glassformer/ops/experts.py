"""Experts: a router sends every token to a few of many MLPs, which are mixed.

`experts` are a token's chosen ones, the best first; `choice` counts them. Nothing is computed for
the others, so nothing of them is recorded.
"""

from __future__ import annotations

from torch import Tensor

from glassformer.kernels import elementwise
from glassformer.kernels import experts as kernels
from glassformer.ops import softmax
from glassformer.ops.activation import activations, sigmoid
from glassformer.ops.elementwise import add_to, multiply, scale_by, where_above
from glassformer.ops.linear import GATED, contract, linear
from glassformer.ops.op import Tape, composite
from glassformer.ops.rows import row_divide, row_keep_top, row_order, row_ranks, row_sum

SOURCE = "Shazeer et al. 2017, section 2.1"
ROUTES = {"B": "batch pos", "A": "expert"}
NEURONS = "batch pos choice d_mlp"

# --- the router ---

router = linear.over(
    "router",
    "router_scores",
    {"B": "batch pos", "I": "d_model", "O": "expert"},
    {"W": "W_router", "b": "b_router"},
    summary="Every expert's column is dotted with the token's vector: how well does it fit?",
    source=SOURCE,
    role="score",
)

expert_ranks = row_ranks.over(
    "expert_ranks",
    "router_ranks",
    ROUTES,
    {"x": "router_probs"},
    summary="How many experts fit better; of equal ones the lower number goes first.",
)

choose_experts = row_order.over(
    "choose_experts",
    "experts",
    {**ROUTES, "R": "choice"},
    {"ranks": "router_ranks"},
    summary="The token goes to its best experts, and only to these.",
    source=SOURCE,
)

keep_experts, keep_before_sharing = (
    row_keep_top.over(
        name,
        output,
        ROUTES,
        {"x": "router_probs", "ranks": "router_ranks"},
        numbers={"k": "k"},
        summary="The weights of the chosen experts; all others have none.",
        source=SOURCE,
        role="probability",
    )
    for name, output in (
        ("keep_experts", "expert_weights"),
        ("keep_before_sharing", "router_kept"),
    )
)

kept_sum = row_sum.over(
    "kept_sum",
    "router_kept_sum",
    ROUTES,
    {"x": "router_kept"},
    summary="What the chosen experts have together.",
    role="intermediate",
)

share_among_kept = row_divide.over(
    "share_among_kept",
    "expert_weights",
    ROUTES,
    {"x": "router_kept", "row": "router_kept_sum"},
    summary="Divided by what the chosen experts have together, their weights sum to 1.",
    source="Jiang et al. 2024, section 2.1",
    role="probability",
)


def route(t: Tape, scores: Tensor, k: int, share: bool) -> tuple[Tensor, Tensor]:
    """The weights of all experts, [batch, pos, expert], and the k chosen [batch, pos, choice].

    share: the chosen ones' weights are made to sum to 1.
    """
    probs = t("router_probs", softmax.router_probs, scores)
    ranks = t("router_ranks", expert_ranks, probs)
    experts = t("experts", choose_experts, ranks, k=k)
    if not share:
        return t("expert_weights", keep_experts, probs, ranks, k=k), experts
    kept = t("router_kept", keep_before_sharing, probs, ranks, k=k)
    total = t("router_kept_sum", kept_sum, kept)
    return t("expert_weights", share_among_kept, kept, total), experts


# --- the experts ---


def _matrix(letter: str, rows: str, columns: str) -> dict[str, str]:
    """Of all experts' matrices and biases those of the chosen one."""
    chosen = "experts[batch, pos, choice]"
    return {
        "W": f"W_{letter}[{chosen}, {rows}, {columns}]",
        "b": f"b_{letter}[{chosen}, {columns}]",
    }


_of_experts = linear.using(kernels.expert_linear)
_UP = {"B": "batch pos", "I": "d_model", "O": "choice d_mlp"}

experts_gate = _of_experts.over(
    "experts_gate",
    "pre",
    _UP,
    _matrix("gate", "d_model", "d_mlp"),
    summary="Every gate of the token's experts weighs the numbers of its vector: how far does it"
    " open?",
    source=GATED,
)

experts_up = _of_experts.over(
    "experts_up",
    "pre_linear",
    _UP,
    _matrix("in", "d_model", "d_mlp"),
    summary="Every neuron of the token's experts weighs the numbers of its vector: what may pass?",
    source=GATED,
)

experts_open_gate = multiply.over(
    "experts_open_gate",
    "post",
    {"B": "", "A": NEURONS},
    {"x": "pre_linear", "factor": "gate"},
    summary="What may pass is multiplied by how far the gate is open.",
    source=GATED,
)

experts_out = _of_experts.over(
    "experts_out",
    "expert_out",
    {"B": "batch pos choice", "I": "d_mlp", "O": "d_model"},
    {"x": "post", **_matrix("out", "d_mlp", "d_model")},
    summary="Each expert turns its neurons into a vector of the stream's width.",
    source=SOURCE,
)

mix_experts = contract.using(kernels.mix_experts).over(
    "mix_experts",
    "mlp_out",
    {"O": "batch pos d_model", "I": "choice"},
    {
        "a": "expert_out[batch, pos, choice, d_model]",
        "b": "expert_weights[batch, pos, experts[batch, pos, choice]]",
    },
    summary="What the token's experts say is mixed, each with its weight.",
    source=SOURCE,
)

ACTIVATIONS = activations(NEURONS, "expert_")

# --- a gate with limits, as GPT-OSS has it ---

LIMITED = "OpenAI 2025, gpt-oss model card, section 2.2"
_ALONG = {"A": NEURONS}

limit_gate = where_above.using(elementwise.no_more_than).over(
    "limit_gate",
    "pre_limited",
    _ALONG,
    {"x": "pre", "below": "pre"},
    numbers={"limit": "limit", "above": "limit"},
    summary="Gates open no further than the limit.",
    source=LIMITED,
    role="intermediate",
)

steepen_gate = scale_by.over(
    "steepen_gate",
    "gate_argument",
    {"B": "", **_ALONG},
    {"x": "pre_limited"},
    numbers={"factor": "factor"},
    summary="Times a constant, by which the gate's sigmoid comes near the normal distribution's.",
    source=LIMITED,
    role="intermediate",
)

gate_sigmoid = sigmoid.over(
    "gate_sigmoid",
    "gate_sigmoid",
    _ALONG,
    {"x": "gate_argument"},
    role="intermediate",
)

limited_gate = multiply.over(
    "limited_gate",
    "gate",
    {"B": "", "A": NEURONS},
    {"x": "pre_limited", "factor": "gate_sigmoid"},
    summary="The gate's sum passes in proportion to its sigmoid.",
    source=LIMITED,
)

limit_up = where_above.using(elementwise.no_more_than).over(
    "limit_up",
    "pre_linear_below",
    _ALONG,
    {"x": "pre_linear", "below": "pre_linear"},
    numbers={"limit": "limit", "above": "limit"},
    summary="What may pass is no more than the limit.",
    source=LIMITED,
    role="intermediate",
)

limit_down = where_above.using(elementwise.no_less_than).over(
    "limit_down",
    "pre_linear_limited",
    _ALONG,
    {"x": "pre_linear_below", "above": "pre_linear_below"},
    numbers={"limit": "-limit", "below": "-limit"},
    summary="And no less than minus the limit.",
    source=LIMITED,
    role="intermediate",
)

raise_up = add_to.using(elementwise.add_one).over(
    "raise_up",
    "pre_linear_raised",
    {"B": "", **_ALONG},
    {"x": "pre_linear_limited"},
    numbers={"more": "1"},
    summary="And 1 more, so that an open gate lets something pass in any case.",
    source=LIMITED,
    role="intermediate",
)

open_limited_gate = multiply.over(
    "open_limited_gate",
    "post",
    {"B": "", **_ALONG},
    {"x": "pre_linear_raised", "factor": "gate"},
    summary="What may pass is multiplied by how far the gate is open.",
    source=LIMITED,
)


def _open(
    t: Tape, pre: Tensor, pre_linear: Tensor, activation: str, limit: float, slope: float
) -> Tensor:
    if not limit:
        return t("post", experts_open_gate, pre_linear, t("gate", ACTIVATIONS[activation], pre))
    limited = t("pre_limited", limit_gate, pre, limit=limit)
    argument = t("gate_argument", steepen_gate, limited, factor=slope)
    gate = t("gate", limited_gate, limited, t("gate_sigmoid", gate_sigmoid, argument))
    below = t("pre_linear_below", limit_up, pre_linear, limit=limit)
    up = t("pre_linear_limited", limit_down, below, limit=limit)
    return t("post", open_limited_gate, t("pre_linear_raised", raise_up, up), gate)


# --- all of it ---


def _mixture(
    x: Tensor,
    expert_weights: Tensor,
    experts: Tensor,
    W_gate: Tensor,
    W_in: Tensor,
    W_out: Tensor,
    b_gate: Tensor | None,
    b_in: Tensor | None,
    b_out: Tensor | None,
    activation: str,
    limit: float = 0.0,
    slope: float = 1.0,
) -> Tensor:
    gate = kernels.opened_by(ACTIVATIONS[activation].kernel, limit, slope)
    matrices = (W_gate, W_in, W_out, b_gate, b_in, b_out)
    return kernels.mixture(x, expert_weights, experts, *matrices, gate)


def _steps(
    t: Tape,
    name: str,
    x: Tensor,
    expert_weights: Tensor,
    experts: Tensor,
    W_gate: Tensor,
    W_in: Tensor,
    W_out: Tensor,
    b_gate: Tensor | None,
    b_in: Tensor | None,
    b_out: Tensor | None,
    activation: str,
    limit: float = 0.0,
    slope: float = 1.0,
) -> Tensor:
    pre = t("pre", experts_gate, x, W_gate, b_gate, experts)  # [batch, pos, choice, d_mlp]
    pre_linear = t("pre_linear", experts_up, x, W_in, b_in, experts)
    post = _open(t, pre, pre_linear, activation, limit, slope)
    out = t("expert_out", experts_out, post, W_out, b_out, experts)
    return t(name, mix_experts, out, expert_weights, experts)


mixture = composite(
    "mixture",
    _mixture,
    _steps,
    summary="Each token goes through its experts, and what they say is mixed.",
    source=SOURCE,
)
