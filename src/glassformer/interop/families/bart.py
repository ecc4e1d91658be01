"""BART (Lewis et al. 2020): learned positions, a norm on what enters, and post-norm blocks."""

from glassformer.interop.families import _like_bart as usual
from glassformer.interop.layouts import rows_in_front
from glassformer.interop.towers_family import TowersFamily

FAMILY = TowersFamily(
    model_type="bart",
    title="BART",
    architecture="BartForConditionalGeneration",
    settings=usual.settings(vocab_size=50265, pad=1, start=2),
    choices={**usual.CHOICES, "both.embed_norm": True, "shared_embeddings": True},
    more=lambda settings: {
        **usual.scaled(settings),
        "decoder.vocab_size": settings["vocab_size"],
    },
    write_more=usual.write_scaled,
    more_settings=usual.MORE_SETTINGS,
    fixed=usual.FIXED,
    ignored=usual.IGNORED,
    always=(*usual.ALWAYS, ("both.position", "learned", ("sinusoidal", "none"))),
    layers="layers.",
    embeddings={"pos_embed.pos": "embed_positions", "ln_embed": "layernorm_embedding"},
    layouts={"pos_embed.pos": lambda _: rows_in_front(2)},  # position 0 stands in row 2
    block=usual.BLOCK,
    decoder_block=usual.CROSS,
    end={},
    bias_of_head="final_logits_bias",
)
