"""The transformer block: attention and a feed-forward layer, each added back to the stream."""

from __future__ import annotations

from collections.abc import Iterator

from jaxtyping import Bool, Float
from torch import Tensor, nn

from glassformer import ops
from glassformer.model.attention import Attention, KeyValueCache
from glassformer.model.config import Config
from glassformer.model.mlp import MLP
from glassformer.model.norm import Norm
from glassformer.model.rotary import Rotation
from glassformer.model.views import Source, View, itself
from glassformer.ops import Tape


class Block(nn.Module):
    """resid_pre, attention, resid_mid, feed-forward, resid_post; norms before, after or nowhere."""

    def __init__(self, config: Config, layer: int) -> None:
        super().__init__()
        self.norm_position = config.norm_position
        self.dropout = config.dropout
        normed = config.norm_position != "none"
        self.ln1 = Norm(config) if normed else None
        self.attn = Attention(config, layer)
        self.ln2 = Norm(config) if normed else None
        self.mlp = MLP(config)

    def forward(
        self,
        x: Float[Tensor, "batch pos d_model"],
        t: Tape,
        cache: KeyValueCache | None = None,
        mask: Bool[Tensor, "batch 1 pos key"] | None = None,
        rotation: Rotation | None = None,
    ) -> Float[Tensor, "batch pos d_model"]:
        resid_pre = t("resid_pre", ops.carry, x)
        normed = self._before("ln1", resid_pre, t)
        attn_out = self._drop("attn", self.attn(normed, t.at("attn"), cache, mask, rotation), t)
        resid_mid = self._add("resid_mid", "ln1", resid_pre, attn_out, t)
        normed = self._before("ln2", resid_mid, t)
        mlp_out = self._drop("mlp", self.mlp(normed, t.at("mlp")), t)
        return self._add("resid_post", "ln2", resid_mid, mlp_out, t)

    def _before(self, norm: str, x: Tensor, t: Tape) -> Tensor:
        return getattr(self, norm)(x, t.at(norm)) if self.norm_position == "pre" else x

    def _drop(self, branch: str, x: Tensor, t: Tape) -> Tensor:
        if not (self.training and self.dropout):
            return x
        names = (f"{branch}_dropped", f"{branch}_kept")
        return t(names, ops.dropout, x, p=self.dropout)[0]

    def _add(self, name: str, norm: str, x: Tensor, branch: Tensor, t: Tape) -> Tensor:
        if self.norm_position != "post":
            return t(name, ops.add, x, branch)
        added = t(f"{name}_sum", ops.add, x, branch)
        return t(name, ops.carry, getattr(self, norm)(added, t.at(norm)))

    def views(self, source: Source = itself, scope: str = "") -> Iterator[View]:
        for name in ("ln1", "attn", "ln2", "mlp"):
            part = getattr(self, name)
            if part is not None:
                yield from part.views(source, f"{scope}{name}.")
