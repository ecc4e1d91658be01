"""Marian (Junczys-Dowmunt et al. 2018): the paper's encoder-decoder, trained to translate."""

from typing import Any

from glassformer.interop.families import _like_bart as usual
from glassformer.interop.settings import integer
from glassformer.interop.towers_family import TowersFamily
from glassformer.model import TowersConfig


def _more(settings: dict[str, Any]) -> dict[str, Any]:
    shared, target_size = (
        settings["share_encoder_decoder_embeddings"],
        settings["decoder_vocab_size"],
    )
    size = settings["vocab_size"] if target_size is None or shared else target_size
    return {
        **usual.scaled(settings),
        "decoder.vocab_size": integer("decoder_vocab_size", size),
        "shared_embeddings": shared,
    }


def _write_more(config: TowersConfig) -> dict[str, Any]:
    return {
        **usual.write_scaled(config),
        "decoder_vocab_size": config.decoder.vocab_size,
        "share_encoder_decoder_embeddings": config.shared_embeddings,
    }


FAMILY = TowersFamily(
    model_type="marian",
    title="Marian",
    architecture="MarianMTModel",
    settings=usual.settings(vocab_size=58101, pad=58100, start=58100),
    choices={**usual.CHOICES, "both.position": "sinusoidal", "both.sinusoid_halves": True},
    more=_more,
    write_more=_write_more,
    more_settings={
        **usual.MORE_SETTINGS,
        "share_encoder_decoder_embeddings": True,
        "decoder_vocab_size": None,
    },
    fixed=usual.FIXED,
    ignored=usual.IGNORED,
    always=usual.ALWAYS,
    layers="layers.",
    embeddings={},
    block=usual.BLOCK,
    decoder_block=usual.CROSS,
    end={},
    bias_of_head="final_logits_bias",
    buffers=r"model\.(?:encoder|decoder)\.embed_positions\.weight",  # the same sines in every model
)
