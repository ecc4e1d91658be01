"""GPT-NeoX (Black et al. 2022) and Pythia: attention and MLP read the same stream, in parallel."""

from functools import partial

from glassformer.interop import rotary
from glassformer.interop.families import _like_llama as usual
from glassformer.interop.family import Family
from glassformer.interop.layouts import by_head
from glassformer.interop.settings import Setting

FAMILY = Family(
    model_type="gpt_neox",
    title="GPT-NeoX",
    architecture="GPTNeoXForCausalLM",
    lens=True,
    settings=(
        *usual.settings(
            vocab_size=50432,
            d_model=6144,
            d_mlp=24576,
            n_layers=44,
            n_heads=64,
            n_kv_heads=None,
            d_head=None,
            norm_eps=None,
            activation="gelu",
        ),
        Setting("layer_norm_eps", "norm_eps", 1e-5),
        Setting("use_parallel_residual", "parallel", True),
        Setting("attention_bias", "attn_bias", True),
        Setting("hidden_dropout", "dropout", 0.0),
    ),
    choices={"position": "rotary"},
    more=partial(rotary.read, share=0.25),
    more_settings=rotary.SETTINGS,
    write_more=rotary.write,
    ignored="attention_dropout classifier_dropout",
    aliases={"rotary_emb_base": "rope_theta", "rotary_pct": "partial_rotary_factor"},
    always=(
        ("norm_gain", True, (False,)),
        ("norm_bias", True, (False,)),
        ("mlp_bias", True, (False,)),
    ),
    prefix="gpt_neox.",
    layers="layers.",
    embeddings={"embed.E": "embed_in"},
    block={
        "ln1": "input_layernorm",
        "ln2": "post_attention_layernorm",
        "attn.Q attn.K attn.V": "attention.query_key_value",
        "attn.O": "attention.dense",
        "mlp.in": "mlp.dense_h_to_4h",
        "mlp.out": "mlp.dense_4h_to_h",
    },
    end={"ln_final": "final_layer_norm"},
    layouts={"attn.Q attn.K attn.V": by_head},
    renamed={"embed_out.": "lm_head."},
    buffers=r"gpt_neox\.layers\.\d+\.attention\.(bias|masked_bias|rotary_emb\.inv_freq)",
    activation="mlp.act",
)
