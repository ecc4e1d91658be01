"""The forward pass once more, in NumPy and float64, from the papers alone.

Nothing here comes from Glassformer but the names, so that agreement means something.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

Values = dict[str, np.ndarray]
ERF = np.vectorize(math.erf, otypes=[float])


def forward(
    config: Mapping[str, Any], weights: Values, ids: np.ndarray, targets: np.ndarray | None
) -> Values:
    """Every value on the way from ids [batch, pos] to probabilities, or to the loss."""
    seen: Values = {}
    x = seen["embed"] = np.stack([[weights["embed.W_E"][i] for i in row] for row in ids])
    if config["position"] in ("learned", "sinusoidal"):
        table = positions(config, weights, ids.shape[1])
        seen["pos_embed"] = table
        x = seen["resid_start"] = x + table
    if config["embed_norm"]:
        x = norm(config, weights, "ln_embed.", x, seen)
    if config["position"] == "rotary":
        angles = rotary_angles(config, ids.shape[1])
        seen["rot_cos"], seen["rot_sin"] = np.cos(angles), np.sin(angles)
    for layer in range(config["n_layers"]):
        x = block(config, weights, f"blocks.{layer}.", x, seen)
    if config["final_norm"]:
        x = norm(config, weights, "ln_final.", x, seen)
    if config["tied"]:
        W_U = seen["unembed.W_U"] = weights["embed.W_E"].T
    else:
        W_U = weights["unembed.W_U"]
    logits = seen["logits"] = x @ W_U + weights.get("unembed.b_U", 0.0)
    largest = seen["logits_max"] = logits.max(-1)
    e = seen["logits_exp"] = np.exp(logits - largest[..., None])
    total = seen["logits_sum"] = e.sum(-1)
    if targets is None:
        seen["probs"] = e / total[..., None]
        return seen
    log_z = seen["log_partition"] = np.log(total) + largest
    seen["target_logit"] = np.zeros(ids.shape)
    surprise = seen["token_loss"] = np.zeros(ids.shape)
    for b, p in np.ndindex(*ids.shape):
        asked = targets[b, p] >= 0
        seen["target_logit"][b, p] = logits[b, p, targets[b, p] if asked else 0]
        surprise[b, p] = log_z[b, p] - logits[b, p, targets[b, p]] if asked else 0.0
    seen["loss"] = surprise.sum() / (targets >= 0).sum()
    return seen


def positions(config: Mapping[str, Any], weights: Values, n: int) -> np.ndarray:
    if config["position"] == "learned":
        return weights["pos_embed.W_pos"][:n]
    table = np.zeros((n, config["d_model"]))
    for p in range(n):
        for i in range(config["d_model"]):
            angle = p / 10000 ** ((i - i % 2) / config["d_model"])
            table[p, i] = math.cos(angle) if i % 2 else math.sin(angle)
    return table


def rotary_angles(config: Mapping[str, Any], n: int) -> np.ndarray:
    width = config["d_head"]
    angles = np.zeros((n, width))
    for p in range(n):
        for i in range(width // 2):
            angle = p / config["rotary_base"] ** (2 * i / width)
            angles[p, i] = angles[p, i + width // 2] = angle
    return angles


def turned(name: str, x: np.ndarray, seen: Values) -> np.ndarray:
    """Every pair (a, b) of dimensions, turned by its angle as a point of the plane."""
    half = x.shape[-1] // 2
    a, b = x[..., :half], x[..., half:]
    seen[f"{name}_turned"] = np.concatenate([-b, a], -1)
    cos, sin = seen["rot_cos"][:, None, :half], seen["rot_sin"][:, None, :half]
    seen[name] = np.concatenate([a * cos - b * sin, a * sin + b * cos], -1)
    return seen[name]


def unit_length(name: str, x: np.ndarray, eps: float, seen: Values) -> np.ndarray:
    squared = seen[f"{name}_squared"] = x**2
    mean_square = seen[f"{name}_mean_square"] = squared.mean(-1)
    scale = seen[f"{name}_scale"] = np.sqrt(mean_square + eps)
    seen[name] = x / scale[..., None]
    return seen[name]


def block(
    config: Mapping[str, Any], weights: Values, at: str, x: np.ndarray, seen: Values
) -> np.ndarray:
    pre, post = config["norm_position"] == "pre", config["norm_position"] == "post"
    seen[f"{at}resid_pre"] = x
    read = norm(config, weights, f"{at}ln1.", x, seen) if pre else x
    y = x + attention(config, weights, f"{at}attn.", read, seen)
    if post:
        seen[f"{at}resid_mid_sum"] = y
        y = norm(config, weights, f"{at}ln1.", y, seen)
    x = seen[f"{at}resid_mid"] = y
    read = norm(config, weights, f"{at}ln2.", x, seen) if pre else x
    y = x + mlp(config, weights, f"{at}mlp.", read, seen)
    if post:
        seen[f"{at}resid_post_sum"] = y
        y = norm(config, weights, f"{at}ln2.", y, seen)
    seen[f"{at}resid_post"] = y
    return y


def norm(
    config: Mapping[str, Any], weights: Values, at: str, x: np.ndarray, seen: Values
) -> np.ndarray:
    if config["norm"] == "layer":
        mean = seen[f"{at}mean"] = x.mean(-1)
        x = seen[f"{at}centred"] = x - mean[..., None]
    squared = seen[f"{at}squared"] = x**2
    spread = "variance" if config["norm"] == "layer" else "mean_square"
    mean_square = seen[f"{at}{spread}"] = squared.mean(-1)
    scale = seen[f"{at}scale"] = np.sqrt(mean_square + config["norm_eps"])
    y = x / scale[..., None]
    if config["norm_gain"] or config["norm_bias"]:
        seen[f"{at}standardized"] = y
        y = y * weights.get(f"{at}w", 1.0) + weights.get(f"{at}b", 0.0)
    seen[f"{at}normalized"] = y
    return y


def attention(
    config: Mapping[str, Any], weights: Values, at: str, x: np.ndarray, seen: Values
) -> np.ndarray:
    for out in "qkv":
        W, b = weights[f"{at}W_{out.upper()}"], weights.get(f"{at}b_{out.upper()}", 0.0)
        seen[f"{at}{out}"] = np.einsum("bpm,hmd->bphd", x, W) + b
    q, k, v = (seen[f"{at}{out}"] for out in "qkv")
    if config["qk_norm"]:
        q = unit_length(f"{at}q_normed", q, config["norm_eps"], seen)
        k = unit_length(f"{at}k_normed", k, config["norm_eps"], seen)
    if config["position"] == "rotary":
        q, k = turned(f"{at}rot_q", q, seen), turned(f"{at}rot_k", k, seen)
    raw = seen[f"{at}scores_raw"] = np.einsum("bqhd,bkhd->bhqk", q, k)
    scaled = seen[f"{at}scores_scaled"] = raw / math.sqrt(q.shape[-1])
    scores = seen[f"{at}attn_scores"] = scaled.copy()
    for query, key in np.ndindex(*scores.shape[2:]):
        if key > query:
            scores[:, :, query, key] = -math.inf
    largest = seen[f"{at}pattern_max"] = scores.max(-1)
    e = seen[f"{at}pattern_exp"] = np.exp(scores - largest[..., None])
    total = seen[f"{at}pattern_sum"] = e.sum(-1)
    pattern = seen[f"{at}pattern"] = e / total[..., None]
    z = seen[f"{at}z"] = np.einsum("bhqk,bkhd->bqhd", pattern, v)
    out = np.einsum("bphd,hdm->bpm", z, weights[f"{at}W_O"]) + weights.get(f"{at}b_O", 0.0)
    seen[f"{at}attn_out"] = out
    return out


def mlp(
    config: Mapping[str, Any], weights: Values, at: str, x: np.ndarray, seen: Values
) -> np.ndarray:
    pre = seen[f"{at}pre"] = x @ weights[f"{at}W_in"] + weights.get(f"{at}b_in", 0.0)
    match config["activation"]:
        case "relu":
            post = np.maximum(pre, 0.0)
        case "relu_squared":
            positive = seen[f"{at}post_relu"] = np.maximum(pre, 0.0)
            post = positive**2
        case "gelu":
            cdf = seen[f"{at}post_cdf"] = (1 + ERF(pre / math.sqrt(2))) / 2
            post = pre * cdf
        case "gelu_tanh":
            inner = math.sqrt(2 / math.pi) * (pre + 0.044715 * pre**3)
            seen[f"{at}post_argument"] = inner
            seen[f"{at}post_tanh"] = np.tanh(inner)
            post = pre * (1 + np.tanh(inner)) / 2
        case _:
            sigmoid = seen[f"{at}post_sigmoid"] = 1 / (1 + np.exp(-pre))
            post = pre * sigmoid
    seen[f"{at}post"] = post
    out = seen[f"{at}mlp_out"] = post @ weights[f"{at}W_out"] + weights.get(f"{at}b_out", 0.0)
    return out
