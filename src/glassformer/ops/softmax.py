"""Softmax in the steps that keep it from overflowing: over keys, vocabulary or candidates."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor

from glassformer.ops.op import Op, Tape
from glassformer.ops.rows import row_divide, row_exp, row_max, row_sum


class Softmax(NamedTuple):
    """The four ops of one softmax: y = exp(x - max x) / sum(exp(x - max x))."""

    largest: Op
    exponentials: Op
    total: Op
    share: Op


def steps(t: Tape, name: str, softmax: Softmax, x: Tensor, prefix: str = "") -> Tensor:
    """Scores to weights that sum to 1; the sub-steps are named after `prefix`, or else `name`."""
    exponentials, total = parts(t, prefix or name, softmax, x)[1:]
    return t(name, softmax.share, exponentials, total)


def parts(t: Tape, prefix: str, softmax: Softmax, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The largest score, the exponentials and their sum."""
    largest = t(f"{prefix}_max", softmax.largest, x)
    exponentials = t(f"{prefix}_exp", softmax.exponentials, x, largest)
    return largest, exponentials, t(f"{prefix}_sum", softmax.total, exponentials)


ROWS = {"B": "batch head query", "A": "key"}

over_keys = Softmax(
    row_max.over(
        "row_max",
        "pattern_max",
        ROWS,
        {"x": "attn_scores"},
        says="The largest score of the row.",
        role="intermediate",
    ),
    row_exp.over(
        "row_exp",
        "pattern_exp",
        ROWS,
        {"x": "attn_scores", "row": "pattern_max"},
        says="Every score is exponentiated, after the largest was subtracted.",
        role="intermediate",
    ),
    row_sum.over(
        "row_sum",
        "pattern_sum",
        ROWS,
        {"x": "pattern_exp"},
        says="The exponentials of the row are summed.",
        role="intermediate",
    ),
    row_divide.over(
        "row_divide",
        "pattern",
        ROWS,
        {"x": "pattern_exp", "row": "pattern_sum"},
        says="Divided by their sum, they are weights between 0 and 1 that sum to 1.",
        source="Vaswani et al. 2017, eq. 1",
        role="probability",
    ),
)

PLACES = {"B": "batch pos", "A": "vocab"}

over_vocabulary = Softmax(
    row_max.over(
        "logits_max",
        "logits_max",
        PLACES,
        {"x": "logits"},
        says="The largest logit at each position.",
        role="intermediate",
    ),
    row_exp.over(
        "logits_exp",
        "logits_exp",
        PLACES,
        {"x": "logits", "row": "logits_max"},
        says="Every logit is exponentiated, after the largest was subtracted.",
        role="intermediate",
    ),
    row_sum.over(
        "logits_sum",
        "logits_sum",
        PLACES,
        {"x": "logits_exp"},
        says="The exponentials are summed over the vocabulary.",
        role="intermediate",
    ),
    row_divide.over(
        "probs",
        "probs",
        PLACES,
        {"x": "logits_exp", "row": "logits_sum"},
        says="Divided by their sum, they are the probabilities of the next token.",
        role="probability",
    ),
)

CANDIDATES = {"B": "", "A": "vocab"}

over_candidates = Softmax(
    row_max.over("highest", "highest", CANDIDATES, {"x": "scores"}, says="The highest score."),
    row_exp.over(
        "exponentiate",
        "exponentials",
        CANDIDATES,
        {"x": "scores", "row": "highest"},
        says="Every score is exponentiated, after the highest was subtracted.",
        role="intermediate",
    ),
    row_sum.over(
        "total",
        "total",
        CANDIDATES,
        {"x": "weights"},
        says="What all candidates have together.",
        role="intermediate",
    ),
    row_divide.over(
        "share",
        "share",
        CANDIDATES,
        {"x": "weights", "row": "total"},
        says="Divided by what all have together, they are probabilities that sum to 1.",
        source="Bridle 1990",
        role="probability",
    ),
)
