"""Softmax in the steps that keep it from overflowing: over keys, vocabulary or candidates."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor

from glassformer.kernels import cross_entropy as kernels
from glassformer.ops.op import Op, Tape, composite
from glassformer.ops.rows import row_divide, row_exp, row_max, row_sum


class Softmax(NamedTuple):
    """The four ops of one softmax: y = exp(x - max x) / sum(exp(x - max x))."""

    largest: Op[..., Tensor]
    exponentials: Op[..., Tensor]
    total: Op[..., Tensor]
    share: Op[..., Tensor]


def steps(t: Tape, name: str, softmax: Softmax, x: Tensor, prefix: str = "") -> Tensor:
    """Scores to weights that sum to 1; the sub-steps are named after `prefix`, or else `name`."""
    exponentials, total = parts(t, prefix or name, softmax, x)[1:]
    return t(name, softmax.share, exponentials, total)


def parts(t: Tape, prefix: str, softmax: Softmax, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The largest score, the exponentials and their sum."""
    largest = t(f"{prefix}_max", softmax.largest, x)
    exponentials = t(f"{prefix}_exp", softmax.exponentials, x, largest)
    return largest, exponentials, t(f"{prefix}_sum", softmax.total, exponentials)


class Words(NamedTuple):
    """What each of the four says."""

    largest: str
    exponentials: str
    total: str
    share: str


def softmax_over(
    ops: tuple[str, str, str, str],
    outputs: tuple[str, str, str, str],
    read: tuple[str, str],
    axes: dict[str, str],
    words: Words,
    source: str = "",
) -> Softmax:
    """The softmax over some axes; `read`: its scores, and what is added up and shared out."""
    scores, weights = read
    largest, total = outputs[0], outputs[2]
    operands = ({"x": scores}, {"x": scores, "row": largest}, {"x": weights})
    highest, exponentials, added = (
        template.over(op, output, axes, operand, summary=summary, role="intermediate")
        for template, op, output, operand, summary in zip(
            (row_max, row_exp, row_sum), ops[:3], outputs[:3], operands, words[:3], strict=True
        )
    )
    share = row_divide.over(
        ops[3],
        outputs[3],
        axes,
        {"x": weights, "row": total},
        summary=words.share,
        source=source,
        role="probability",
    )
    return Softmax(highest, exponentials, added, share)


KEYS = {"B": "batch head query", "A": "key"}
POSITIONS = {"B": "batch pos", "A": "vocab"}
CANDIDATES = {"B": "", "A": "vocab"}

over_keys = softmax_over(
    ("row_max", "row_exp", "row_sum", "row_divide"),
    ("pattern_max", "pattern_exp", "pattern_sum", "pattern"),
    ("attn_scores", "pattern_exp"),
    KEYS,
    Words(
        "The largest score of the row.",
        "Every score is exponentiated, after the largest was subtracted.",
        "The exponentials of the row are summed.",
        "Divided by their sum, they are weights between 0 and 1 that sum to 1.",
    ),
    "Vaswani et al. 2017, eq. 1",
)

over_vocabulary = softmax_over(
    ("logits_max", "logits_exp", "logits_sum", "probs"),
    ("logits_max", "logits_exp", "logits_sum", "probs"),
    ("logits", "logits_exp"),
    POSITIONS,
    Words(
        "The largest logit at each position.",
        "Every logit is exponentiated, after the largest was subtracted.",
        "The exponentials are summed over the vocabulary.",
        "Divided by their sum, they are the probabilities of the next token.",
    ),
)

over_candidates = softmax_over(
    ("highest", "exponentiate", "total", "share"),
    ("highest", "exponentials", "total", "share"),
    ("scores", "weights"),
    CANDIDATES,
    Words(
        "The highest score.",
        "Every score is exponentiated, after the highest was subtracted.",
        "What all candidates have together.",
        "Divided by what all have together, they are probabilities that sum to 1.",
    ),
    "Bridle 1990",
)

over_experts = softmax_over(
    ("router_max", "router_exp", "router_sum", "share_of_expert"),
    ("router_probs_max", "router_probs_exp", "router_probs_sum", "router_probs"),
    ("router_scores", "router_probs_exp"),
    {"B": "batch pos", "A": "expert"},
    Words(
        "The largest score of an expert.",
        "Every expert's score is exponentiated, after the largest was subtracted.",
        "The exponentials are summed over the experts.",
        "Divided by their sum, they are weights between 0 and 1 that sum to 1.",
    ),
    "Shazeer et al. 2017, section 2.1",
)


def _router_steps(t: Tape, name: str, logits: Tensor) -> Tensor:
    return steps(t, name, over_experts, logits)


router_probs = composite(
    "router_probs",
    kernels.softmax,
    _router_steps,
    summary="The experts' scores become weights that sum to 1.",
    source="Shazeer et al. 2017, section 2.1",
)
