"""How wrong was the guess: cross-entropy, fused with the unembedding and in steps."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from glassformer.ops.chunked_loss import chunked_cross_entropy, fits_whole
from glassformer.ops.linear import affine, unembed
from glassformer.ops.op import Tape, composite, op

IGNORED = -100
"""A target that does not count: the model is not asked there."""

logits_max = op(
    "logits_max",
    "logits_max[batch, pos] = max(vocab, logits[batch, pos, vocab])",
    "logits",
    lambda logits: logits.amax(-1),
    says="The largest logit at each position.",
)

logits_exp = op(
    "logits_exp",
    "logits_exp[batch, pos, vocab] = exp(logits[batch, pos, vocab] - logits_max[batch, pos])",
    "logits logits_max",
    # subtract the maximum: exp(89) overflows fp32
    lambda logits, logits_max: (logits - logits_max[..., None]).exp_(),
    says="Every logit is exponentiated, after the largest was subtracted.",
)

logits_sum = op(
    "logits_sum",
    "logits_sum[batch, pos] = sum(vocab, logits_exp[batch, pos, vocab])",
    "logits_exp",
    lambda logits_exp: logits_exp.sum(-1),
    says="The exponentials are summed over the vocabulary.",
)

probs = op(
    "probs",
    "probs[batch, pos, vocab] = logits_exp[batch, pos, vocab] / logits_sum[batch, pos]",
    "logits_exp logits_sum",
    lambda logits_exp, logits_sum: logits_exp / logits_sum[..., None],
    says="Divided by their sum, they are the probabilities of the next token.",
)

best_prob = op(
    "best_prob",
    "best_prob[batch, pos] = max(vocab, probs[batch, pos, vocab])",
    "probs",
    lambda probs: probs.amax(-1),
    says="The highest probability at each position.",
)

best_token = op(
    "best_token",
    "best_token[batch, pos] = -max(vocab,"
    " select(probs[batch, pos, vocab] == best_prob[batch, pos], -vocab, -inf))",
    "probs best_prob",
    lambda probs, best_prob: (probs == best_prob[..., None]).int().argmax(-1),
    says="The token that has it; of equal ones the lowest token id.",
)

log_partition = op(
    "log_partition",
    "log_partition[batch, pos] = log(logits_sum[batch, pos]) + logits_max[batch, pos]",
    "logits_sum logits_max",
    lambda logits_sum, logits_max: logits_sum.log().add_(logits_max),
    says="The logarithm of the sum, with the subtracted maximum put back.",
)

_ASKED = "targets[batch, pos] >= 0"

target_logit = op(
    "target_logit",
    f"target_logit[batch, pos] = logits[batch, pos, select({_ASKED}, targets[batch, pos], 0)]",
    "logits targets",
    lambda logits, targets: logits.gather(-1, targets.clamp_min(0)[..., None])[..., 0],
    says="The logit of the token that really came next.",
)

token_loss = op(
    "token_loss",
    f"token_loss[batch, pos]"
    f" = select({_ASKED}, log_partition[batch, pos] - target_logit[batch, pos], 0)",
    "log_partition target_logit targets",
    lambda log_partition, target_logit, targets: (log_partition - target_logit).masked_fill_(
        targets < 0, 0.0
    ),
    says="Minus the log-probability of the right token, in nats: how surprised the model was.",
)

mean_loss = op(
    "mean_loss",
    f"loss = sum(batch, sum(pos, token_loss[batch, pos]))"
    f" / sum(batch, sum(pos, select({_ASKED}, 1, 0)))",
    "token_loss targets",
    lambda token_loss, targets: token_loss.sum().div_((targets >= 0).sum()),
    says="The mean surprise over all positions that were asked: the loss.",
)


def _fused(x: Tensor, W_U: Tensor, b_U: Tensor | None, targets: Tensor) -> Tensor:
    if not fits_whole(x, W_U):
        rows = x.flatten(0, -2)
        return chunked_cross_entropy(rows, W_U, b_U, targets.flatten(), IGNORED)
    logits = affine(x, W_U, b_U)
    return F.cross_entropy(logits.flatten(0, -2), targets.flatten(), ignore_index=IGNORED)


def cross_entropy_steps(t: Tape, name: str, logits: Tensor, targets: Tensor) -> Tensor:
    """Loss from logits [batch, pos, vocab] and targets [batch, pos]."""
    largest = t("logits_max", logits_max, logits)
    exponentials = t("logits_exp", logits_exp, logits, largest)
    total = t("logits_sum", logits_sum, exponentials)
    return surprise_steps(t, name, logits, largest, total, targets)


def surprise_steps(
    t: Tape, name: str, logits: Tensor, largest: Tensor, total: Tensor, targets: Tensor
) -> Tensor:
    """Loss from logits whose largest and whose sum of exponentials [batch, pos] are known."""
    log_z = t("log_partition", log_partition, total, largest)
    chosen = t("target_logit", target_logit, logits, targets)
    surprise = t("token_loss", token_loss, log_z, chosen, targets)
    return t(name, mean_loss, surprise, targets)


def _steps(
    t: Tape, name: str, x: Tensor, W_U: Tensor, b_U: Tensor | None, targets: Tensor
) -> Tensor:
    logits = t("logits", unembed, x, W_U, b_U)
    return cross_entropy_steps(t, name, logits, targets)


unembed_cross_entropy = composite(
    "unembed_cross_entropy",
    _fused,
    _steps,
    says="Every next token is guessed, and the surprise at the right ones is averaged.",
    source="Shannon 1948, section 7",
)


def softmax_probs_steps(t: Tape, name: str, logits: Tensor) -> Tensor:
    """Probabilities of the next token from logits [batch, pos, vocab]."""
    largest = t("logits_max", logits_max, logits)
    exponentials = t("logits_exp", logits_exp, logits, largest)
    total = t("logits_sum", logits_sum, exponentials)
    return t(name, probs, exponentials, total)


softmax_probs = composite(
    "softmax_probs",
    lambda logits: torch.softmax(logits, -1),
    softmax_probs_steps,
    says="Scores become probabilities that sum to 1.",
    source="Bridle 1990",
)
