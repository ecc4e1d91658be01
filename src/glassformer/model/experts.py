"""Experts: many MLPs, and a router that sends every token to a few of them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from glassformer import ops
from glassformer.model.parts import ExpertsPart
from glassformer.ops import Tape
from glassformer.watch.view import Source, View, itself


class Experts(nn.Module):
    """W_router [d_model, expert]; of each expert W_gate and W_in [d_model, d_mlp], W_out."""

    def __init__(self, part: ExpertsPart) -> None:
        super().__init__()
        self.part = part
        n, up = part.n, (part.d_model, part.d_mlp)

        def bias(has: bool, *shape: int) -> nn.Parameter | None:
            return nn.Parameter(torch.empty(shape)) if has else None

        self.W_router = nn.Parameter(torch.empty(part.d_model, n))
        self.b_router = bias(part.router_bias, n)
        self.W_gate = nn.Parameter(torch.empty(n, *up))
        self.b_gate = bias(part.bias, n, part.d_mlp)
        self.W_in = nn.Parameter(torch.empty(n, *up))
        self.b_in = bias(part.bias, n, part.d_mlp)
        self.W_out = nn.Parameter(torch.empty(n, *reversed(up)))
        self.b_out = bias(part.bias, n, part.d_model)
        self.params: dict[str, Any] = (
            {"limit": part.limit, "slope": part.slope} if part.limit else {}
        )

    def forward(
        self, x: Float[Tensor, "batch pos d_model"], t: Tape
    ) -> Float[Tensor, "batch pos d_model"]:
        scores = t("router_scores", ops.router, x, self.W_router, self.b_router)
        # weights [batch, pos, expert], 0 for all but the chosen experts [batch, pos, choice]
        weights, experts = ops.route(t, scores, self.part.chosen, self.part.share)
        matrices = (self.W_gate, self.W_in, self.W_out, self.b_gate, self.b_in, self.b_out)
        return t(
            "mlp_out",
            ops.mixture,
            *(x, weights, experts),
            *matrices,
            activation=self.part.activation,
            **self.params,
        )

    def views(self, source: Source = itself, scope: str = "") -> Iterator[View]:
        axes = {
            "W_router": ("d_model", "expert"),
            "b_router": ("expert",),
            "W_gate": ("expert", "d_model", "d_mlp"),
            "W_in": ("expert", "d_model", "d_mlp"),
            "W_out": ("expert", "d_mlp", "d_model"),
            "b_gate": ("expert", "d_mlp"),
            "b_in": ("expert", "d_mlp"),
            "b_out": ("expert", "d_model"),
        }
        for name, along in axes.items():
            if (parameter := getattr(self, name)) is not None:
                yield View(f"{scope}{name}", source(parameter), along)
