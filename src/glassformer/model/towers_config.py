"""What an encoder-decoder looks like: a configuration for each tower, and what they share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

from glassformer.checked import Checked, Range
from glassformer.errors import GlassformerError
from glassformer.model.config import Config
from glassformer.model.config_fields import MAX_SIZE

TokenId = Annotated[int, Range(0, MAX_SIZE - 1)]


@dataclass(frozen=True, repr=False)
class TowersConfig(Checked):
    """The configuration of an encoder-decoder.

    `encoder` reads the source, all of it at once (causal=False); `decoder` writes the target and
    has, in every block, cross-attention of the same shape as its attention. With
    `shared_embeddings` both towers look up the encoder's table. `pad_id` fills sources up to one
    length and is hidden from all that look; `start_id` stands before every target.

    >>> tower = Config(vocab_size=9, n_ctx=8, d_model=6, n_layers=1, n_heads=2)
    >>> TowersConfig(encoder=tower.replace(causal=False), decoder=tower).vocab_size
    9
    """

    noun: ClassVar[str] = "configuration of an encoder-decoder"

    encoder: Config
    decoder: Config
    shared_embeddings: bool = True
    pad_id: TokenId = 0
    start_id: TokenId = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.encoder.causal:
            raise GlassformerError("the encoder sees all of the source; give it causal=False")
        if not self.decoder.causal:
            raise GlassformerError("the decoder may not see the future; give it causal=True")
        if self.decoder.parallel:
            raise GlassformerError(
                "a block with cross-attention has its branches one after the other; give the"
                " decoder parallel=False"
            )
        if self.encoder.lora is not None or self.decoder.lora is not None:
            raise GlassformerError(
                "adapters are for a model of one tower; an encoder-decoder is trained whole"
            )
        if self.encoder.masked_head or self.decoder.masked_head:
            raise GlassformerError(
                "masked_head is for an encoder alone; here the decoder gives the logits"
            )
        for name in ("vocab_size", "d_model") if self.shared_embeddings else ():
            one, other = getattr(self.encoder, name), getattr(self.decoder, name)
            if one != other:
                raise GlassformerError(
                    f"towers that share their embeddings have one {name}, and here it is {one:,}"
                    f" and {other:,}; give shared_embeddings=False"
                )
        for name, id_, size in (
            ("pad_id", self.pad_id, self.encoder.vocab_size),
            ("start_id", self.start_id, self.decoder.vocab_size),
        ):
            if id_ >= size:
                raise GlassformerError(f"{name}={id_:,} is outside the vocabulary of {size:,}")

    @property
    def causal(self) -> bool:
        """Whether it goes on with a text, as a decoder does: it does with the target."""
        return True

    @property
    def vocab_size(self) -> int:
        """Of the target."""
        return self.decoder.vocab_size

    @property
    def n_ctx(self) -> int:
        """Tokens of a target at most."""
        return self.decoder.n_ctx

    def with_dropout(self, p: float) -> TowersConfig:
        """The same with another probability of dropout, in both towers."""
        towers = {"encoder": self.encoder, "decoder": self.decoder}
        return self.replace(**{name: t.replace(dropout=p).to_dict() for name, t in towers.items()})

    @property
    def tied(self) -> bool:
        """Whether the unembedding is the decoder's embedding table."""
        return self.decoder.tied

    @property
    def n_layers(self) -> int:
        """Of the decoder."""
        return self.decoder.n_layers

    @property
    def in_words(self) -> str:
        """The shapes of both towers."""
        return f"encoder of {self.encoder.in_words}, decoder of {self.decoder.in_words}"

    @property
    def dropout(self) -> float:
        return max(self.encoder.dropout, self.decoder.dropout)
