"""Layer or RMS normalisation as a module: a gain, a bias, both or neither."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from jaxtyping import Float
from torch import Tensor, nn

from glassformer import ops
from glassformer.model.config import Config
from glassformer.model.views import Source, View, itself
from glassformer.ops import Tape


class Norm(nn.Module):
    """Gain w [d_model] and bias b [d_model], where the configuration has them."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.eps = config.norm_eps
        self.rms = config.norm == "rms"
        self.w = nn.Parameter(torch.empty(config.d_model)) if config.norm_gain else None
        self.b = nn.Parameter(torch.empty(config.d_model)) if config.norm_bias else None

    def forward(
        self, x: Float[Tensor, "batch pos d_model"], t: Tape
    ) -> Float[Tensor, "batch pos d_model"]:
        return self.with_weights(x, self.w, self.b, t)

    def with_weights(
        self,
        x: Float[Tensor, "batch pos d_model"],
        w: Tensor | None,
        b: Tensor | None,
        t: Tape,
    ) -> Float[Tensor, "batch pos d_model"]:
        """The same norm with another gain and bias than its own."""
        if self.rms:
            return t("normalized", ops.rms_norm, x, w, eps=self.eps)
        return t("normalized", ops.layer_norm, x, w, b, eps=self.eps)

    def views(self, source: Source = itself, scope: str = "") -> Iterator[View]:
        if self.w is not None:
            yield View(f"{scope}w", source(self.w), ("d_model",))
        if self.b is not None:
            yield View(f"{scope}b", source(self.b), ("d_model",))
