"""Which model a configuration is of."""

from __future__ import annotations

from glassformer.model.config import Config
from glassformer.model.decoder import Decoder
from glassformer.model.encoder import Encoder


def kind_of(config: Config) -> type[Decoder] | type[Encoder]:
    """A decoder if its tokens look at none after them, else an encoder.

    >>> kind_of(Config.preset("gpt2")).__name__
    'Decoder'
    """
    return Decoder if config.causal else Encoder
