"""Which of two replies is better: each one's gain on a reference, and the surprise at the choice.

A batch holds pairs of texts, one behind the other: rows 2 i and 2 i + 1 are the chosen and the
rejected reply of pair i.
"""

from __future__ import annotations

from torch import Tensor

from glassformer.kernels import preference as kernels
from glassformer.ops import softmax
from glassformer.ops.elementwise import multiply
from glassformer.ops.loss import log_partition_of, surprises, unembedded
from glassformer.ops.op import Tape, composite
from glassformer.ops.rows import row_mean, row_subtract, row_sum

DPO = "Rafailov et al. 2023, eq. 7"

reply_surprise = row_sum.over(
    "reply_surprise",
    "reply_surprise",
    {"B": "batch", "A": "pos"},
    {"x": "token_loss"},
    summary="The surprise at all tokens of a reply together: minus its log-probability, in nats.",
)

reply_gain = row_subtract.using(kernels.gain).over(
    "reply_gain",
    "reply_gain",
    {"B": "batch", "A": ""},
    {"x": "reference", "row": "reply_surprise"},
    summary="By how much less the model is surprised at a reply than its reference was, in nats.",
    source="Rafailov et al. 2023, section 4",
)

pair_scores = multiply.using(kernels.pair_scores).over(
    "pair_scores",
    "pair_scores",
    {"B": "", "A": "pair reply"},
    {"x": "reply_gain[2 * pair + reply]", "factor": "beta[2 * pair + reply]"},
    summary="The gains of a pair's two replies, each times beta: their scores.",
    source=DPO,
    role="score",
)

over_replies = softmax.softmax_over(
    ("pair_scores_max", "pair_scores_exp", "pair_scores_sum", "preference"),
    ("pair_scores_max", "pair_scores_exp", "pair_scores_sum", "preference"),
    ("pair_scores", "pair_scores_exp"),
    {"B": "pair", "A": "reply"},
    softmax.Words(
        "The larger score of a pair.",
        "Both scores are exponentiated, after the larger was subtracted.",
        "The two exponentials are summed.",
        "Divided by their sum, they are the probabilities that either reply is preferred.",
    ),
    "Bradley and Terry 1952",
)

pair_log_partition = log_partition_of.over(
    "pair_log_partition",
    "pair_log_partition",
    {"B": "pair"},
    {"total": "pair_scores_sum", "largest": "pair_scores_max"},
    summary="The logarithm of the sum, with the subtracted score put back.",
)

pair_loss = row_subtract.using(kernels.pair_loss).over(
    "pair_loss",
    "pair_loss",
    {"B": "pair", "A": ""},
    {"x": "pair_log_partition", "row": "pair_scores[pair, 0]"},
    summary="Minus the log-probability that the chosen reply is preferred, in nats.",
    source=DPO,
)

preference_loss = row_mean.over(
    "preference_loss",
    "loss",
    {"B": "", "A": "pair"},
    {"x": "pair_loss"},
    summary="The mean over all pairs: the loss.",
    source=DPO,
)


def _steps(
    t: Tape,
    name: str,
    x: Tensor,
    W_U: Tensor,
    b_U: Tensor | None,
    targets: Tensor,
    reference: Tensor,
    beta: Tensor,
    cap: float = 0.0,
) -> Tensor:
    logits, largest, total = unembedded(t, x, W_U, b_U, cap)
    surprise = t("reply_surprise", reply_surprise, surprises(t, logits, largest, total, targets))
    gain = t("reply_gain", reply_gain, reference, surprise)
    scores = t("pair_scores", pair_scores, gain, beta)
    largest, exponentials, total = softmax.parts(t, "pair_scores", over_replies, scores)
    t("preference", over_replies.share, exponentials, total)  # said, and not needed for the loss
    log_z = t("pair_log_partition", pair_log_partition, total, largest)
    return t(name, preference_loss, t("pair_loss", pair_loss, log_z, scores))


unembed_preference = composite(
    "unembed_preference",
    kernels.unembed_preference,
    _steps,
    summary="The replies of each pair are scored by how much more probable they have become, and"
    " the surprise at the chosen one is averaged.",
    source=DPO,
)
