"""Llama (Touvron et al. 2023; Grattafiori et al. 2024), and SmolLM2 and TinyLlama in its form."""

from glassformer.interop import rotary
from glassformer.interop.families import _like_llama as usual
from glassformer.interop.family import Family
from glassformer.interop.settings import Setting

FAMILY = Family(
    model_type="llama",
    title="Llama",
    architecture="LlamaForCausalLM",
    lens=True,
    rank=1,
    settings=(
        *usual.settings(),
        Setting("attention_bias", "attn_bias", False),
        Setting("mlp_bias", "mlp_bias", False),
    ),
    choices=usual.CHOICES,
    more=rotary.read,
    more_settings=rotary.SETTINGS,
    write_more=rotary.write,
    fixed={"pretraining_tp": (1, None)},
    ignored=usual.IGNORED,
    always=(("norm_gain", True, (False,)),),
    layers=usual.LAYERS,
    embeddings=usual.EMBEDDINGS,
    block=usual.BLOCK,
    end=usual.END,
    buffers=usual.BUFFERS,
)
