"""The decoder: tokens in, a score for every possible next token out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from glassformer.errors import GlassformerError
from glassformer.model.adapter import freeze
from glassformer.model.attention import KeyValueCache
from glassformer.model.config import Config
from glassformer.model.ids import Ids, read_begins, read_ids, read_pairs, read_targets
from glassformer.model.initial import draw_weights
from glassformer.model.language_model import LanguageModel
from glassformer.model.tower import Tower
from glassformer.model.unembed import Unembed
from glassformer.ops import Tape
from glassformer.trace import SILENT, Recorder
from glassformer.watch.view import Source, View, itself
from glassformer.watch.watchable import NO_EXTRA_INPUTS, ExtraInputs


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
        if config.lora is not None:
            freeze(self)

    def forward(
        self,
        ids: Ids,
        tape: Tape = SILENT,
        cache: KeyValueCache | None = None,
        begins: Ids | None = None,
    ) -> Float[Tensor, "batch pos vocab"]:
        """Logits of the next token at every position.

        begins: [batch, pos], the place where each token's document begins; attention goes back to
        there. None: a row is one document.
        """
        ids = read_ids(ids, self.config.vocab_size)
        if cache is not None and begins is not None:
            raise GlassformerError(
                "begins is for texts that are read at once; leave it or the cache out"
            )
        extra = self.read_extra_inputs(ids, begins)
        x = self.residual(ids, tape, cache, begins=extra.get("begins"))
        logits: Tensor = self.unembed(x, tape)
        return logits

    def loss(
        self,
        ids: Ids,
        targets: Ids,
        tape: Tape = SILENT,
        begins: Ids | None = None,
        reference: Tensor | None = None,
        beta: Tensor | None = None,
    ) -> Float[Tensor, ""]:
        """Mean cross-entropy in nats over the targets that are not `ops.IGNORED`.

        reference, beta: [batch], of pairs of rows, a chosen and a rejected reply each; the loss is
        that of direct preference optimization, `ops.preference`. reference: the surprise at each
        reply, in nats, of the model that this one is compared with.
        """
        ids = read_ids(ids, self.config.vocab_size)
        targets = read_targets(targets, ids.shape, self.config.vocab_size)
        extra = self.read_extra_inputs(ids, begins, reference, beta)
        return self.loss_of(ids, targets, tape, extra)

    def read_extra_inputs(
        self,
        ids: Tensor,
        begins: Ids | None = None,
        reference: Tensor | None = None,
        beta: Tensor | None = None,
    ) -> ExtraInputs:
        extra = {} if begins is None else {"begins": read_begins(begins, ids.shape)}
        return extra | read_pairs(len(ids), reference, beta)

    def loss_of(
        self, ids: Tensor, targets: Tensor, t: Tape, extra: ExtraInputs = NO_EXTRA_INPUTS
    ) -> Float[Tensor, ""]:
        if "reference" not in extra:
            return super().loss_of(ids, targets, t, extra)
        compared = extra["reference"], extra["beta"]
        if isinstance(t, Recorder):
            for name, value in zip(("reference", "beta"), compared, strict=True):
                t.leaf("const", name, value, ("batch",))
        return self.unembed.preference_loss(self.final(ids, t, extra), targets, *compared, t)

    def surprises(self, ids: Tensor, targets: Tensor) -> Float[Tensor, "batch pos"]:
        """The surprise at each target, in nats; 0 where none is asked for."""
        return self.unembed.surprises(self.residual(ids, SILENT), targets)

    def labels(self, ids: Tensor, extra: ExtraInputs) -> dict[str, Sequence[str]]:
        words = super().labels(ids, extra)
        return {**words, "reply": ("chosen", "rejected")} if "reference" in extra else words

    def final(self, ids: Tensor, t: Tape, extra: ExtraInputs) -> Float[Tensor, "batch pos d_model"]:
        """The vectors that the unembedding reads."""
        begins = extra.get("begins")
        if begins is not None and isinstance(t, Recorder):
            t.leaf("const", "begins", begins, ("batch", "pos"))
        return self.residual(ids, t, begins=begins)

    def views(self, source: Source = itself) -> Iterator[View]:
        """Every parameter under its TransformerLens name, as views of what `source` gives."""
        yield from self.tower_views(source)
        yield from self.unembed.views(source, "unembed.")
