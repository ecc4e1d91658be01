"""Mixtral (Jiang et al. 2024): a Mistral with experts, each token through two of eight."""

from typing import Any

from glassformer.interop import rotary
from glassformer.interop.families import _like_llama as usual
from glassformer.interop.settings import Setting
from glassformer.model import Config


def _more(settings: dict[str, Any]) -> dict[str, Any]:
    return {**rotary.read(settings, 1e6), **usual.read_window(settings)}


def _write_more(config: Config) -> dict[str, Any]:
    return {**rotary.write(config), **usual.write_window(config)}


FAMILY = usual.family(
    model_type="mixtral",
    title="Mixtral",
    architecture="MixtralForCausalLM",
    settings=(
        *usual.settings(n_ctx=131072, d_mlp=None, n_kv_heads=8, norm_eps=1e-5),
        *usual.experts("num_local_experts", 8, 2),
        Setting("intermediate_size", "d_expert", 14336),
    ),
    choices={**usual.CHOICES, "expert_share": True},
    more=_more,
    more_settings={**rotary.SETTINGS, "sliding_window": None},
    write_more=_write_more,
    ignored=f"{usual.IGNORED} {usual.ROUTER_TRAINING} router_jitter_noise",
    aliases={"num_experts": "num_local_experts"},
    experts={
        "mlp.router": "block_sparse_moe.gate",
        "mlp.gate": "block_sparse_moe.experts.{}.w1",
        "mlp.in": "block_sparse_moe.experts.{}.w3",
        "mlp.out": "block_sparse_moe.experts.{}.w2",
    },
    router="mlp.gate",
)
