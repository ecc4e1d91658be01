"""A tower of blocks: tokens in, and out of the top a vector for each of them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import cast

from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from glassformer import ops
from glassformer.model.attention import KeyValueCache
from glassformer.model.block import Block
from glassformer.model.config import Config
from glassformer.model.cross_attention import Memory
from glassformer.model.distances import Distances
from glassformer.model.embed import Embed, PosEmbed, TypeEmbed, positions
from glassformer.model.ids import refuse_longer
from glassformer.model.norm import Norm
from glassformer.model.rotary import Rotation, rotary_of
from glassformer.ops import Tape
from glassformer.watch.view import Source, View, itself


class Tower(nn.Module):
    """Embeddings, blocks and the final norm: what encoders and decoders have alike."""

    def build(self, config: Config, embed: Embed | None = None, d_source: int = 0) -> None:
        """Make the modules, with no numbers in them yet.

        embed: another tower's, which this one shares; d_source: the width of the vectors that its
        blocks attend to, 0 for none.
        """
        self.embed: Embed
        if embed is None:
            self.embed = Embed(config)
        else:
            self.__dict__["embed"] = embed  # no module of its own: the table is listed once
        self._shares = embed is not None
        self.type_embed: TypeEmbed | None = TypeEmbed(config) if config.token_types else None
        added = config.position in ("learned", "sinusoidal")
        self.pos_embed: PosEmbed | None = PosEmbed(config) if added else None
        self.ln_embed = Norm(config.norms, config.d_model) if config.embed_norm else None
        self.distances = Distances(config) if config.position == "relative" else None
        turns = [config.rotary(layer) for layer in range(config.n_layers)]
        self.rotary = nn.ModuleDict(
            {turn.name: rotary_of(turn) for turn in turns if turn is not None}
        )
        self._turns = [None if turn is None else turn.name for turn in turns]
        self.blocks = nn.ModuleList(
            Block(config, layer, d_source) for layer in range(config.n_layers)
        )
        self.ln_final = Norm(config.norms, config.d_model) if config.final_norm else None
        self._config = config

    def residual(
        self,
        ids: Int[Tensor, "batch pos"],
        t: Tape,
        cache: KeyValueCache | None = None,
        seen: Bool[Tensor, "batch pos"] | None = None,
        types: Int[Tensor, "batch pos"] | None = None,
        memory: Memory | None = None,
        begins: Int[Tensor, "batch pos"] | None = None,
    ) -> Float[Tensor, "batch pos d_model"]:
        """The residual stream after the last block and the final norm.

        seen: which tokens may be looked at, all but padding; types: of every token, 0 if not given;
        memory: what the blocks attend to in another text; begins: where each token's document does.
        """
        n = ids.shape[1]
        refuse_longer(n if cache is None else cache.length + n, self._config.n_ctx)
        mask = None if cache is None else cache.mask(n)
        if seen is not None:
            mask = seen[:, None, None]  # [batch, 1, 1, key]
        if begins is not None:
            mask = begins[:, None, :, None]  # [batch, 1, query, 1]
        x = self.embed(ids, t)
        if self.type_embed is not None:
            x = t("embed_typed", ops.add, x, self.type_embed(ids, types, t))
        rotations: dict[str | None, Rotation] = {}
        bias: Tensor | None = None
        if self.pos_embed is not None or self.distances is not None or self.rotary:
            position = positions(ids, t, cache)
            if self.pos_embed is not None:
                x = t("resid_start", ops.add_positions, x, self.pos_embed(position, t))
            if self.distances is not None:
                bias = self.distances(position, n if cache is None else cache.length + n, t)
            for name, rotary in self.rotary.items():
                rotations[name] = rotary(position, t.at("local") if name == "local" else t)
        if self.ln_embed is not None:
            x = self.ln_embed(x, t.at("ln_embed"))
        if self.training and self._config.dropout:
            x = t(("embed_dropped", "embed_kept"), ops.dropout, x, p=self._config.dropout)[0]
        for layer, (block, turn) in enumerate(zip(self.blocks, self._turns, strict=True)):
            x = block(x, t.at(f"blocks.{layer}"), cache, mask, rotations.get(turn), memory, bias)
        if cache is not None:
            cache.advance(n)
        final: Tensor = x if self.ln_final is None else self.ln_final(x, t.at("ln_final"))
        return final

    def tower_views(self, source: Source = itself, scope: str = "") -> Iterator[View]:
        """Every parameter under its TransformerLens name, as views of what `source` gives."""
        for name in ("embed", "type_embed", "pos_embed", "distances", "ln_embed"):
            shared = name == "embed" and self._shares
            if (part := getattr(self, name)) is not None and not shared:
                yield from part.views(source, f"{scope}{name}.")
        for layer, block in enumerate(self.blocks):
            yield from cast("Block", block).views(source, f"{scope}blocks.{layer}.")
        if self.ln_final is not None:
            yield from self.ln_final.views(source, f"{scope}ln_final.")
