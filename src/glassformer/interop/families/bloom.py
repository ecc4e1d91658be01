"""BLOOM (BigScience 2022): ALiBi for positions, and a norm of what enters the first block."""

from glassformer.interop.family import Family
from glassformer.interop.layouts import by_head
from glassformer.interop.settings import Setting

FAMILY = Family(
    model_type="bloom",
    title="BLOOM",
    architecture="BloomForCausalLM",
    settings=(
        Setting("vocab_size", "vocab_size", 250880),
        Setting("seq_length", "n_ctx", 2048),  # as trained: nothing in the model ends there
        Setting("hidden_size", "d_model", 64),
        Setting("n_layer", "n_layers", 2),
        Setting("n_head", "n_heads", 8),
        Setting("layer_norm_epsilon", "norm_eps", 1e-5),
        Setting("tie_word_embeddings", "tied", True),
        Setting("hidden_dropout", "dropout", 0.0),
    ),
    choices={"position": "alibi", "embed_norm": True},
    fixed={
        "apply_residual_connection_post_layernorm": (False,),
        "slow_but_exact": (False,),
        "n_inner": (None,),
    },
    ignored="attention_dropout attention_softmax_in_fp32 bias_dropout_fusion masked_softmax_fusion"
    " offset_alibi pretraining_tp skip_bias_add skip_bias_add_qkv",  # how Megatron computed it
    aliases={
        "n_embed": "hidden_size",
        "num_attention_heads": "n_head",
        "num_hidden_layers": "n_layer",
    },
    always=(
        ("norm_gain", True, (False,)),
        ("norm_bias", True, (False,)),
        ("attn_bias", True, (False,)),
        ("mlp_bias", True, (False,)),
    ),
    prefix="transformer.",
    layers="h.",
    embeddings={"embed.E": "word_embeddings", "ln_embed": "word_embeddings_layernorm"},
    block={
        "ln1": "input_layernorm",
        "attn.Q attn.K attn.V": "self_attention.query_key_value",
        "attn.O": "self_attention.dense",
        "ln2": "post_attention_layernorm",
        "mlp.in": "mlp.dense_h_to_4h",
        "mlp.out": "mlp.dense_4h_to_h",
    },
    end={"ln_final": "ln_f"},
    layouts={"attn.Q attn.K attn.V": by_head},
    entering="transformer.word_embeddings_layernorm",
    activation="mlp.gelu_impl",
)
