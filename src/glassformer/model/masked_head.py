"""The masked-token head: a layer of d_model neurons and a norm, before the unembedding."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from jaxtyping import Float
from torch import Tensor, nn

from glassformer import ops
from glassformer.model.config import Config
from glassformer.model.norm import Norm
from glassformer.ops import Tape
from glassformer.watch.view import Source, View, itself


class MaskedHead(nn.Module):
    """W_in [d_model, d_mlp] with d_mlp = d_model, the activation, a norm; Devlin et al. 2019."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        width = config.d_model
        self.activation = ops.ACTIVATIONS[config.activation]
        self.W_in = nn.Parameter(torch.empty(width, width))
        self.b_in = nn.Parameter(torch.empty(width)) if config.mlp_bias else None
        self.ln = Norm(config.norms, width)

    def forward(
        self, x: Float[Tensor, "batch pos d_model"], t: Tape
    ) -> Float[Tensor, "batch pos d_model"]:
        return self.with_weights(x, self.W_in, self.b_in, self.ln.w, self.ln.b, t)

    def with_weights(
        self,
        x: Float[Tensor, "batch pos d_model"],
        W_in: Tensor,
        b_in: Tensor | None,
        w: Tensor | None,
        b: Tensor | None,
        t: Tape,
    ) -> Float[Tensor, "batch pos d_model"]:
        """The same with other weights than its own."""
        pre = t("pre", ops.mlp_in, x, W_in, b_in)  # [batch, pos, d_mlp]
        return self.ln.with_weights(t("post", self.activation, pre), w, b, t.at("ln"))

    def views(self, source: Source = itself, scope: str = "") -> Iterator[View]:
        yield View(f"{scope}W_in", source(self.W_in), ("d_model", "d_mlp"))
        if self.b_in is not None:
            yield View(f"{scope}b_in", source(self.b_in), ("d_mlp",))
        yield from self.ln.views(source, f"{scope}ln.")
