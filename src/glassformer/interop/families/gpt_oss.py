"""GPT-OSS (OpenAI 2025): experts whose gates have a limit, sinks, every other layer a window."""

from typing import Any

from glassformer.interop import rotary
from glassformer.interop.families import _like_llama as usual
from glassformer.interop.layouts import AS_OURS, TAKING_TURNS
from glassformer.interop.settings import Setting
from glassformer.model import Config

ROTARY = {  # where a folder says nothing of it
    "rope_type": "yarn",
    "factor": 32.0,
    "beta_fast": 32.0,
    "beta_slow": 1.0,
    "truncate": False,
    "original_max_position_embeddings": 4096,
}


def _more(settings: dict[str, Any]) -> dict[str, Any]:
    has_rope = any(settings[name] is not None for name in ("rope_parameters", "rope_scaling"))
    turns = settings if has_rope else {**settings, "rope_parameters": ROTARY}
    every_other = [i % 2 == 0 for i in range(settings["num_hidden_layers"])]
    return {**rotary.read(turns, 150000.0), **usual.read_windows(settings, every_other)}


def _write_more(config: Config) -> dict[str, Any]:
    windows = usual.write_windows(config)
    windows["sliding_window"] = windows["sliding_window"] or 128  # null is refused there
    return {**rotary.write(config), **windows}


FAMILY = usual.family(
    model_type="gpt_oss",
    title="GPT-OSS",
    architecture="GptOssForCausalLM",
    settings=(
        *usual.settings(
            vocab_size=201088,
            n_ctx=131072,
            d_model=2880,
            n_layers=36,
            n_heads=64,
            n_kv_heads=8,
            d_head=64,
            d_mlp=None,
            norm_eps=1e-5,
            activation=None,
        ),
        *usual.experts("num_local_experts", 128, 4),
        Setting("intermediate_size", "d_expert", 2880),
        Setting("swiglu_alpha", "gate_slope", 1.702),
        Setting("swiglu_limit", "gate_limit", 7.0),
        Setting("attention_bias", "attn_bias", True),
    ),
    choices={
        **usual.CHOICES,
        "mlp_bias": True,
        "activation": "silu",
        "attn_sinks": True,
        "expert_share": True,
        "router_bias": True,
    },
    more=_more,
    more_settings={**rotary.SETTINGS, "layer_types": None, "sliding_window": 128},
    write_more=_write_more,
    fixed={"hidden_act": ("silu",)},
    ignored=f"{usual.IGNORED} {usual.ROUTER_TRAINING} experts_per_token initial_context_length",
    aliases={"num_experts": "num_local_experts"},
    always=(
        ("norm_gain", True, (False,)),
        ("router_bias", True, (False,)),
        ("mlp_bias", True, (False,)),
    ),
    block={**usual.BLOCK, "attn.sinks": "self_attn.sinks"},
    experts={
        "mlp.router": "mlp.router",
        "mlp.gate mlp.in": "mlp.experts.gate_up_proj",
        "mlp.out": "mlp.experts.down_proj",
    },
    suffixes={
        "attn.sinks": ("", ".bias"),
        "mlp.gate mlp.in": ("", "_bias"),
        "mlp.out": ("", "_bias"),
    },
    layouts={"mlp.gate mlp.in": lambda _: TAKING_TURNS, "mlp.out": lambda _: AS_OURS},
    router="mlp.router",
)
