"""Cross-attention: queries from the target, keys and values from the source."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from glassformer import ops
from glassformer.kernels.product import per_head
from glassformer.model.parts import AttentionPart
from glassformer.ops import Tape
from glassformer.watch.view import Source, View, itself

SOURCE_AXES = {"pos": "source_pos", "query": "source_query", "key": "source_key"}
"""What a tape calls the axes of values that belong to the source."""


class Memory(NamedTuple):
    """What a decoder attends to: the source's vectors, and which may be seen (None: all).

    `kept`: keys and values [batch, source_pos, kv_head, d_head] of every layer, where they were
    computed before.
    """

    vectors: Float[Tensor, "batch source_pos d_source"]
    seen: Bool[Tensor, "batch source_pos"] | None = None
    kept: tuple[tuple[Tensor, Tensor], ...] | None = None

    def of_rows(self, rows: Sequence[int]) -> Memory:
        """That of some texts of the batch."""
        if list(rows) == list(range(len(self.vectors))):
            return self
        index = list(rows)
        kept = None if self.kept is None else tuple((k[index], v[index]) for k, v in self.kept)
        return Memory(self.vectors[index], None if self.seen is None else self.seen[index], kept)


class CrossAttention(nn.Module):
    """Queries by W_Q [d_model, columns], keys and values from one product W_KV [d_model, columns].

    The target's tokens look at all of the source: nothing there is in their future.
    """

    def __init__(self, part: AttentionPart, d_source: int) -> None:
        super().__init__()
        self.part = part
        width, shared, _ = part.widths
        self.W_Q = nn.Parameter(torch.empty(part.d_model, width))
        self.b_Q = nn.Parameter(torch.empty(width)) if part.qkv_bias else None
        self.W_KV = nn.Parameter(torch.empty(d_source, 2 * shared))
        self.b_KV = nn.Parameter(torch.empty(2 * shared)) if part.qkv_bias else None
        self.W_O = nn.Parameter(torch.empty(width, part.d_model))
        self.b_O = nn.Parameter(torch.empty(part.d_model)) if part.out_bias else None
        self.project_kv = ops.project_kv if part.group == 1 else ops.project_shared_kv

    def forward(
        self, x: Float[Tensor, "batch pos d_model"], t: Tape, memory: Memory
    ) -> Float[Tensor, "batch pos d_model"]:
        # q [batch, pos, head, d_head], k and v [batch, source_pos, kv_head, d_head]
        q = t("q", ops.project_q, x, self.W_Q, self.b_Q, n_heads=self.part.n_heads)
        k, v = self.keys_and_values(memory, t)
        mask = None if memory.seen is None else memory.seen[:, None, None]  # [batch, 1, 1, key]
        at_source = t.along({"key": "source_key"})
        z = at_source("z", ops.attention, q, k, v, mask, causal=False, scale=self.part.scale)
        return t("attn_out", ops.merge_heads, z, self.W_O, self.b_O)

    def keys_and_values(self, memory: Memory, t: Tape) -> tuple[Tensor, Tensor]:
        """Keys and values of the source; they are the same for every target token."""
        if memory.kept is not None:
            return memory.kept[self.part.layer]
        shared = {"n_kv_heads": self.part.n_kv_heads}
        t = t.along(SOURCE_AXES)
        return t(("k", "v"), self.project_kv, memory.vectors, self.W_KV, self.b_KV, **shared)

    def views(self, source: Source = itself, scope: str = "") -> Iterator[View]:
        part = self.part
        shared = "head" if part.group == 1 else "kv_head"
        heads = {"Q": ("head", part.n_heads), "K": (shared, part.n_kv_heads)}
        heads["V"] = heads["K"]
        for name, W in zip("QKV", (source(self.W_Q), *source(self.W_KV).chunk(2, 1)), strict=True):
            axis, n = heads[name]
            yield View(f"{scope}W_{name}", per_head(W, n), (axis, "d_model", "d_head"))
        W_O = source(self.W_O).view(part.n_heads, part.d_head, -1)
        yield View(f"{scope}W_O", W_O, ("head", "d_head", "d_model"))
        if self.b_Q is not None and self.b_KV is not None:
            biases = (source(self.b_Q), *source(self.b_KV).chunk(2))
            for name, b in zip("QKV", biases, strict=True):
                axis, n = heads[name]
                yield View(f"{scope}b_{name}", torch.unflatten(b, 0, (n, -1)), (axis, "d_head"))
        if self.b_O is not None:
            yield View(f"{scope}b_O", source(self.b_O), ("d_model",))
