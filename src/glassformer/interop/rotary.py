"""Rotary positions as `transformers` writes them: `rope_parameters`, or the older settings."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from glassformer.errors import GlassformerError
from glassformer.interop.settings import integer, positive
from glassformer.model import Config
from glassformer.model.parts import LONGROPE, RotaryScaling

SETTINGS: dict[str, Any] = {
    "rope_parameters": None,
    "rope_theta": None,
    "rope_scaling": None,
    "partial_rotary_factor": None,
    "rope_local_base_freq": None,
}
"""What `read` looks at, and what it takes where config.json leaves it out."""

FULL, SLIDING = "full_attention", "sliding_attention"
LLAMA3 = {"low_freq_factor": "low", "high_freq_factor": "high"}
ORIGINAL = "original_max_position_embeddings"
FACTORS = {"short_factor": "short", "long_factor": "long"}
YARN = {"beta_slow": "low", "beta_fast": "high", "truncate": "whole_pairs"}
OTHERS = ("rope_type", "type", "rope_theta", "partial_rotary_factor", "factor")


def read(
    settings: Mapping[str, Any], base: float = 1e4, local_base: float = 0.0, share: float = 0.0
) -> dict[str, Any]:
    """Our fields; `base`, `local_base` and `share` of the dimensions are the family's defaults.

    `local_base`: of layers with a window, where the family gives these a base of their own.
    `share` 0: the family turns all of a head, whatever `partial_rotary_factor` would be.
    """
    parameters = settings["rope_parameters"] or settings["rope_scaling"] or {}
    if not isinstance(parameters, dict):
        raise GlassformerError(f"rope_parameters={parameters!r} must be an object")
    nested = FULL in parameters or SLIDING in parameters
    full = dict((parameters.get(FULL) or {}) if nested else parameters)
    theta = base if settings["rope_theta"] is None else settings["rope_theta"]
    part = full.get("partial_rotary_factor", settings["partial_rotary_factor"])
    if not share and part not in (None, 1):
        raise GlassformerError(
            f"partial_rotary_factor={part!r} must be 1: this family turns all of a head"
        )
    part = positive("partial_rotary_factor", (share or 1.0) if part is None else part)
    head = settings.get("head_dim") or settings["hidden_size"] // settings["num_attention_heads"]
    result: dict[str, Any] = {
        "rotary_base": positive("rope_theta", full.get("rope_theta", theta)),
        "rotary_dims": int(head * part),
        "rotary_scaling": _read_scaling(full, settings["max_position_embeddings"]),
    }
    if local_base:
        local = dict((parameters.get(SLIDING) or {}) if nested else {})
        if local.get("rope_type", "default") != "default":
            raise GlassformerError("rope_parameters: layers with a window can't be scaled")
        base = local.get("rope_theta", settings["rope_local_base_freq"])
        result["local_rotary_base"] = positive("rope_theta", local_base if base is None else base)
    return result


def _read_scaling(parameters: dict[str, Any], n_ctx: int) -> RotaryScaling | None:
    kind = parameters.get("rope_type", parameters.get("type", "default"))
    if kind == "default":
        return None
    if kind == LONGROPE:
        return _read_longrope(parameters, n_ctx)
    if kind not in ("linear", "llama3", "yarn"):
        raise GlassformerError(
            f"rope_type={kind!r} is no rotary scaling that Glassformer computes; it can be default,"
            " linear, llama3, yarn or longrope"
        )
    names = {"linear": {}, "llama3": LLAMA3, "yarn": YARN}[kind]
    known = (*OTHERS, *names, ORIGINAL)
    known = (*known, "attention_factor", "mscale", "mscale_all_dim") if kind == "yarn" else known
    for name, value in parameters.items():
        if name not in known and value is not None:
            raise GlassformerError(f"rope_parameters: {name!r} is no known setting of {kind}")
    factor = positive("factor", parameters.get("factor"))
    if kind == "linear":
        return RotaryScaling(kind, factor)
    usual = {"low": 1.0, "high": 32.0} if kind == "yarn" else {}
    ends = {ours: parameters[n] for n, ours in names.items() if parameters.get(n) is not None}
    return RotaryScaling.from_dict(
        {
            "kind": kind,
            "factor": factor,
            **usual,
            **ends,
            "original_n_ctx": parameters.get(ORIGINAL) or n_ctx,
            "amplitude": _amplitude(parameters, factor) if kind == "yarn" else 1.0,
        }
    )


def _read_longrope(parameters: dict[str, Any], n_ctx: int) -> RotaryScaling:
    """Ding et al. 2024, section 3.3, for the amplitude that follows from the two contexts."""
    known = (*OTHERS, "short_factor", "long_factor", ORIGINAL, "attention_factor")
    for name, value in parameters.items():
        if name not in known and value is not None:
            raise GlassformerError(f"rope_parameters: {name!r} is no known setting of longrope")
    if parameters.get(ORIGINAL) is None:
        raise GlassformerError(f"rope_parameters: longrope needs {ORIGINAL}")
    original = integer(ORIGINAL, parameters[ORIGINAL])
    factor = parameters.get("factor")
    factor = n_ctx / original if factor is None else positive("factor", factor)
    amplitude = parameters.get("attention_factor")
    if amplitude is None:
        more = math.log(factor) / math.log(original) if factor > 1 else 0.0
        amplitude = math.sqrt(1 + more)
    factors = {name: parameters.get(f"{name}_factor") for name in ("short", "long")}
    for name, values in factors.items():
        if not isinstance(values, list) or not values:
            raise GlassformerError(
                f"rope_parameters: {name}_factor={values!r} must be a list of numbers, one for each"
                " pair of dimensions"
            )
    return RotaryScaling.from_dict(
        {
            "kind": LONGROPE,
            "original_n_ctx": original,
            "amplitude": positive("attention_factor", amplitude),
            **factors,
        }
    )


def _amplitude(parameters: dict[str, Any], factor: float) -> float:
    """Peng et al. 2023, section 3.4; `transformers` for what else it may follow from."""

    def of(scale: float) -> float:
        return 0.1 * scale * math.log(factor) + 1 if factor > 1 else 1.0

    if parameters.get("attention_factor") is not None:
        return positive("attention_factor", parameters["attention_factor"])
    if parameters.get("mscale") and parameters.get("mscale_all_dim"):
        return of(parameters["mscale"]) / of(parameters["mscale_all_dim"])
    return of(1.0)


def write(config: Config, local: bool = False) -> dict[str, Any]:
    """The settings for our fields; `local`: the family has a base of its own for windows."""
    full: dict[str, Any] = {"rope_type": "default", "rope_theta": config.rotary_base}
    if config.rotary_dims != config.d_head:
        full["partial_rotary_factor"] = config.rotary_dims / config.d_head
    if (scaling := config.rotary_scaling) is not None:
        stored = scaling.to_dict()
        full["rope_type"] = scaling.kind
        if scaling.kind != LONGROPE:
            full["factor"] = scaling.factor
        names = {"linear": {}, "llama3": LLAMA3, "yarn": YARN, LONGROPE: FACTORS}[scaling.kind]
        full |= {theirs: stored[ours] for theirs, ours in names.items()}
        if scaling.kind != "linear":
            full[ORIGINAL] = scaling.original_n_ctx
        if scaling.kind in ("yarn", LONGROPE):
            full["attention_factor"] = scaling.amplitude
    if not local:
        return {"rope_parameters": full, "rope_theta": config.rotary_base}
    theta = config.local_rotary_base or config.rotary_base
    sliding = {"rope_type": "default", "rope_theta": theta}
    return {"rope_parameters": {FULL: full, SLIDING: sliding}}
