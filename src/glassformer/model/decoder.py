"""The decoder: tokens in, a score for every possible next token out."""

from __future__ import annotations

from collections.abc import Iterator
from typing import cast

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from glassformer import ops
from glassformer.model.attention import KeyValueCache
from glassformer.model.block import Block
from glassformer.model.config import Config
from glassformer.model.embed import Embed, PosEmbed, positions
from glassformer.model.ids import Ids, read_ids, read_targets, refuse_longer
from glassformer.model.initial import draw_weights
from glassformer.model.language_model import LanguageModel
from glassformer.model.norm import Norm
from glassformer.model.rotary import Rotary, Rotation
from glassformer.model.unembed import Unembed
from glassformer.ops import Tape
from glassformer.trace import SILENT
from glassformer.watch.view import Source, View, itself


class Decoder(LanguageModel):
    """A decoder-only transformer.

    `tokenizer`, where it is known (`gf.load` sets it), turns texts into its ids and gives its
    traces words.

    >>> model = Decoder(Config(vocab_size=11, n_ctx=8, d_model=6, n_layers=2, n_heads=3))
    >>> model(torch.tensor([[1, 2, 3]])).shape
    torch.Size([1, 3, 11])
    """

    def __init__(self, config: Config, generator: torch.Generator | None = None) -> None:
        """New weights; `generator` draws them, PyTorch's own if there is none."""
        super().__init__(config)
        self.embed = Embed(config)
        added = config.position in ("learned", "sinusoidal")
        self.pos_embed = PosEmbed(config) if added else None
        self.ln_embed = Norm(config.norms, config.d_model) if config.embed_norm else None
        turns = [config.rotary(layer) for layer in range(config.n_layers)]
        self.rotary = nn.ModuleDict({turn.name: Rotary(turn) for turn in turns if turn is not None})
        self._turns = [None if turn is None else turn.name for turn in turns]
        self.blocks = nn.ModuleList(Block(config, layer) for layer in range(config.n_layers))
        self.ln_final = Norm(config.norms, config.d_model) if config.final_norm else None
        self.unembed = Unembed(config, self.embed)
        draw_weights(self, config, generator)

    def forward(
        self, ids: Ids, tape: Tape = SILENT, cache: KeyValueCache | None = None
    ) -> Float[Tensor, "batch pos vocab"]:
        """Logits of the next token at every position."""
        return self.logits_of(read_ids(ids, self.config.vocab_size), tape, cache)

    def loss(self, ids: Ids, targets: Ids, tape: Tape = SILENT) -> Float[Tensor, ""]:
        """Mean cross-entropy in nats over the targets that are not `ops.IGNORED`."""
        ids = read_ids(ids, self.config.vocab_size)
        return self.loss_of(ids, read_targets(targets, ids.shape, self.config.vocab_size), tape)

    def logits_of(
        self, ids: Tensor, t: Tape, cache: KeyValueCache | None = None
    ) -> Float[Tensor, "batch pos vocab"]:
        """`forward` for ids that were checked."""
        return self.unembed(self.residual(ids, t, cache), t)

    def loss_of(self, ids: Tensor, targets: Tensor, t: Tape) -> Float[Tensor, ""]:
        """`loss` for ids and targets that were checked."""
        return self.unembed.loss(self.residual(ids, t), targets, t)

    def residual(
        self, ids: Int[Tensor, "batch pos"], t: Tape, cache: KeyValueCache | None = None
    ) -> Float[Tensor, "batch pos d_model"]:
        """The residual stream after the last block and the final norm."""
        n = ids.shape[1]
        refuse_longer(n if cache is None else cache.length + n, self.config.n_ctx)
        mask = None if cache is None else cache.mask(n)
        x = self.embed(ids, t)
        rotations: dict[str | None, Rotation] = {}
        if self.pos_embed is not None or self.rotary:
            position = positions(ids, t, cache)
            if self.pos_embed is not None:
                x = t("resid_start", ops.add_positions, x, self.pos_embed(position, t))
            for name, rotary in self.rotary.items():
                rotations[name] = rotary(position, t.at("local") if name == "local" else t)
        if self.ln_embed is not None:
            x = self.ln_embed(x, t.at("ln_embed"))
        if self.draws():
            x = t(("embed_dropped", "embed_kept"), ops.dropout, x, p=self.config.dropout)[0]
        for layer, (block, turn) in enumerate(zip(self.blocks, self._turns, strict=True)):
            x = block(x, t.at(f"blocks.{layer}"), cache, mask, rotations.get(turn))
        if cache is not None:
            cache.advance(n)
        return x if self.ln_final is None else self.ln_final(x, t.at("ln_final"))

    def views(self, source: Source = itself) -> Iterator[View]:
        """Every parameter under its TransformerLens name, as views of what `source` gives."""
        yield from self.embed.views(source, "embed.")
        if self.pos_embed is not None:
            yield from self.pos_embed.views(source, "pos_embed.")
        if self.ln_embed is not None:
            yield from self.ln_embed.views(source, "ln_embed.")
        for layer, block in enumerate(self.blocks):
            yield from cast("Block", block).views(source, f"blocks.{layer}.")
        if self.ln_final is not None:
            yield from self.ln_final.views(source, "ln_final.")
        yield from self.unembed.views(source, "unembed.")
