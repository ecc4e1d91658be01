"""How wrong was the guess: cross-entropy, fused with the unembedding and in steps."""

from __future__ import annotations

from torch import Tensor

from glassformer.kernels import cross_entropy as kernels
from glassformer.ops import softmax
from glassformer.ops.linear import cap_logits, unembed
from glassformer.ops.op import Tape, composite, op, template
from glassformer.ops.rows import row_argmax, row_max

IGNORED = kernels.IGNORED
"""A target that does not count: the model is not asked there."""

best_prob = row_max.over(
    "best_prob",
    "best_prob",
    softmax.POSITIONS,
    {"x": "probs"},
    summary="The highest probability at each position.",
    role="probability",
)

best_token = row_argmax.over(
    "best_token",
    "best_token",
    softmax.POSITIONS,
    {"x": "probs"},
    summary="The token that has it; of equal ones the lowest token id.",
    role="token",
)

log_partition_of = template(
    "log_partition",
    "y[*B] = log(total[*B]) + largest[*B]",
    "total largest",
    kernels.log_partition,
)

log_partition = log_partition_of.over(
    "log_partition",
    "log_partition",
    {"B": "batch pos"},
    {"total": "logits_sum", "largest": "logits_max"},
    summary="The logarithm of the sum, with the subtracted maximum put back.",
)

_ASKED = "targets[batch, pos] >= 0"

target_logit = op(
    "target_logit",
    f"target_logit[batch, pos] = logits[batch, pos, select({_ASKED}, targets[batch, pos], 0)]",
    "logits targets",
    kernels.target_logit,
    summary="The logit of the token that really came next.",
)

token_loss = op(
    "token_loss",
    f"token_loss[batch, pos]"
    f" = select({_ASKED}, log_partition[batch, pos] - target_logit[batch, pos], 0)",
    "log_partition target_logit targets",
    kernels.token_loss,
    summary="Minus the log-probability of the right token, in nats: how surprised the model was.",
)

mean_loss = op(
    "mean_loss",
    f"loss = sum(batch, sum(pos, token_loss[batch, pos]))"
    f" / sum(batch, sum(pos, select({_ASKED}, 1, 0)))",
    "token_loss targets",
    kernels.mean_loss,
    summary="The mean surprise over all positions that were asked: the loss.",
)


def unembedded(
    t: Tape, x: Tensor, W_U: Tensor, b_U: Tensor | None, cap: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Logits [batch, pos, vocab]; their largest and the sum of their exponentials [batch, pos]."""
    logits = t("logits_raw" if cap else "logits", unembed, x, W_U, b_U)
    if cap:
        logits = t("logits", cap_logits, logits, cap=cap)
    largest, _, total = softmax.parts(t, "logits", softmax.over_vocabulary, logits)
    return logits, largest, total


def surprise_steps(
    t: Tape, name: str, logits: Tensor, largest: Tensor, total: Tensor, targets: Tensor
) -> Tensor:
    """Loss from logits whose largest and whose sum of exponentials [batch, pos] are known."""
    return t(name, mean_loss, surprises(t, logits, largest, total, targets), targets)


def surprises(t: Tape, logits: Tensor, largest: Tensor, total: Tensor, targets: Tensor) -> Tensor:
    """The surprise [batch, pos] at each target, from the same."""
    log_z = t("log_partition", log_partition, total, largest)
    chosen = t("target_logit", target_logit, logits, targets)
    return t("token_loss", token_loss, log_z, chosen, targets)


def _steps(
    t: Tape,
    name: str,
    x: Tensor,
    W_U: Tensor,
    b_U: Tensor | None,
    targets: Tensor,
    cap: float = 0.0,
) -> Tensor:
    logits, largest, total = unembedded(t, x, W_U, b_U, cap)
    return surprise_steps(t, name, logits, largest, total, targets)


unembed_cross_entropy = composite(
    "unembed_cross_entropy",
    kernels.unembed_cross_entropy,
    _steps,
    summary="Every next token is guessed, and the surprise at the right ones is averaged.",
    source="Shannon 1948, section 7",
)


def _softmax_steps(t: Tape, name: str, logits: Tensor) -> Tensor:
    return softmax.steps(t, name, softmax.over_vocabulary, logits, "logits")


softmax_probs = composite(
    "softmax_probs",
    kernels.softmax,
    _softmax_steps,
    summary="Scores become probabilities that sum to 1.",
    source="Bridle 1990",
)
