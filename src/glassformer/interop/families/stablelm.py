"""StableLM (Bellagente et al. 2024): a Llama with layer norms that turns a quarter of each head."""

from functools import partial

from glassformer.interop import rotary
from glassformer.interop.families import _like_llama as usual
from glassformer.interop.settings import Setting

FAMILY = usual.family(
    model_type="stablelm",
    title="StableLM",
    architecture="StableLmForCausalLM",
    lens=True,
    settings=(
        *usual.settings(
            vocab_size=50304,
            n_ctx=4096,
            d_model=2560,
            d_mlp=6912,
            n_kv_heads=32,
            d_head=None,
            norm_eps=None,
        ),
        Setting("layer_norm_eps", "norm_eps", 1e-5),
        Setting("use_qkv_bias", "attn_bias", False),
        Setting("use_parallel_residual", "parallel", False),
        Setting("hidden_dropout", "dropout", 0.0),
    ),
    choices={
        "position": "rotary",
        "shared_norm": True,
        "gated": True,
        "attn_bias_on": "qkv",
        "mlp_bias": False,
    },
    more=partial(rotary.read, share=0.25),
    fixed={"qk_layernorm": (False,)},
    always=(("norm_gain", True, (False,)), ("norm_bias", True, (False,))),
)
