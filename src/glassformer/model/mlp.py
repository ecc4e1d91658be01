"""The feed-forward layer: every token thinks for itself."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from jaxtyping import Float
from torch import Tensor, nn

from glassformer import ops
from glassformer.model.config import Config
from glassformer.model.views import Source, View, itself
from glassformer.ops import Tape


class MLP(nn.Module):
    """W_in [d_model, d_mlp], an activation, W_out [d_mlp, d_model]."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.activation = ops.ACTIVATIONS[config.activation]
        self.W_in = nn.Parameter(torch.empty(config.d_model, config.d_mlp))
        self.b_in = nn.Parameter(torch.empty(config.d_mlp)) if config.mlp_bias else None
        self.W_out = nn.Parameter(torch.empty(config.d_mlp, config.d_model))
        self.b_out = nn.Parameter(torch.empty(config.d_model)) if config.mlp_bias else None

    def forward(
        self, x: Float[Tensor, "batch pos d_model"], t: Tape
    ) -> Float[Tensor, "batch pos d_model"]:
        pre = t("pre", ops.mlp_in, x, self.W_in, self.b_in)  # [batch, pos, d_mlp]
        post = t("post", self.activation, pre)
        return t("mlp_out", ops.mlp_out, post, self.W_out, self.b_out)

    def views(self, source: Source = itself, scope: str = "") -> Iterator[View]:
        yield View(f"{scope}W_in", source(self.W_in), ("d_model", "d_mlp"))
        yield View(f"{scope}W_out", source(self.W_out), ("d_mlp", "d_model"))
        if self.b_in is not None and self.b_out is not None:
            yield View(f"{scope}b_in", source(self.b_in), ("d_mlp",))
            yield View(f"{scope}b_out", source(self.b_out), ("d_model",))
