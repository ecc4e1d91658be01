"""OLMo 2 (OLMo Team 2024): norms on what a branch adds, and on queries and keys of all heads."""

from glassformer.interop.families import _like_llama as usual
from glassformer.interop.layouts import FLAT
from glassformer.interop.settings import Setting

SETTINGS = (
    *usual.settings(vocab_size=50304, d_head=None, norm_eps=1e-5),
    Setting("attention_bias", "attn_bias", False),
)
CHOICES = {
    **usual.CHOICES,
    "norm_position": "branch",
    "qk_norm": True,
    "qk_norm_gain": True,
    "qk_norm_wide": True,
}
BLOCK = {
    **usual.ATTENTION,
    "ln1_post": "post_attention_layernorm",
    **usual.MLP,
    "ln2_post": "post_feedforward_layernorm",
}
LAYOUTS = {name: lambda _: FLAT for name in ("attn.q_norm", "attn.k_norm")}

FAMILY = usual.family(
    model_type="olmo2",
    title="OLMo 2",
    architecture="Olmo2ForCausalLM",
    settings=SETTINGS,
    choices=CHOICES,
    always=usual.QK_ALWAYS,
    block=BLOCK,
    layouts=LAYOUTS,
)
