"""Qwen3 with experts (Yang et al. 2025): 128 small ones, in all layers or in some."""

from typing import Any

from glassformer.errors import GlassformerError
from glassformer.interop import rotary
from glassformer.interop.families import _like_llama as usual
from glassformer.interop.settings import Setting, integer
from glassformer.model import Config


def _more(settings: dict[str, Any]) -> dict[str, Any]:
    n, step = settings["num_hidden_layers"], integer("decoder_sparse_step", settings[_STEP])
    dense = settings["mlp_only_layers"] or []
    if not isinstance(dense, list) or any(type(layer) is not int for layer in dense):
        raise GlassformerError(f"mlp_only_layers={dense!r} must be a list of layers")
    window = settings["sliding_window"] if settings["use_sliding_window"] else None
    return {
        **rotary.read(settings),
        **usual.read_window({**settings, "sliding_window": window}),
        "expert_layers": tuple((i + 1) % step == 0 and i not in dense for i in range(n)),
    }


def _write_more(config: Config) -> dict[str, Any]:
    window = usual.write_window(config)
    return {
        **rotary.write(config),
        **window,
        "use_sliding_window": window["sliding_window"] is not None,
        _STEP: 1,
        "mlp_only_layers": [i for i in range(config.n_layers) if not config.has_experts(i)],
    }


_STEP = "decoder_sparse_step"

FAMILY = usual.family(
    model_type="qwen3_moe",
    title="Qwen3 with experts",
    architecture="Qwen3MoeForCausalLM",
    settings=(
        *usual.settings(
            vocab_size=151936, n_ctx=32768, d_model=2048, n_layers=24, n_kv_heads=4, d_mlp=6144
        ),
        *usual.experts("num_experts", 128, 8),
        Setting("moe_intermediate_size", "d_expert", 768),
        Setting("norm_topk_prob", "expert_share", False),
        Setting("attention_bias", "attn_bias", False),
    ),
    choices={**usual.CHOICES, "qk_norm": True, "qk_norm_gain": True},
    more=_more,
    more_settings={
        **rotary.SETTINGS,
        "use_sliding_window": False,
        "sliding_window": 4096,
        _STEP: 1,
        "mlp_only_layers": None,
    },
    write_more=_write_more,
    ignored=f"{usual.IGNORED} {usual.ROUTER_TRAINING} max_window_layers",
    aliases={"num_local_experts": "num_experts"},
    always=usual.QK_ALWAYS,
    experts=usual.EXPERTS,
    router="mlp.gate",
)
