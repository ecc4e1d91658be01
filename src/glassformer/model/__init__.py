"""The model, from a configuration to logits."""

import warnings

from glassformer.model.config import Config as Config
from glassformer.model.decoder import Decoder as Decoder
from glassformer.model.encoder import Encoder as Encoder
from glassformer.model.encoder_decoder import EncoderDecoder as EncoderDecoder
from glassformer.model.preset import build_preset as build_preset
from glassformer.model.preset_files import load_preset as load_preset
from glassformer.model.preset_files import preset_names as preset_names
from glassformer.model.towers_config import TowersConfig as TowersConfig


def __getattr__(name: str) -> type[Decoder]:
    if name != "Transformer":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    warnings.warn("Transformer is called Decoder now", DeprecationWarning, stacklevel=2)
    return Decoder
