"""GPT-J (Wang and Komatsuzaki 2021): parallel, and neighbors turn together, not halves of a head.

Its pairs are (0, 1), (2, 3), ...; ours are (i, i + half), so the columns of W_Q and W_K are put in
our order.
"""

from glassformer.interop.family import Family
from glassformer.interop.layouts import reordered
from glassformer.interop.settings import ACTIVATIONS, Setting
from glassformer.model import Config


def _neighbors(config: Config) -> list[int]:
    half = config.rotary_dims // 2
    interleaved = [index for i in range(half) for index in (i, half + i)]
    return [*interleaved, *range(2 * half, config.d_head)]


FAMILY = Family(
    model_type="gptj",
    title="GPT-J",
    architecture="GPTJForCausalLM",
    settings=(
        Setting("vocab_size", "vocab_size", 50400),
        Setting("n_positions", "n_ctx", 2048),
        Setting("n_embd", "d_model", 4096),
        Setting("n_layer", "n_layers", 28),
        Setting("n_head", "n_heads", 16),
        Setting("rotary_dim", "rotary_dims", 64),
        Setting("n_inner", "d_mlp", None, null=0),
        Setting("activation_function", "activation", "gelu_new", values=ACTIVATIONS),
        Setting("layer_norm_epsilon", "norm_eps", 1e-5),
        Setting("tie_word_embeddings", "tied", False),
        Setting("resid_pdrop", "dropout", 0.0),
    ),
    choices={
        "position": "rotary",
        "parallel": True,
        "shared_norm": True,
        "attn_bias": False,
        "head_bias": True,
    },
    fixed={"rotary": (True,), "scale_attn_weights": (True,)},
    ignored="attn_pdrop embd_pdrop summary_activation summary_first_dropout summary_proj_to_labels"
    " summary_type summary_use_proj",
    aliases={
        "hidden_size": "n_embd",
        "max_position_embeddings": "n_positions",
        "num_attention_heads": "n_head",
        "num_hidden_layers": "n_layer",
    },
    always=(
        ("norm_gain", True, (False,)),
        ("norm_bias", True, (False,)),
        ("mlp_bias", True, (False,)),
        ("head_bias", True, (False,)),
    ),
    prefix="transformer.",
    layers="h.",
    embeddings={"embed.E": "wte"},
    block={
        "ln1": "ln_1",
        "attn.Q": "attn.q_proj",
        "attn.K": "attn.k_proj",
        "attn.V": "attn.v_proj",
        "attn.O": "attn.out_proj",
        "mlp.in": "mlp.fc_in",
        "mlp.out": "mlp.fc_out",
    },
    end={"ln_final": "ln_f"},
    layouts={"attn.Q": reordered(_neighbors), "attn.K": reordered(_neighbors)},
    buffers=r"transformer\.h\.\d+\.attn\.(bias|masked_bias|embed_positions)",
    entering="transformer.drop",
    activation="mlp.act",
)
