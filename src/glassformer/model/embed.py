"""Tokens and positions enter the residual stream."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from glassformer import ops
from glassformer.kernels.positions import sinusoid_table
from glassformer.model.attention import KeyValueCache
from glassformer.model.config import Config
from glassformer.model.fixed_table import FixedTable
from glassformer.ops import Tape
from glassformer.trace import Recorder
from glassformer.watch.view import Source, View, itself


def positions(
    ids: Int[Tensor, "batch pos"], t: Tape, cache: KeyValueCache | None
) -> Int[Tensor, "*batch pos"]:
    """Which places the ids have in their texts: from 0, or after what the cache holds."""
    n = ids.shape[1]
    if cache is not None:
        position = cache.positions(n, ids.device)
    else:
        position = torch.arange(n, device=ids.device)
    if isinstance(t, Recorder):
        t.leaf("const", "position", position, ("pos",))
    return position


class Embed(nn.Module):
    """Token embedding table W_E [vocab, d_model]."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.W_E = nn.Parameter(torch.empty(config.vocab_size, config.d_model))
        self.scale = config.embed_scale

    def forward(self, ids: Int[Tensor, "batch pos"], t: Tape) -> Float[Tensor, "batch pos d_model"]:
        x = t("embed", ops.embed_tokens, self.W_E, ids)
        return x if self.scale == 1 else t("embed_scaled", ops.scale_embed, x, factor=self.scale)

    def views(self, source: Source = itself, scope: str = "") -> Iterator[View]:
        yield View(f"{scope}W_E", source(self.W_E), ("vocab", "d_model"))


class TypeEmbed(nn.Module):
    """A vector for each type of tokens, W_type [token_type, d_model]."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.W_type = nn.Parameter(torch.empty(config.token_types, config.d_model))

    def forward(
        self, ids: Int[Tensor, "batch pos"], types: Int[Tensor, "batch pos"] | None, t: Tape
    ) -> Float[Tensor, "batch pos d_model"]:
        """types: 0 everywhere if they are not given."""
        types = torch.zeros_like(ids) if types is None else types
        if isinstance(t, Recorder):
            t.leaf("token", "types", types, ("batch", "pos"))
        return t("type_embed", ops.embed_types, self.W_type, types)

    def views(self, source: Source = itself, scope: str = "") -> Iterator[View]:
        yield View(f"{scope}W_type", source(self.W_type), ("token_type", "d_model"))


class PosEmbed(nn.Module):
    """Position vectors: a learned table W_pos [pos, d_model], or fixed sinusoids."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.learned = config.position == "learned"
        if self.learned:
            self.W_pos = nn.Parameter(torch.empty(config.n_ctx, config.d_model))
        else:
            shape = (config.n_ctx, config.d_model)
            self.table = FixedTable(partial(sinusoid_table, *shape, config.sinusoid_halves), shape)
            self.waves = ops.embed_sinusoid
            self.params = {"width": config.d_model}
            if config.sinusoid_halves:
                self.waves = ops.embed_sinusoid_halves
                self.params["half"] = (config.d_model + 1) // 2

    def forward(
        self, position: Int[Tensor, "*batch pos"], t: Tape
    ) -> Float[Tensor, "*batch pos d_model"]:
        if self.learned:
            return t("pos_embed", ops.embed_positions, self.W_pos, position)
        return t("pos_embed", self.waves, position, self.table.values, **self.params)

    def views(self, source: Source = itself, scope: str = "") -> Iterator[View]:
        if self.learned:
            yield View(f"{scope}W_pos", source(self.W_pos), ("pos", "d_model"))
