"""OLMoE (Muennighoff et al. 2024): 64 small experts, and norms of queries and keys of all heads."""

from glassformer.interop.families import _like_llama as usual
from glassformer.interop.families.olmo2 import LAYOUTS
from glassformer.interop.settings import Setting

FAMILY = usual.family(
    model_type="olmoe",
    title="OLMoE",
    architecture="OlmoeForCausalLM",
    settings=(
        *usual.settings(
            vocab_size=50304,
            n_ctx=4096,
            d_model=2048,
            n_layers=16,
            n_heads=16,
            d_head=None,
            d_mlp=None,
            norm_eps=1e-5,
        ),
        *usual.experts("num_experts", 64, 8),
        Setting("intermediate_size", "d_expert", 2048),
        Setting("norm_topk_prob", "expert_share", False),
        Setting("attention_bias", "attn_bias", False),
    ),
    choices={**usual.CHOICES, "qk_norm": True, "qk_norm_gain": True, "qk_norm_wide": True},
    fixed={"clip_qkv": (None,)},
    ignored=f"{usual.IGNORED} {usual.ROUTER_TRAINING}",
    aliases={"num_local_experts": "num_experts"},
    always=usual.QK_ALWAYS,
    experts=usual.EXPERTS,
    layouts=LAYOUTS,
    router="mlp.gate",
)
