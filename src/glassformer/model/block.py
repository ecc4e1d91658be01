"""The transformer block: attention and an MLP, each added back to the stream."""

from __future__ import annotations

from collections.abc import Iterator

from jaxtyping import Float
from torch import Tensor, nn

from glassformer import ops
from glassformer.model.attention import Attention, KeyValueCache, Mask
from glassformer.model.config import Config
from glassformer.model.cross_attention import CrossAttention, Memory
from glassformer.model.experts import Experts
from glassformer.model.mlp import MLP
from glassformer.model.norm import Norm
from glassformer.model.rotary import Rotation
from glassformer.ops import Tape
from glassformer.watch.view import Source, View, itself

CROSSING = ("ln_cross", "cross_attn", "ln_cross_post")
ORDER = ("ln1", "attn", "ln1_post", *CROSSING, "ln2", "mlp", "ln2_post")


class Block(nn.Module):
    """resid_pre, attention, resid_mid, MLP, resid_post, and the norms between.

    With `d_source`, the width of the vectors of another text, cross-attention to them and
    resid_cross come before the MLP.
    """

    def __init__(self, config: Config, layer: int, d_source: int = 0) -> None:
        super().__init__()
        self.config = config
        for name in ORDER:
            if name in config.block_norms(layer, crosses=d_source > 0):
                self.add_module(name, Norm(config.norms, config.d_model))
            elif name == "attn":
                self.attn = Attention(config.attention(layer))
            elif name == "cross_attn" and d_source:
                self.cross_attn = CrossAttention(config.attention(layer), d_source)
            elif name == "mlp":
                self.mlp = Experts(config.experts) if config.has_experts(layer) else MLP(config.mlp)

    def forward(
        self,
        x: Float[Tensor, "batch pos d_model"],
        t: Tape,
        cache: KeyValueCache | None = None,
        mask: Mask | None = None,
        rotation: Rotation | None = None,
        memory: Memory | None = None,
        bias: Float[Tensor, "*batch pos key head"] | None = None,
    ) -> Float[Tensor, "batch pos d_model"]:
        resid_pre = t("resid_pre", ops.carry, x)
        normed = self._before("ln1", resid_pre, t)
        attn_out = self.attn(normed, t.at("attn"), cache, mask, rotation, bias)
        resid_mid = self._add("resid_mid", "attn", "ln1", resid_pre, attn_out, t)
        if memory is not None:
            normed = self._before("ln_cross", resid_mid, t)
            attn_out = self.cross_attn(normed, t.at("cross_attn"), memory)
            resid_mid = self._add("resid_cross", "cross_attn", "ln_cross", resid_mid, attn_out, t)
        if not self.config.parallel:
            normed = self._before("ln2", resid_mid, t)
        elif not self.config.shared_norm:
            normed = self._before("ln2", resid_pre, t)
        mlp_out = self.mlp(normed, t.at("mlp"))
        return self._add("resid_post", "mlp", "ln2", resid_mid, mlp_out, t)

    def _before(self, norm: str, x: Tensor, t: Tape) -> Tensor:
        if self.config.norm_position not in ("pre", "both") or not hasattr(self, norm):
            return x
        normed: Tensor = getattr(self, norm)(x, t.at(norm))
        return normed

    def _add(self, name: str, branch: str, norm: str, x: Tensor, added: Tensor, t: Tape) -> Tensor:
        """The stream with what a branch adds: normed, scaled and dropped out of where it is."""
        config = self.config
        if config.norm_position in ("branch", "both"):
            added = getattr(self, f"{norm}_post")(added, t.at(f"{norm}_post"))
        if config.branch_scale != 1:
            added = t(f"{branch}_scaled", ops.scale_branch, added, factor=config.branch_scale)
        if self.training and config.dropout:
            names = (f"{branch}_dropped", f"{branch}_kept")
            added = t(names, ops.dropout, added, p=config.dropout)[0]
        if config.norm_position != "post":
            return t(name, ops.add, x, added)
        total = t(f"{name}_sum", ops.add, x, added)
        return t(name, ops.carry, getattr(self, norm)(total, t.at(norm)))

    def views(self, source: Source = itself, scope: str = "") -> Iterator[View]:
        for name in ORDER:
            if hasattr(self, name):
                yield from getattr(self, name).views(source, f"{scope}{name}.")
