"""nanochat (Karpathy 2025): norms without gains, also of embeddings; it turns the other way round.

Its rotation is ours with the two halves of each head swapped, so the columns of W_Q and W_K are.
"""

from glassformer.interop import rotary
from glassformer.interop.families import _like_llama as usual
from glassformer.interop.family import Family
from glassformer.interop.layouts import reordered
from glassformer.interop.settings import Setting
from glassformer.model import Config


def _swapped(config: Config) -> list[int]:
    half = config.d_head // 2
    return [*range(half, 2 * half), *range(half)]


FAMILY = Family(
    model_type="nanochat",
    title="nanochat",
    architecture="NanoChatForCausalLM",
    settings=(
        *usual.settings(
            vocab_size=50304,
            d_model=768,
            d_mlp=8192,
            n_layers=12,
            n_heads=6,
            activation="relu2",
            d_head=None,
        ),
        Setting("attention_bias", "attn_bias", False),
        Setting("final_logit_softcapping", "logit_cap", 15.0, null=0.0),
    ),
    choices={
        **usual.CHOICES,
        "gated": False,
        "norm_gain": False,
        "embed_norm": True,
        "qk_norm": True,
        "qk_norm_last": True,
    },
    more=rotary.read,
    more_settings=rotary.SETTINGS,
    write_more=rotary.write,
    ignored=usual.IGNORED,
    layers=usual.LAYERS,
    embeddings=usual.EMBEDDINGS,
    block={**usual.ATTENTION, "mlp.in": "mlp.fc1", "mlp.out": "mlp.fc2"},
    end={},
    layouts={name: reordered(_swapped) for name in ("attn.Q", "attn.K")},
)
