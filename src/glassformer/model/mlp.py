"""The MLP (feed-forward layer): every token thinks for itself."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from jaxtyping import Float
from torch import Tensor, nn

from glassformer import ops
from glassformer.model.adapter import adapter, product
from glassformer.model.parts import MLPPart
from glassformer.ops import Tape
from glassformer.watch.view import Source, View, itself


class MLP(nn.Module):
    """W_in [d_model, d_mlp], an activation, W_out [d_mlp, d_model]; a W_gate where it is gated.

    The activation xielu has two learned numbers of its own, alpha_p and alpha_n, each [].
    """

    def __init__(self, part: MLPPart) -> None:
        super().__init__()
        self.activation = part.activation
        learns = part.activation == "xielu"
        self.alpha_p = nn.Parameter(torch.empty(())) if learns else None
        self.alpha_n = nn.Parameter(torch.empty(())) if learns else None
        up = (part.d_model, part.d_mlp)
        self.W_gate = nn.Parameter(torch.empty(up)) if part.gated else None
        self.b_gate = nn.Parameter(torch.empty(part.d_mlp)) if part.gated and part.bias else None
        self.W_in = nn.Parameter(torch.empty(up))
        self.b_in = nn.Parameter(torch.empty(part.d_mlp)) if part.bias else None
        self.W_out = nn.Parameter(torch.empty(part.d_mlp, part.d_model))
        self.b_out = nn.Parameter(torch.empty(part.d_model)) if part.bias else None
        wide = {"d_model": "d_mlp"}
        self.lora_gate = adapter(part.lora, "W_gate", *up, writes=wide)
        self.lora_in = adapter(part.lora, "W_in", *up, writes=wide)
        self.lora_out = adapter(part.lora, "W_out", part.d_mlp, part.d_model, reads=wide)

    def forward(
        self, x: Float[Tensor, "batch pos d_model"], t: Tape
    ) -> Float[Tensor, "batch pos d_model"]:
        W_gate = self.W_gate
        post = self._plain(x, t) if W_gate is None else self._gated(x, W_gate, t)
        return product("mlp_out", ops.mlp_out, post, self.W_out, self.b_out, self.lora_out, t)

    def _plain(self, x: Tensor, t: Tape) -> Tensor:
        # [batch, pos, d_mlp]
        pre = product("pre", ops.mlp_in, x, self.W_in, self.b_in, self.lora_in, t)
        alpha_p, alpha_n = self.alpha_p, self.alpha_n
        if alpha_p is not None and alpha_n is not None:
            return t("post", ops.xielu, pre, alpha_p, alpha_n)
        return t("post", ops.ACTIVATIONS[self.activation], pre)

    def _gated(self, x: Tensor, W_gate: Tensor, t: Tape) -> Tensor:
        # [batch, pos, d_mlp]
        pre = product("pre", ops.mlp_gate, x, W_gate, self.b_gate, self.lora_gate, t)
        gate = t("gate", ops.ACTIVATIONS[self.activation], pre)
        pre_linear = product("pre_linear", ops.mlp_up, x, self.W_in, self.b_in, self.lora_in, t)
        return t("post", ops.open_gate, pre_linear, gate)

    def views(self, source: Source = itself, scope: str = "") -> Iterator[View]:
        for name in ("alpha_p", "alpha_n"):
            if (alpha := getattr(self, name)) is not None:
                yield View(f"{scope}{name}", source(alpha), ())
        for name in ("W_gate", "W_in"):
            if (W := getattr(self, name)) is not None:
                yield View(f"{scope}{name}", source(W), ("d_model", "d_mlp"))
        yield View(f"{scope}W_out", source(self.W_out), ("d_mlp", "d_model"))
        for name, axis in {"b_gate": "d_mlp", "b_in": "d_mlp", "b_out": "d_model"}.items():
            if (b := getattr(self, name)) is not None:
                yield View(f"{scope}{name}", source(b), (axis,))
        for beside in (self.lora_gate, self.lora_in, self.lora_out):
            if beside is not None:
                yield from beside.views(source, scope)
