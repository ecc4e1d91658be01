"""Multi-head self-attention."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from glassformer import ops
from glassformer.kernels.product import split_bias, split_heads
from glassformer.model.config import Config
from glassformer.model.rotary import Rotation
from glassformer.model.views import Source, View, itself
from glassformer.ops import Tape


@runtime_checkable  # so that the tests can check annotations
class KeyValueCache(Protocol):
    """Keys and values of earlier positions, kept between calls."""

    length: int

    def extend(self, layer: int, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """Append k, v [batch, pos, head, d_head] of one layer; return all of them so far."""
        ...

    def advance(self, n: int) -> None:
        """Say that n more positions are in the cache, in every layer."""
        ...

    def positions(self, n: int, device: torch.device) -> Tensor:
        """Positions [pos] or [batch, pos] of the next n tokens."""
        ...

    def mask(self, n: int) -> Tensor | None:
        """Which keys the next n queries may see, [batch, 1, n, key]; None for plain causal."""
        ...


class Attention(nn.Module):
    """Queries, keys and values from one fused product W_QKV [d_model, 3 * head * d_head]."""

    def __init__(self, config: Config, layer: int) -> None:
        super().__init__()
        width = config.n_heads * config.d_head
        self.layer = layer
        self.n_heads = config.n_heads
        self.d_head = config.d_head
        self.qk_norm_eps = config.norm_eps if config.qk_norm else None
        self.W_QKV = nn.Parameter(torch.empty(config.d_model, 3 * width))
        self.b_QKV = nn.Parameter(torch.empty(3 * width)) if config.attn_bias else None
        self.W_O = nn.Parameter(torch.empty(width, config.d_model))
        self.b_O = nn.Parameter(torch.empty(config.d_model)) if config.attn_bias else None

    def forward(
        self,
        x: Float[Tensor, "batch pos d_model"],
        t: Tape,
        cache: KeyValueCache | None = None,
        mask: Bool[Tensor, "batch 1 pos key"] | None = None,
        rotation: Rotation | None = None,
    ) -> Float[Tensor, "batch pos d_model"]:
        # q, k, v [batch, pos, head, d_head]
        q, k, v = t(
            ("q", "k", "v"), ops.project_qkv, x, self.W_QKV, self.b_QKV, n_heads=self.n_heads
        )
        if self.qk_norm_eps is not None:
            q = t("q_normed", ops.head_norm, q, eps=self.qk_norm_eps)
            k = t("k_normed", ops.head_norm, k, eps=self.qk_norm_eps)
        if rotation is not None:
            q = t("rot_q", ops.rotary, q, *rotation)
            k = t("rot_k", ops.rotary, k, *rotation)
        causal = True
        if cache is not None:
            k, v = cache.extend(self.layer, k, v)
            # one new query may look at every cached key: nothing there is in its future
            causal = q.shape[1] == k.shape[1]
        z = t("z", ops.attention, q, k, v, mask, causal=causal)
        return t("attn_out", ops.merge_heads, z, self.W_O, self.b_O)

    def views(self, source: Source = itself, scope: str = "") -> Iterator[View]:
        for name, W in zip("QKV", split_heads(source(self.W_QKV), self.n_heads), strict=True):
            yield View(f"{scope}W_{name}", W, ("head", "d_model", "d_head"))
        W_O = source(self.W_O).view(self.n_heads, self.d_head, -1)
        yield View(f"{scope}W_O", W_O, ("head", "d_head", "d_model"))
        if self.b_QKV is not None and self.b_O is not None:
            for name, b in zip("QKV", split_bias(source(self.b_QKV), self.n_heads), strict=True):
                yield View(f"{scope}b_{name}", b, ("head", "d_head"))
            yield View(f"{scope}b_O", source(self.b_O), ("d_model",))
