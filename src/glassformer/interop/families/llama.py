"""Llama (Touvron et al. 2023; Grattafiori et al. 2024), and SmolLM2 and TinyLlama in its form."""

from glassformer.interop.families import _like_llama as usual
from glassformer.interop.settings import Setting

FAMILY = usual.family(
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
    fixed={"pretraining_tp": (1, None)},
    buffers=usual.BUFFERS,
)
