"""The final vectors become scores: a logit for every possible next token, and the loss."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from glassformer import ops
from glassformer.kernels.cross_entropy import token_surprise
from glassformer.model.config import Config
from glassformer.model.embed import Embed
from glassformer.ops import Tape
from glassformer.trace import SILENT
from glassformer.watch.view import Source, View, itself


class Unembed(nn.Module):
    """W_U [d_model, vocab], the transposed embedding table when tied, and a bias b_U [vocab]."""

    def __init__(self, config: Config, embed: Embed) -> None:
        super().__init__()
        # a tuple hides the module: the table's parameter stays listed once, under embed
        self._embed = (embed,)
        self.scale, self.cap = config.logit_scale, config.logit_cap
        width = (config.d_model, config.vocab_size)
        self.W_U = None if config.tied else nn.Parameter(torch.empty(width))
        self.b_U = nn.Parameter(torch.empty(config.vocab_size)) if config.head_bias else None

    def forward(
        self, x: Float[Tensor, "batch pos d_model"], t: Tape
    ) -> Float[Tensor, "batch pos vocab"]:
        """Logits of the final vectors."""
        return self.with_weights(x, self.weight(t.at("unembed")), self.b_U, t)

    def with_weights(
        self, x: Float[Tensor, "batch pos d_model"], W_U: Tensor, b_U: Tensor | None, t: Tape
    ) -> Float[Tensor, "batch pos vocab"]:
        """The same with another matrix and bias than the model's own."""
        x = self._scaled(x, t)
        if not self.cap:
            return t("logits", ops.unembed, x, W_U, b_U)
        return t("logits", ops.cap_logits, t("logits_raw", ops.unembed, x, W_U, b_U), cap=self.cap)

    def loss(
        self, x: Float[Tensor, "batch pos d_model"], targets: Int[Tensor, "batch pos"], t: Tape
    ) -> Float[Tensor, ""]:
        """Mean cross-entropy of the final vectors, in nats; the logits need not be kept."""
        x, W_U = self._scaled(x, t), self.weight(t.at("unembed"))
        return t("loss", ops.unembed_cross_entropy, x, W_U, self.b_U, targets, cap=self.cap)

    def surprises(
        self, x: Float[Tensor, "batch pos d_model"], targets: Int[Tensor, "batch pos"]
    ) -> Float[Tensor, "batch pos"]:
        """The surprise at each target, in nats; 0 where none is asked for."""
        x, W_U = self._scaled(x, SILENT), self.weight(SILENT)
        return token_surprise(x, W_U, self.b_U, targets, self.cap)

    def preference_loss(
        self,
        x: Float[Tensor, "batch pos d_model"],
        targets: Int[Tensor, "batch pos"],
        reference: Float[Tensor, " batch"],
        beta: Float[Tensor, " batch"],
        t: Tape,
    ) -> Float[Tensor, ""]:
        """Mean surprise, in nats, that of each pair of rows the first is preferred."""
        x, W_U = self._scaled(x, t), self.weight(t.at("unembed"))
        operands = (x, W_U, self.b_U, targets, reference, beta)
        return t("loss", ops.unembed_preference, *operands, cap=self.cap)

    def weight(self, t: Tape) -> Tensor:
        """W_U [d_model, vocab], whoever owns it."""
        return t("W_U", ops.tie, self._embed[0].W_E) if self.W_U is None else self.W_U

    def _scaled(self, x: Tensor, t: Tape) -> Tensor:
        return x if self.scale == 1 else t("final_scaled", ops.scale_final, x, factor=self.scale)

    def views(self, source: Source = itself, scope: str = "") -> Iterator[View]:
        if self.W_U is not None:
            yield View(f"{scope}W_U", source(self.W_U), ("d_model", "vocab"))
        if self.b_U is not None:
            yield View(f"{scope}b_U", source(self.b_U), ("vocab",))
