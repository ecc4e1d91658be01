"""The encoder: every token sees all others, and a masked one is guessed from both sides."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from jaxtyping import Float
from torch import Tensor

from glassformer.errors import GlassformerError
from glassformer.model.adapter import freeze
from glassformer.model.config import Config
from glassformer.model.ids import (
    Ids,
    read_ids,
    read_seen,
    read_targets,
    read_types,
    refuse_padding_in_front,
)
from glassformer.model.initial import draw_weights
from glassformer.model.language_model import LanguageModel
from glassformer.model.masked_head import MaskedHead
from glassformer.model.tower import Tower
from glassformer.model.unembed import Unembed
from glassformer.ops import Tape
from glassformer.trace import SILENT, Recorder
from glassformer.watch.view import Source, View, itself
from glassformer.watch.watchable import ExtraInputs


class Encoder(Tower, LanguageModel):
    """An encoder with a logit of every token at every position: Devlin et al. 2019.

    `seen` [batch, pos] is 1 or True for tokens and 0 or False for padding, which nobody looks at;
    `types` [batch, pos] are the tokens' types, 0 where they are not given. `tokenizer` as in
    `Decoder`.

    >>> config = Config(vocab_size=11, n_ctx=8, d_model=6, n_layers=2, n_heads=3, causal=False)
    >>> Encoder(config)(torch.tensor([[1, 2, 3]])).shape
    torch.Size([1, 3, 11])
    """

    def __init__(self, config: Config, generator: torch.Generator | None = None) -> None:
        """New weights; `generator` draws them, PyTorch's own if there is none."""
        if config.causal:
            raise GlassformerError(
                "an encoder's tokens see those after them too; give causal=False, or gf.Decoder"
            )
        super().__init__(config)
        self.build(config)
        self.masked_head = MaskedHead(config) if config.masked_head else None
        self.unembed = Unembed(config, self.embed)
        draw_weights(self, config, generator)
        if config.lora is not None:
            freeze(self)

    def forward(
        self, ids: Ids, tape: Tape = SILENT, seen: Ids | None = None, types: Ids | None = None
    ) -> Float[Tensor, "batch pos vocab"]:
        """Logits of what stands at every position."""
        ids = read_ids(ids, self.config.vocab_size)
        return self.logits_of(ids, tape, self.read_extra_inputs(ids, seen, types))

    def loss(
        self,
        ids: Ids,
        targets: Ids,
        tape: Tape = SILENT,
        seen: Ids | None = None,
        types: Ids | None = None,
    ) -> Float[Tensor, ""]:
        """Mean cross-entropy in nats over the targets that are not `ops.IGNORED`."""
        ids = read_ids(ids, self.config.vocab_size)
        targets = read_targets(targets, ids.shape, self.config.vocab_size)
        return self.loss_of(ids, targets, tape, self.read_extra_inputs(ids, seen, types))

    def read_extra_inputs(
        self, ids: Tensor, seen: Ids | None = None, types: Ids | None = None
    ) -> ExtraInputs:
        extra: dict[str, Tensor] = {}
        if seen is not None:
            extra["seen"] = read_seen(seen, ids.shape)
            if self.pos_embed is not None:
                refuse_padding_in_front(extra["seen"])
        if types is not None:
            extra["types"] = read_types(types, ids.shape, self.config.token_types)
        return extra

    def final(self, ids: Tensor, t: Tape, extra: ExtraInputs) -> Float[Tensor, "batch pos d_model"]:
        """The vectors that the unembedding reads."""
        seen = extra.get("seen")
        if seen is not None and isinstance(t, Recorder):
            t.leaf("const", "seen", seen, ("batch", "pos"))
        x = self.residual(ids, t, None, seen, extra.get("types"))
        return x if self.masked_head is None else self.masked_head(x, t.at("masked_head"))

    def views(self, source: Source = itself) -> Iterator[View]:
        """Every parameter under its name, as views of what `source` gives."""
        yield from self.tower_views(source)
        if self.masked_head is not None:
            yield from self.masked_head.views(source, "masked_head.")
        yield from self.unembed.views(source, "unembed.")
