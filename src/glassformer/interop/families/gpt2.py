"""GPT-2 (Radford et al. 2019): its matrices are stored [in, out], as ours are, but for the head."""

from glassformer.interop.family import Family
from glassformer.interop.layouts import AS_OURS
from glassformer.interop.settings import ACTIVATIONS, Setting

FAMILY = Family(
    model_type="gpt2",
    title="GPT-2",
    architecture="GPT2LMHeadModel",
    lens=True,
    rank=0,
    settings=(
        Setting("vocab_size", "vocab_size", 50257),
        Setting("n_positions", "n_ctx", 1024),
        Setting("n_embd", "d_model", 768),
        Setting("n_layer", "n_layers", 12),
        Setting("n_head", "n_heads", 12),
        Setting("n_inner", "d_mlp", None, null=0),
        Setting("activation_function", "activation", "gelu_new", values=ACTIVATIONS),
        Setting("layer_norm_epsilon", "norm_eps", 1e-5),
        Setting("tie_word_embeddings", "tied", True),
        # embd_pdrop and attn_pdrop matter in training only and are not taken over
        Setting("resid_pdrop", "dropout", 0.1),
    ),
    write_more=lambda config: {
        "n_ctx": config.n_ctx,
        "embd_pdrop": config.dropout,
        "attn_pdrop": 0.0,
    },
    fixed={
        "scale_attn_weights": (True,),
        "scale_attn_by_inverse_layer_idx": (False,),
        "reorder_and_upcast_attn": (False, True),  # another order of the same arithmetic
    },
    ignored="attn_pdrop embd_pdrop n_ctx n_special predict_special_tokens summary_activation"
    " summary_first_dropout summary_proj_to_labels summary_type summary_use_proj"
    " vocab_size_or_config_json_file",
    aliases={
        "hidden_size": "n_embd",
        "max_position_embeddings": "n_positions",
        "num_attention_heads": "n_head",
        "num_hidden_layers": "n_layer",
    },
    always=(
        ("position", "learned", ("sinusoidal", "none")),
        ("norm_gain", True, (False,)),
        ("norm_bias", True, (False,)),
        ("attn_bias", True, (False,)),
        ("mlp_bias", True, (False,)),
    ),
    prefix="transformer.",
    layers="h.",
    layout=AS_OURS,
    embeddings={"embed.E": "wte", "pos_embed.pos": "wpe"},
    block={
        "ln1": "ln_1",
        "attn.Q attn.K attn.V": "attn.c_attn",
        "attn.O": "attn.c_proj",
        "ln2": "ln_2",
        "mlp.in": "mlp.c_fc",
        "mlp.out": "mlp.c_proj",
    },
    end={"ln_final": "ln_f"},
    buffers=r"transformer\.h\.\d+\.attn\.(bias|masked_bias)",  # causal masks of old versions
    entering="transformer.drop",
    activation="mlp.act",
)
