"""Arcee (2025): a Llama without a gate, its neurons squared."""

from glassformer.interop.families import _like_llama as usual
from glassformer.interop.settings import Setting

FAMILY = usual.family(
    model_type="arcee",
    title="Arcee",
    architecture="ArceeForCausalLM",
    lens=True,
    settings=(
        *usual.settings(n_ctx=4096, d_model=2560, d_mlp=18432, norm_eps=1e-5, activation="relu2"),
        Setting("attention_bias", "attn_bias", False),
        Setting("mlp_bias", "mlp_bias", False),
    ),
    choices={**usual.CHOICES, "gated": False},
    fixed={"pretraining_tp": (1, None)},
    activation="mlp.act_fn",
)
