"""Which fields of a configuration change what is computed."""

from __future__ import annotations

from dataclasses import fields

from glassformer.model.config import Config
from glassformer.model.config_fields import TRAINING_ONLY, of_layer


def effective(config: Config) -> Config:
    """The same computation with every field that makes no difference at its default.

    >>> config = Config(vocab_size=5, n_ctx=8, d_model=4, n_layers=1, n_heads=1, rotary_base=5e5)
    >>> effective(config).rotary_base  # positions are learned
    10000.0
    """
    sparse = sum(map(config.has_experts, range(config.n_layers)))
    dense = not sparse
    unused = {
        "sinusoid_halves": config.position != "sinusoidal",
        "relative_buckets": config.position != "relative",
        "relative_distance": config.position != "relative",
        "rotary_base": config.position != "rotary",
        "rotary_dims": config.position != "rotary",
        "rotary_scaling": config.position != "rotary",
        "rotary_layers": config.position != "rotary" or all(config.rotary_layers),
        "local_rotary_base": config.position != "rotary"
        or not any(config.windows)
        or (config.local_rotary_base == config.rotary_base and config.rotary_scaling is None),
        "alibi_bf16": config.position != "alibi",
        "windows": not any(config.windows),
        "attn_scale": config.attn_scale == config.d_head**-0.5,
        "qk_norm_gain": not config.qk_norm,
        "qk_norm_wide": not config.qk_norm,
        "qk_norm_last": not config.qk_norm or config.position != "rotary",
        "attn_bias_on": not config.attn_bias,
        "shared_norm": not config.parallel,
        "norm_gain_from_one": not (config.norm_gain or config.qk_norm_gain),
        "n_experts": dense,
        "experts_per_token": dense,
        "expert_share": dense,
        "expert_layers": dense or all(config.expert_layers),
        "d_expert": dense,
        "d_mlp": sparse == config.n_layers,
        "router_bias": dense,
        "gate_limit": dense,
        "gate_slope": dense or not config.gate_limit,
        "first_norm": config.norm_position not in ("pre", "both"),
        **dict.fromkeys(TRAINING_ONLY, True),
    }
    defaults = {f.name: f.default for f in fields(config)}
    attributes = {
        name: tuple(of_layer(getattr(config, name), i, None) for i in range(config.n_layers))
        for name in ("windows", "rotary_layers", "expert_layers")
        if getattr(config, name)
    }
    kept = {} if dense else {"d_expert": config.d_expert}  # whatever d_mlp becomes
    return config.replace(**attributes).replace(
        **kept, **{name: defaults[name] for name, is_unused in unused.items() if is_unused}
    )
