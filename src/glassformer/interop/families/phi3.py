"""Phi-3 and Phi-4 (Abdin et al. 2024): a Llama with fused queries, keys and values, gate and up."""

from typing import Any

from glassformer.errors import GlassformerError
from glassformer.interop import rotary
from glassformer.interop.families import _like_llama as usual
from glassformer.interop.settings import Setting
from glassformer.model import Config
from glassformer.model.parts import LONGROPE

OLD_NAMES = (LONGROPE, "su", "yarn")
"""What longrope was called in folders of a Phi-3; its original context stands beside it."""


def _more(settings: dict[str, Any]) -> dict[str, Any]:
    original = settings[rotary.ORIGINAL]
    settings = dict(settings)
    for name in ("rope_parameters", "rope_scaling"):
        rope = settings[name]
        if isinstance(rope, dict) and rope.get("rope_type", rope.get("type")) in OLD_NAMES:
            settings[name] = {**rope, "rope_type": LONGROPE, rotary.ORIGINAL: original}
    turns = rotary.read(settings, share=1.0)
    scaling = turns["rotary_scaling"]
    if scaling is not None and scaling.kind != LONGROPE:
        raise GlassformerError("rope_parameters: the only scaling of a Phi-3 is longrope")
    return {**turns, **usual.read_window(settings)}


def _write_more(config: Config) -> dict[str, Any]:
    scaling = config.rotary_scaling
    original = {rotary.ORIGINAL: scaling.original_n_ctx} if scaling else {}
    return {**rotary.write(config), **original, **usual.write_window(config)}


FAMILY = usual.family(
    model_type="phi3",
    title="Phi-3",
    architecture="Phi3ForCausalLM",
    lens=True,
    settings=(
        *usual.settings(vocab_size=32064, n_ctx=4096, d_model=3072, d_mlp=8192, norm_eps=1e-5),
        Setting("resid_pdrop", "dropout", 0.0),
    ),
    more=_more,
    more_settings={**rotary.SETTINGS, "sliding_window": None, rotary.ORIGINAL: 4096},
    write_more=_write_more,
    fixed={"attention_bias": (False,)},
    ignored=f"{usual.IGNORED} embd_pdrop",
    block={
        "ln1": "input_layernorm",
        "attn.Q attn.K attn.V": "self_attn.qkv_proj",
        "attn.O": "self_attn.o_proj",
        "ln2": "post_attention_layernorm",
        "mlp.gate mlp.in": "mlp.gate_up_proj",
        "mlp.out": "mlp.down_proj",
    },
)
