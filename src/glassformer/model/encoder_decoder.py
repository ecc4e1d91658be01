"""Two towers: an encoder reads the source, a decoder attends to it and writes the target."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from glassformer.errors import GlassformerError
from glassformer.model.cross_attention import SOURCE_AXES, Memory
from glassformer.model.embed import Embed
from glassformer.model.ids import Ids, can_be_looked_at, read_ids, read_seen, read_targets
from glassformer.model.initial import draw_weights
from glassformer.model.language_model import LanguageModel
from glassformer.model.texts import Texts, labels, source_ids
from glassformer.model.tower import Tower
from glassformer.model.towers_config import TowersConfig
from glassformer.model.unembed import Unembed
from glassformer.ops import Tape
from glassformer.trace import SILENT, Recorder
from glassformer.watch.view import Source, View, itself
from glassformer.watch.watchable import ExtraInputs


class EncoderDecoder(LanguageModel[TowersConfig]):
    """An encoder-decoder transformer: Vaswani et al. 2017, figure 1.

    `source` is what the encoder reads: ids [source_pos] or [batch, source_pos], filled up with
    `config.pad_id` to one length, or texts where the model knows its tokenizer. `source_mask`
    [batch, source_pos] is 1 or True for its tokens and 0 or False for padding; left out, padding is
    where `pad_id` stands.

    >>> from glassformer.model.config import Config
    >>> tower = Config(vocab_size=11, n_ctx=8, d_model=6, n_layers=1, n_heads=3)
    >>> config = TowersConfig(encoder=tower.replace(causal=False), decoder=tower)
    >>> EncoderDecoder(config)(torch.tensor([[0, 4]]), source=[[1, 2, 3]]).shape
    torch.Size([1, 2, 11])
    """

    def __init__(self, config: TowersConfig, generator: torch.Generator | None = None) -> None:
        """New weights; `generator` draws them, PyTorch's own if there is none."""
        super().__init__(config)
        self.encoder: Tower = Tower()
        self.decoder: Tower = Tower()
        self.encoder.build(config.encoder)
        shared = self.encoder.embed if config.shared_embeddings else None
        self.decoder.build(config.decoder, shared, d_source=config.encoder.d_model)
        self.unembed = Unembed(config.decoder, self.decoder.embed)
        draw_weights(self.encoder, config.encoder, generator)
        draw_weights(self.decoder, config.decoder, generator)
        draw_weights(self.unembed, config.decoder, generator)

    def forward(
        self, ids: Ids, tape: Tape = SILENT, *, source: Texts, source_mask: Ids | None = None
    ) -> Float[Tensor, "batch pos vocab"]:
        """Logits of the next target token at every position; `ids` begin with the start token."""
        ids = read_ids(ids, self.config.vocab_size)
        return self.logits_of(ids, tape, self.read_extra_inputs(ids, source, source_mask))

    def loss(
        self,
        ids: Ids,
        targets: Ids,
        tape: Tape = SILENT,
        *,
        source: Texts,
        source_mask: Ids | None = None,
    ) -> Float[Tensor, ""]:
        """Mean cross-entropy in nats over the targets that are not `ops.IGNORED`."""
        ids = read_ids(ids, self.config.vocab_size)
        targets = read_targets(targets, ids.shape, self.config.vocab_size)
        return self.loss_of(ids, targets, tape, self.read_extra_inputs(ids, source, source_mask))

    def read_extra_inputs(
        self, ids: Tensor, source: Texts | None = None, source_mask: Ids | None = None
    ) -> ExtraInputs:
        """The source, and where something of it is padding, which of it may be seen."""
        if source is None:
            raise GlassformerError(
                "an encoder-decoder reads a source beside the target; give source=, a text or ids"
            )
        pad = self.config.pad_id
        rows = read_ids(source_ids(source, self.tokenizer, pad), self.config.encoder.vocab_size)
        if len(rows) != len(ids):
            raise GlassformerError(
                f"there are {len(rows)} sources for {len(ids)} targets; give one for each"
            )
        seen = rows != pad if source_mask is None else read_seen(source_mask, rows.shape)
        if can_be_looked_at(seen):
            if not bool(seen.any(1).all()):
                raise GlassformerError(
                    f"a source is nothing but padding (id {pad}); give it a token"
                )
            if bool(seen.all()):
                return {"source": rows}
        return {"source": rows, "source_seen": seen}

    def final(self, ids: Tensor, t: Tape, extra: ExtraInputs) -> Float[Tensor, "batch pos d_model"]:
        """The decoder's vectors that the unembedding reads."""
        return self.decoder.residual(ids, t.at("decoder"), memory=self.memory(extra, t))

    def memory(self, extra: ExtraInputs, t: Tape) -> Memory:
        """What the decoder attends to: the encoder's last vectors."""
        source, seen = extra["source"], extra.get("source_seen")
        t = t.along(SOURCE_AXES)
        if isinstance(t, Recorder):
            t.leaf("token", "source", source, ("batch", "pos"))
            if seen is not None:
                t.leaf("const", "source_seen", seen, ("batch", "pos"))
        return Memory(self.encoder.residual(source, t.at("encoder"), seen=seen), seen)

    def labels(self, ids: Tensor, extra: ExtraInputs) -> dict[str, Sequence[str]]:
        assert self.tokenizer is not None, "asked of a model that knows its tokenizer"
        of_source = labels(self.tokenizer, extra["source"])
        more = {"source_pos": of_source["pos"]} if "pos" in of_source else {}
        return {**labels(self.tokenizer, ids), **more}

    @property
    def embed(self) -> Embed:
        """The table of the tokens that are written."""
        return self.decoder.embed

    def views(self, source: Source = itself) -> Iterator[View]:
        """Every parameter under its name, as views of what `source` gives."""
        yield from self.encoder.tower_views(source, "encoder.")
        yield from self.decoder.tower_views(source, "decoder.")
        yield from self.unembed.views(source, "unembed.")
