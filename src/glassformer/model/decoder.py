"""The decoder: tokens in, a score for every possible next token out."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from jaxtyping import Float
from torch import Tensor

from glassformer.errors import GlassformerError
from glassformer.model.attention import KeyValueCache
from glassformer.model.config import Config
from glassformer.model.ids import Ids, read_ids, read_targets
from glassformer.model.initial import draw_weights
from glassformer.model.language_model import LanguageModel
from glassformer.model.tower import Tower
from glassformer.model.unembed import Unembed
from glassformer.ops import Tape
from glassformer.trace import SILENT
from glassformer.watch.view import Source, View, itself
from glassformer.watch.watchable import NOTHING_MORE, Given


class Decoder(Tower, LanguageModel):
    """A decoder-only transformer.

    `tokenizer`, where it is known (`gf.load` sets it), turns texts into its ids and gives its
    traces words.

    >>> model = Decoder(Config(vocab_size=11, n_ctx=8, d_model=6, n_layers=2, n_heads=3))
    >>> model(torch.tensor([[1, 2, 3]])).shape
    torch.Size([1, 3, 11])
    """

    def __init__(self, config: Config, generator: torch.Generator | None = None) -> None:
        """New weights; `generator` draws them, PyTorch's own if there is none."""
        if not config.causal or config.masked_head:
            raise GlassformerError(
                "a decoder's tokens look at none after them, so it needs causal=True and no"
                " masked_head; a model of causal=False is gf.Encoder"
            )
        super().__init__(config)
        self.build(config)
        self.unembed = Unembed(config, self.embed)
        draw_weights(self, config, generator)

    def forward(
        self, ids: Ids, tape: Tape = SILENT, cache: KeyValueCache | None = None
    ) -> Float[Tensor, "batch pos vocab"]:
        """Logits of the next token at every position."""
        return self.unembed(self.residual(read_ids(ids, self.config.vocab_size), tape, cache), tape)

    def loss(self, ids: Ids, targets: Ids, tape: Tape = SILENT) -> Float[Tensor, ""]:
        """Mean cross-entropy in nats over the targets that are not `ops.IGNORED`."""
        ids = read_ids(ids, self.config.vocab_size)
        return self.loss_of(ids, read_targets(targets, ids.shape, self.config.vocab_size), tape)

    def logits_of(
        self, ids: Tensor, t: Tape, given: Given = NOTHING_MORE
    ) -> Float[Tensor, "batch pos vocab"]:
        """`forward` for ids that were checked."""
        del given  # it reads nothing beside ids
        return self.unembed(self.residual(ids, t), t)

    def loss_of(
        self, ids: Tensor, targets: Tensor, t: Tape, given: Given = NOTHING_MORE
    ) -> Float[Tensor, ""]:
        """`loss` for ids and targets that were checked."""
        del given
        return self.unembed.loss(self.residual(ids, t), targets, t)

    def views(self, source: Source = itself) -> Iterator[View]:
        """Every parameter under its TransformerLens name, as views of what `source` gives."""
        yield from self.tower_views(source)
        yield from self.unembed.views(source, "unembed.")
