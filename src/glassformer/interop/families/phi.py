"""Phi (Li et al. 2023): attention and MLP read one norm, in parallel; biases, the head's too."""

from functools import partial

from glassformer.interop import rotary
from glassformer.interop.families import _like_llama as usual
from glassformer.interop.settings import Setting

FAMILY = usual.family(
    model_type="phi",
    title="Phi",
    architecture="PhiForCausalLM",
    lens=True,
    settings=(
        *usual.settings(
            vocab_size=51200,
            d_model=2048,
            d_mlp=8192,
            n_layers=24,
            norm_eps=None,
            activation="gelu_new",
        ),
        Setting("layer_norm_eps", "norm_eps", 1e-5),
        Setting("resid_pdrop", "dropout", 0.0),
    ),
    choices={"position": "rotary", "parallel": True, "shared_norm": True, "head_bias": True},
    more=partial(rotary.read, share=0.5),
    fixed={"qk_layernorm": (False,)},
    ignored=f"{usual.IGNORED} embd_pdrop",
    always=(
        ("norm_gain", True, (False,)),
        ("norm_bias", True, (False,)),
        ("attn_bias", True, (False,)),
        ("mlp_bias", True, (False,)),
        ("head_bias", True, (False,)),
    ),
    block={
        "ln1": "input_layernorm",
        **usual.ATTENTION,
        "attn.O": "self_attn.dense",
        "mlp.in": "mlp.fc1",
        "mlp.out": "mlp.fc2",
    },
    end={"ln_final": "final_layernorm"},
    entering="model.embed_dropout",
    activation="mlp.activation_fn",
)
