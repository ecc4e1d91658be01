"""Layer or RMS normalization as a module: a gain, a bias, both or neither."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from glassformer import ops
from glassformer.model.parts import AttentionPart, NormPart
from glassformer.ops import Tape
from glassformer.watch.view import Source, View, itself


class Norm(nn.Module):
    """Gain w [d_model] and bias b [d_model], where the configuration has them."""

    def __init__(self, part: NormPart, width: int) -> None:
        super().__init__()
        self.rms = part.kind == "rms"
        self.params = _params(part)
        self.w = nn.Parameter(torch.empty(width)) if part.gain else None
        self.b = nn.Parameter(torch.empty(width)) if part.bias else None

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
            return t("normalized", ops.rms_norm, x, w, **self.params)
        return t("normalized", ops.layer_norm, x, w, b, **self.params)

    def views(self, source: Source = itself, scope: str = "") -> Iterator[View]:
        if self.w is not None:
            yield View(f"{scope}w", source(self.w), ("d_model",))
        if self.b is not None:
            yield View(f"{scope}b", source(self.b), ("d_model",))


class QKNorm(nn.Module):
    """The RMS norm of queries or of keys: of each head's vector, or of all heads' together."""

    def __init__(self, norm: NormPart, part: AttentionPart, axis: str) -> None:
        super().__init__()
        wide = {"head": "wide", "kv_head": "kv_wide"}
        self.op = ops.QK_NORMS[wide[axis] if part.qk_norm_wide else axis].norm
        self.params = _params(norm)
        n_heads = part.n_heads if axis == "head" else part.n_kv_heads
        shape = (n_heads, part.d_head) if part.qk_norm_wide else (part.d_head,)
        self.axes = (axis, "d_head")[-len(shape) :]
        self.w = nn.Parameter(torch.empty(shape)) if norm.gain else None

    def forward(
        self, name: str, x: Float[Tensor, "batch pos head d_head"], t: Tape
    ) -> Float[Tensor, "batch pos head d_head"]:
        return t(name, self.op, x, self.w, **self.params)

    def views(self, source: Source = itself, scope: str = "") -> Iterator[View]:
        if self.w is not None:
            yield View(f"{scope}w", source(self.w), self.axes)


def _params(part: NormPart) -> dict[str, Any]:
    return {"eps": part.eps, **({"from_one": True} if part.gain and part.gain_from_one else {})}
