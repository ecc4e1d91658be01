"""Multi-head self-attention."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from glassformer import ops
from glassformer.kernels.attention import alibi_table
from glassformer.kernels.product import split_bias, split_heads
from glassformer.model.adapter import Adapter, adapter, frozen, product
from glassformer.model.fixed_table import FixedTable
from glassformer.model.norm import QKNorm
from glassformer.model.parts import AttentionPart
from glassformer.model.rotary import Rotation
from glassformer.ops import Tape
from glassformer.watch.view import Source, View, itself

Mask = Bool[Tensor, "batch 1 #pos key"] | Int[Tensor, "batch 1 pos 1"]
"""Which keys may be seen; or from which place on, where each query's document begins."""


@runtime_checkable  # so that the tests can check annotations
class KeyValueCache(Protocol):
    """Keys and values of earlier positions, kept between calls."""

    length: int

    def extend(self, layer: int, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """Append k, v [batch, pos, kv_head, d_head] of one layer; return all of them so far."""
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
    """Queries, keys and values from one fused product W_QKV [d_model, columns]."""

    def __init__(self, part: AttentionPart) -> None:
        super().__init__()
        self.part = part
        width, columns = part.widths[0], sum(part.widths)
        self.W_QKV = nn.Parameter(torch.empty(part.d_model, columns))
        self.b_QKV = nn.Parameter(torch.empty(columns)) if part.qkv_bias else None
        self.W_O = nn.Parameter(torch.empty(width, part.d_model))
        self.b_O = nn.Parameter(torch.empty(part.d_model)) if part.out_bias else None
        shared = "head" if part.group == 1 else "kv_head"
        norm = part.qk_norm
        self.q_norm = None if norm is None else QKNorm(norm, part, "head")
        self.k_norm = None if norm is None else QKNorm(norm, part, shared)
        lora, d_model, (wide, keys, values) = part.lora, part.d_model, part.widths
        shared_heads: dict[str, Any] = {"heads": part.n_kv_heads, "writes": {"head": shared}}
        self.lora_Q = adapter(lora, "W_Q", d_model, wide, heads=part.n_heads)
        self.lora_K = adapter(lora, "W_K", d_model, keys, **shared_heads)
        self.lora_V = adapter(lora, "W_V", d_model, values, **shared_heads)
        self.lora_O = adapter(lora, "W_O", wide, d_model, heads=part.n_heads)
        besides = zip("qkv", self._adapters, strict=True)
        self.names = tuple(name if beside is None else frozen(name) for name, beside in besides)
        self.project = ops.project_qkv if part.group == 1 else ops.project_shared_qkv
        self.rotate_keys = ops.rotary if part.group == 1 else ops.shared_rotary
        self.heads = {"n_heads": part.n_heads, "n_kv_heads": part.n_kv_heads}
        shape = (part.n_heads, part.n_ctx)
        self.sinks = nn.Parameter(torch.empty(part.n_heads)) if part.sinks else None
        rounded_for = part.d_head if part.alibi_bf16 else 0
        table = partial(alibi_table, *shape, rounded_for)
        self.alibi = FixedTable(table, shape) if part.alibi else None
        settings = {
            "scale": part.scale,
            "window": part.window,
            "reach": part.reach,
            "cap": part.cap,
            "rounded": part.alibi and part.alibi_bf16,
        }
        self.params = {name: value for name, value in settings.items() if value}

    def forward(
        self,
        x: Float[Tensor, "batch pos d_model"],
        t: Tape,
        cache: KeyValueCache | None = None,
        mask: Mask | None = None,
        rotation: Rotation | None = None,
        bias: Float[Tensor, "*batch pos key head"] | None = None,
    ) -> Float[Tensor, "batch pos d_model"]:
        # q [batch, pos, head, d_head], k and v [batch, pos, kv_head, d_head]
        q, k, v = t(self.names, self.project, x, self.W_QKV, self.b_QKV, **self.heads)
        if self.part.lora is not None:
            q, k, v = self._adapted(x, (q, k, v), t)
        if not self.part.qk_norm_last:
            q, k = self._normed(q, k, t)
        if rotation is not None:
            turn = {"dims": rotation.dims}
            q = t("rot_q", ops.rotary, q, rotation.cos, rotation.sin, **turn)
            k = t("rot_k", self.rotate_keys, k, rotation.cos, rotation.sin, **turn)
        if self.part.qk_norm_last:
            q, k = self._normed(q, k, t)
        causal = self.part.causal
        if cache is not None:
            k, v = cache.extend(self.part.layer, k, v)
            # one new query may look at every cached key: nothing there is in its future
            causal = q.shape[1] == k.shape[1]
        more = self.params if self.alibi is None else {**self.params, "alibi": self.alibi.values}
        if self.sinks is not None:
            more = {**more, "sinks": self.sinks}
        if bias is not None:
            more = {**more, "bias": bias}
        z = t("z", ops.attention, q, k, v, mask, causal=causal, **more)
        return product("attn_out", ops.merge_heads, z, self.W_O, self.b_O, self.lora_O, t)

    @property
    def _adapters(self) -> tuple[Adapter | None, Adapter | None, Adapter | None]:
        return self.lora_Q, self.lora_K, self.lora_V

    def _adapted(
        self, x: Tensor, projected: tuple[Tensor, Tensor, Tensor], t: Tape
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Queries, keys and values with what their adapters add."""
        q, k, v = (
            value if beside is None else beside(name, x, value, t)
            for name, value, beside in zip("qkv", projected, self._adapters, strict=True)
        )
        return q, k, v

    def _normed(self, q: Tensor, k: Tensor, t: Tape) -> tuple[Tensor, Tensor]:
        if self.q_norm is None or self.k_norm is None:
            return q, k
        return self.q_norm("q_normed", q, t), self.k_norm("k_normed", k, t)

    def views(self, source: Source = itself, scope: str = "") -> Iterator[View]:
        part, heads = self.part, self.heads
        shared = "head" if part.group == 1 else "kv_head"
        axes = {"Q": "head", "K": shared, "V": shared}
        matrices = split_heads(source(self.W_QKV), **heads)
        for (name, head), W in zip(axes.items(), matrices, strict=True):
            yield View(f"{scope}W_{name}", W, (head, "d_model", "d_head"))
        W_O = source(self.W_O).view(part.n_heads, part.d_head, -1)
        yield View(f"{scope}W_O", W_O, ("head", "d_head", "d_model"))
        if self.b_QKV is not None:
            biases = split_bias(source(self.b_QKV), **heads)
            for (name, head), b in zip(axes.items(), biases, strict=True):
                yield View(f"{scope}b_{name}", b, (head, "d_head"))
        if self.b_O is not None:
            yield View(f"{scope}b_O", source(self.b_O), ("d_model",))
        if self.sinks is not None:
            yield View(f"{scope}sinks", source(self.sinks), ("head",))
        for name in ("q_norm", "k_norm"):
            if (norm := getattr(self, name)) is not None:
                yield from norm.views(source, f"{scope}{name}.")
        for beside in (*self._adapters, self.lora_O):
            if beside is not None:
                yield from beside.views(source, scope)
