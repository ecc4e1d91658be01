"""Which model a configuration is of."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from glassformer.model.config import Config
from glassformer.model.decoder import Decoder
from glassformer.model.encoder import Encoder
from glassformer.model.encoder_decoder import EncoderDecoder
from glassformer.model.towers_config import TowersConfig

AnyModel = Decoder | Encoder | EncoderDecoder
OneTower = Decoder | Encoder


def kind_of(config: Config | TowersConfig) -> type[Any]:
    """A decoder if its tokens look at none after them, else an encoder; of two towers, both.

    >>> kind_of(Config.preset("gpt2")).__name__
    'Decoder'
    """
    if isinstance(config, TowersConfig):
        return EncoderDecoder
    return Decoder if config.causal else Encoder


def config_from(content: Mapping[str, Any]) -> Config | TowersConfig:
    """A configuration from its fields, as `to_dict` gives them."""
    return (TowersConfig if "encoder" in content else Config).from_dict(content)
