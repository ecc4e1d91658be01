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
    config: Mapping[str, Any],
    weights: Values,
    ids: np.ndarray,
    targets: np.ndarray | None,
    inputs: Mapping[str, np.ndarray],
) -> Values:
    """Every value on the way from ids [batch, pos] to probabilities, or to the loss."""
    seen: Values = {}
    x = seen["embed"] = np.stack([[weights["embed.W_E"][i] for i in row] for row in ids])
    if config["embed_scale"] != 1:
        x = seen["embed_scaled"] = x * config["embed_scale"]
    if config["token_types"]:
        types = inputs.get("types", 0 * ids)
        added = [[weights["type_embed.W_type"][kind] for kind in row] for row in types]
        seen["type_embed"] = np.array(added)
        x = seen["embed_typed"] = x + seen["type_embed"]
    if config["position"] in ("learned", "sinusoidal"):
        table = positions(config, weights, ids.shape[1])
        seen["pos_embed"] = table
        x = seen["resid_start"] = x + table
    if config["position"] == "relative":
        seen["bucket"] = distance_buckets(config, ids.shape[1])
        seen["pos_bias"] = weights["distances.W_rel"][seen["bucket"]]  # [query, key, head]
    if config["embed_norm"]:
        x = norm(config, weights, "ln_embed.", x, seen)
    for at, base in bases(config).items():
        angles = rotary_angles(config, base, at, ids.shape[1])
        seen[f"{at}rot_cos"], seen[f"{at}rot_sin"] = np.cos(angles), np.sin(angles)
    if (config["rotary_scaling"] or {}).get("kind") == "longrope":
        turned_by_length(config, ids.shape[1], seen)
    for layer in range(config["n_layers"]):
        x = block(config, weights, layer, x, seen, inputs.get("seen"), inputs.get("begins"))
    if config["final_norm"]:
        x = norm(config, weights, "ln_final.", x, seen)
    if config["masked_head"]:
        W, b = weights["masked_head.W_in"], weights.get("masked_head.b_in", 0.0)
        pre = seen["masked_head.pre"] = x @ W + b
        post = activation(config["activation"], "masked_head.post", pre, seen)
        seen["masked_head.post"] = post
        x = norm(config, weights, "masked_head.ln.", post, seen)
    if config["tied"]:
        W_U = seen["unembed.W_U"] = weights["embed.W_E"].T
    else:
        W_U = weights["unembed.W_U"]
    if config["logit_scale"] != 1:
        x = seen["final_scaled"] = x * config["logit_scale"]
    logits = x @ W_U + weights.get("unembed.b_U", 0.0)
    if cap := config["logit_cap"]:
        seen["logits_raw"] = logits
        ratio = seen["logits_ratio"] = logits / cap
        seen["logits_tanh"] = np.tanh(ratio)
        logits = cap * np.tanh(ratio)
    seen["logits"] = logits
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
            pair, is_cosine = i // 2, i % 2
            if config["sinusoid_halves"]:
                half = math.ceil(config["d_model"] / 2)
                pair, is_cosine = i % half, i // half
            angle = p / 10000 ** (2 * pair / config["d_model"])
            table[p, i] = math.cos(angle) if is_cosine else math.sin(angle)
    return table


def distance_buckets(config: Mapping[str, Any], n: int) -> np.ndarray:
    """Raffel et al. 2020, section 2.1, and the ranges of their code: near ones apart, then by logs.

    An encoder gives the second half of the buckets to keys after the query.
    """
    ways, farthest = config["relative_buckets"], config["relative_distance"]
    if not config["causal"]:
        ways //= 2
    bucket = np.zeros((n, n), dtype=np.int64)
    for query, key in np.ndindex(n, n):
        distance = query - key if config["causal"] else abs(query - key)
        close = ways // 2
        if distance >= close:
            share = math.log(distance / close) / math.log(farthest / close)
            distance = min(close + int(share * (ways - close)), ways - 1)
        after = key > query and not config["causal"]
        bucket[query, key] = max(distance, 0) + (ways if after else 0)
    return bucket


def of_layer(pattern: list[Any], layer: int, default: Any) -> Any:
    return pattern[layer % len(pattern)] if pattern else default


def turns(config: Mapping[str, Any], layer: int) -> str | None:
    """Where the angles stand by which a layer turns, or None."""
    if config["position"] != "rotary" or not of_layer(config["rotary_layers"], layer, True):
        return None
    window = of_layer(config["windows"], layer, 0)
    return "local." if window and config["local_rotary_base"] else ""


def bases(config: Mapping[str, Any]) -> dict[str, float]:
    known = {turns(config, layer) for layer in range(config["n_layers"])}
    bases = {"local.": config["local_rotary_base"], "": config["rotary_base"]}
    return {at: base for at, base in bases.items() if at in known}


def rotary_angles(config: Mapping[str, Any], base: float, at: str, n: int) -> np.ndarray:
    width, scaling = config["rotary_dims"], None if at else config["rotary_scaling"]
    angles = np.zeros((n, config["d_head"]))
    for p in range(n):
        for i in range(width // 2):
            frequency = 1 / base ** (2 * i / width)
            if scaling:  # llama3
                waves = scaling["original_n_ctx"] * frequency / (2 * math.pi)
                kept = (waves - scaling["low"]) / (scaling["high"] - scaling["low"])
                kept = min(max(kept, 0), 1)
                frequency *= (1 - kept) / scaling["factor"] + kept
            angles[p, i] = angles[p, i + width // 2] = p * frequency
    return angles


def rotated(name: str, x: np.ndarray, at: str, width: int, seen: Values) -> np.ndarray:
    """Every pair (a, b) of dimensions, turned by its angle as a point of the plane."""
    half = width // 2
    a, b, rest = x[..., :half], x[..., half:width], x[..., width:]
    seen[f"{name}_turned"] = np.concatenate([-b, a, 0 * rest], -1)
    cos, sin = (seen[f"{at}rot_{part}"][:, None, :half] for part in ("cos", "sin"))
    seen[name] = np.concatenate([a * cos - b * sin, a * sin + b * cos, rest], -1)
    return seen[name]


def unit_length(
    config: Mapping[str, Any], name: str, x: np.ndarray, gain: np.ndarray | None, seen: Values
) -> np.ndarray:
    axes = (-2, -1) if config["qk_norm_wide"] else (-1,)
    squared = seen[f"{name}_squared"] = x**2
    mean_square = seen[f"{name}_mean_square"] = squared.mean(axes)
    scale = seen[f"{name}_scale"] = np.sqrt(mean_square + config["norm_eps"])
    y = x / (scale[..., None, None] if config["qk_norm_wide"] else scale[..., None])
    if gain is not None:
        seen[f"{name}_standardized"] = y
        y = y * (gain + config["norm_gain_from_one"])
    seen[name] = y
    return y


def block(
    config: Mapping[str, Any],
    weights: Values,
    layer: int,
    x: np.ndarray,
    seen: Values,
    no_padding: np.ndarray | None,
    begins: np.ndarray | None,
) -> np.ndarray:
    at, norm_position = f"blocks.{layer}.", config["norm_position"]
    seen[f"{at}resid_pre"] = x

    def read(name: str, x: np.ndarray) -> np.ndarray:
        absent = layer == 0 and name == "ln1" and not config["first_norm"]
        pre = norm_position in ("pre", "both") and not absent
        return norm(config, weights, f"{at}{name}.", x, seen) if pre else x

    def add(name: str, part: str, ln: str, x: np.ndarray, more: np.ndarray) -> np.ndarray:
        if norm_position in ("branch", "both"):
            more = norm(config, weights, f"{at}{ln}_post.", more, seen)
        if config["branch_scale"] != 1:
            more = seen[f"{at}{part}_scaled"] = more * config["branch_scale"]
        y = x + more
        if norm_position == "post":
            seen[f"{at}{name}_sum"] = y
            y = norm(config, weights, f"{at}{ln}.", y, seen)
        seen[f"{at}{name}"] = y
        return y

    first = read("ln1", x)
    out = attention(config, weights, layer, first, seen, no_padding, begins)
    mid = add("resid_mid", "attn", "ln1", x, out)
    if not config["parallel"]:
        second = read("ln2", mid)
    else:
        second = first if config["shared_norm"] else read("ln2", x)
    sparse = config["n_experts"] and of_layer(config["expert_layers"], layer, True)
    out = (experts if sparse else mlp)(config, weights, f"{at}mlp.", second, seen)
    return add("resid_post", "mlp", "ln2", mid, out)


def norm(
    config: Mapping[str, Any], weights: Values, at: str, x: np.ndarray, seen: Values
) -> np.ndarray:
    if config["norm"] == "layer":
        mean = seen[f"{at}mean"] = x.mean(-1)
        x = seen[f"{at}centered"] = x - mean[..., None]
    squared = seen[f"{at}squared"] = x**2
    spread = "variance" if config["norm"] == "layer" else "mean_square"
    mean_square = seen[f"{at}{spread}"] = squared.mean(-1)
    scale = seen[f"{at}scale"] = np.sqrt(mean_square + config["norm_eps"])
    y = x / scale[..., None]
    if config["norm_gain"] or config["norm_bias"]:
        seen[f"{at}standardized"] = y
        gain = weights.get(f"{at}w", 1.0 - config["norm_gain_from_one"])
        y = y * (gain + config["norm_gain_from_one"]) + weights.get(f"{at}b", 0.0)
    seen[f"{at}normalized"] = y
    return y


def slope(head: int, n_heads: int) -> float:
    """Press et al. 2022, section 3, and their code for numbers that are no power of two."""
    even = 2 ** int(math.log2(n_heads))
    if head < even:
        return 2 ** (-8 * (head + 1) / even)
    return 2 ** (-8 * (2 * (head - even) + 1) / (2 * even))


def attention(
    config: Mapping[str, Any],
    weights: Values,
    layer: int,
    x: np.ndarray,
    seen: Values,
    no_padding: np.ndarray | None,
    begins: np.ndarray | None,
) -> np.ndarray:
    at = f"blocks.{layer}.attn."
    for out in "qkv":
        W, b = weights[f"{at}W_{out.upper()}"], weights.get(f"{at}b_{out.upper()}", 0.0)
        projected = np.einsum("bpm,hmd->bphd", x, W) + b
        adapted(config, weights, at, out.upper(), out, x, projected, seen)
    q, k, v = (seen[f"{at}{out}"] for out in "qkv")

    def normed(q: np.ndarray, k: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        gains = (weights.get(f"{at}{name}_norm.w") for name in "qk")
        q, k = (
            unit_length(config, f"{at}{name}_normed", x, gain, seen)
            for name, x, gain in zip("qk", (q, k), gains, strict=True)
        )
        return q, k

    if config["qk_norm"] and not config["qk_norm_last"]:
        q, k = normed(q, k)
    if (angles := turns(config, layer)) is not None:
        width = config["rotary_dims"]
        q = rotated(f"{at}rot_q", q, angles, width, seen)
        k = rotated(f"{at}rot_k", k, angles, width, seen)
    if config["qk_norm"] and config["qk_norm_last"]:
        q, k = normed(q, k)
    group = config["n_heads"] // config["n_kv_heads"]
    k, v = np.repeat(k, group, 2), np.repeat(v, group, 2)
    raw = seen[f"{at}scores_raw"] = np.einsum("bqhd,bkhd->bhqk", q, k)
    scale = config["attn_scale"] or 1 / math.sqrt(q.shape[-1])
    scores = seen[f"{at}scores_scaled"] = raw * scale
    if cap := config["score_cap"]:
        ratio = seen[f"{at}scores_ratio"] = scores / cap
        seen[f"{at}scores_tanh"] = np.tanh(ratio)
        scores = seen[f"{at}scores_capped"] = cap * np.tanh(ratio)
    scores = scores.copy()
    if config["position"] == "alibi":
        for head, key in np.ndindex(scores.shape[1], scores.shape[3]):
            more = slope(head, config["n_heads"])
            if config["alibi_bf16"]:
                more = eight_bits(eight_bits(more) * eight_bits(key)) / math.sqrt(q.shape[-1])
                scores[:, head, :, key] += more
            else:
                scores[:, head, :, key] += more * key
        seen[f"{at}scores_biased"] = scores.copy()
    if config["position"] == "relative":
        scores += seen["pos_bias"].transpose(2, 0, 1)
        seen[f"{at}scores_biased"] = scores.copy()
    window = of_layer(config["windows"], layer, 0) or config["n_ctx"]
    for query, key in np.ndindex(*scores.shape[2:]):
        if config["causal"]:
            hidden = key > query or query - key >= window
        else:
            hidden = abs(key - query) > window
        if hidden:
            scores[:, :, query, key] = -math.inf
    if no_padding is not None:
        if of_layer(config["windows"], layer, 0):
            seen[f"{at}scores_near"] = scores.copy()
        for text, query, key in np.ndindex(*scores[:, 0].shape):
            itself = query == key and of_layer(config["windows"], layer, 0)
            if not no_padding[text, key] and not itself:
                scores[text, :, query, key] = -math.inf
    if begins is not None:
        seen[f"{at}scores_causal"] = scores.copy()
        for text, query, key in np.ndindex(*scores[:, 0].shape):
            if key < begins[text, query]:
                scores[text, :, query, key] = -math.inf
    seen[f"{at}attn_scores"] = scores
    largest = scores.max(-1)
    sinks = weights.get(f"{at}sinks")
    if sinks is not None:
        seen[f"{at}scores_max"] = largest
        largest = np.maximum(largest, sinks[:, None])
    seen[f"{at}pattern_max"] = largest
    e = seen[f"{at}pattern_exp"] = np.exp(scores - largest[..., None])
    total = e.sum(-1)
    if sinks is not None:
        seen[f"{at}keys_sum"] = total
        seen[f"{at}sink_exp"] = np.exp(sinks[:, None] - largest)
        total = total + seen[f"{at}sink_exp"]
    seen[f"{at}pattern_sum"] = total
    pattern = seen[f"{at}pattern"] = e / total[..., None]
    z = seen[f"{at}z"] = np.einsum("bhqk,bkhd->bqhd", pattern, v)
    out = np.einsum("bphd,hdm->bpm", z, weights[f"{at}W_O"]) + weights.get(f"{at}b_O", 0.0)
    return adapted(config, weights, at, "O", "attn_out", z, out, seen)


def adapted(
    config: Mapping[str, Any],
    weights: Values,
    at: str,
    weight: str,
    name: str,
    x: np.ndarray,
    out: np.ndarray,
    seen: Values,
) -> np.ndarray:
    """The value `name`, with what an adapter beside W_`weight` adds, if it has one."""
    lora, path = config["lora"], f"{at}lora_{weight}"
    if lora is not None and f"W_{weight}" in lora["on"]:
        seen[f"{at}{name}_frozen"] = out
        A, B = weights[f"{path}.A"], weights[f"{path}.B"]
        down = seen[f"{path}.down"] = np.tensordot(x, A, A.ndim - 1)
        up = down @ B if B.ndim == 2 else np.einsum("bpr,hrd->bphd", down, B)
        seen[f"{path}.up"] = up
        seen[f"{path}.scaled"] = up * (lora["alpha"] / lora["rank"])
        out = out + seen[f"{path}.scaled"]
    seen[f"{at}{name}"] = out
    return out


def mlp(
    config: Mapping[str, Any], weights: Values, at: str, x: np.ndarray, seen: Values
) -> np.ndarray:
    into = "W_gate" if config["gated"] else "W_in"
    pre = x @ weights[f"{at}{into}"] + weights.get(f"{at}b{into[1:]}", 0.0)
    pre = adapted(config, weights, at, into[2:], "pre", x, pre, seen)
    name = f"{at}gate" if config["gated"] else f"{at}post"
    if config["activation"] == "xielu":
        post = seen[name] = xielu(name, pre, weights, at, seen)
    else:
        post = seen[name] = activation(config["activation"], name, pre, seen)
    if config["gated"]:
        linear = x @ weights[f"{at}W_in"] + weights.get(f"{at}b_in", 0.0)
        linear = adapted(config, weights, at, "in", "pre_linear", x, linear, seen)
        post = seen[f"{at}post"] = linear * post
    out = post @ weights[f"{at}W_out"] + weights.get(f"{at}b_out", 0.0)
    return adapted(config, weights, at, "out", "mlp_out", post, out, seen)


def experts(
    config: Mapping[str, Any], weights: Values, at: str, x: np.ndarray, seen: Values
) -> np.ndarray:
    """Token by token, through the best experts one after the other."""
    k, n = config["experts_per_token"], config["n_experts"]
    scores = x @ weights[f"{at}W_router"] + weights.get(f"{at}b_router", 0.0)
    seen[f"{at}router_scores"] = scores
    largest = seen[f"{at}router_probs_max"] = scores.max(-1)
    e = seen[f"{at}router_probs_exp"] = np.exp(scores - largest[..., None])
    total = seen[f"{at}router_probs_sum"] = e.sum(-1)
    probs = seen[f"{at}router_probs"] = e / total[..., None]
    order = (-probs).argsort(-1, kind="stable")
    seen[f"{at}router_ranks"] = order.argsort(-1)
    chosen = seen[f"{at}experts"] = order[..., :k]
    kept = np.zeros(probs.shape)
    np.put_along_axis(kept, chosen, np.take_along_axis(probs, chosen, -1), -1)
    if config["expert_share"]:
        seen[f"{at}router_kept"] = kept
        total = seen[f"{at}router_kept_sum"] = kept.sum(-1)
        kept = kept / total[..., None]
    seen[f"{at}expert_weights"] = kept
    slopes: dict[str, dict[tuple[int, ...], np.ndarray]] = {}
    y = np.zeros(x.shape)
    for where in np.ndindex(*chosen.shape):
        expert, inner = chosen[where], {}
        values = {name[len(at) :]: w for name, w in weights.items() if name.startswith(f"{at}")}
        part = {name: w[expert] for name, w in values.items() if "router" not in name}
        out = one_expert(config, part, x[where[:2]], inner)
        inner["expert_out"] = out
        y[where[:2]] += out * kept[(*where[:2], expert)]
        for name, value in inner.items():
            slopes.setdefault(name, {})[where] = value
    assert n > chosen.max()
    for name, values in slopes.items():
        seen[f"{at}{name}"] = np.stack([*values.values()]).reshape(*chosen.shape, -1)
    seen[f"{at}mlp_out"] = y
    return y


def one_expert(config: Mapping[str, Any], part: Values, x: np.ndarray, inner: Values) -> np.ndarray:
    """What one expert makes of one token's vector."""
    pre = inner["pre"] = x @ part["W_gate"] + part.get("b_gate", 0.0)
    up = inner["pre_linear"] = x @ part["W_in"] + part.get("b_in", 0.0)
    if limit := config["gate_limit"]:
        pre = inner["pre_limited"] = np.minimum(pre, limit)
        argument = inner["gate_argument"] = pre * config["gate_slope"]
        sigmoid = inner["gate_sigmoid"] = 1 / (1 + np.exp(-argument))
        inner["gate"] = pre * sigmoid
        inner["pre_linear_below"] = np.minimum(up, limit)
        up = inner["pre_linear_limited"] = np.clip(up, -limit, limit)
        inner["pre_linear_raised"] = up + 1
        inner["post"] = (up + 1) * inner["gate"]
    else:
        inner["gate"] = activation(config["activation"], "gate", pre, inner)
        inner["post"] = up * inner["gate"]
    return inner["post"] @ part["W_out"] + part.get("b_out", 0.0)


def turned_by_length(config: Mapping[str, Any], n: int, seen: Values) -> None:
    """Longrope's own angles: which factors hold is known once the text is."""
    scaling, dims = config["rotary_scaling"], config["rotary_dims"]
    factors = scaling["long"] if n > scaling["original_n_ctx"] else scaling["short"]
    frequency = np.zeros(config["d_head"])
    length = np.ones(config["d_head"])
    for pair, factor in enumerate(factors):
        for d in (pair, pair + dims // 2):
            frequency[d] = 1 / (factor * config["rotary_base"] ** (2 * pair / dims))
            length[d] = scaling["amplitude"]
    angles = np.arange(n)[:, None] * frequency
    seen["rot_last"], seen["rot_frequency"] = np.array(n - 1), frequency
    seen["rot_cos"], seen["rot_sin"] = np.cos(angles) * length, np.sin(angles) * length


def eight_bits(x: float) -> float:
    """x with the eight leading bits that bfloat16 keeps, rounded to even."""
    fraction, exponent = math.frexp(x)
    return math.ldexp(round(fraction * 256), exponent - 8)


def xielu(name: str, pre: np.ndarray, weights: Values, at: str, seen: Values) -> np.ndarray:
    strength_p = seen[f"{at}strength_p"] = np.log1p(np.exp(weights[f"{at}alpha_p"]))
    strength_n = seen[f"{at}strength_n"] = 0.5 + np.log1p(np.exp(weights[f"{at}alpha_n"]))
    slope = seen[f"{name}_slope"] = strength_p * pre + 0.5
    above = seen[f"{name}_above"] = slope * pre
    exponential = seen[f"{name}_exp"] = np.exp(np.minimum(pre, -1e-6)) - 1
    below = seen[f"{name}_below"] = strength_n * (exponential - pre) + 0.5 * pre
    return np.where(pre > 0, above, below)


def activation(kind: str, name: str, pre: np.ndarray, seen: Values) -> np.ndarray:
    match kind:
        case "relu":
            return np.maximum(pre, 0.0)
        case "relu_squared":
            positive = seen[f"{name}_relu"] = np.maximum(pre, 0.0)
            return positive**2
        case "step":
            return (pre > 0).astype(np.float64)
        case "sigmoid":
            return 1 / (1 + np.exp(-pre))
        case "tanh":
            return np.tanh(pre)
        case "gelu":
            cdf = seen[f"{name}_cdf"] = (1 + ERF(pre / math.sqrt(2))) / 2
            return pre * cdf
        case "gelu_tanh":
            inner = math.sqrt(2 / math.pi) * (pre + 0.044715 * pre**3)
            seen[f"{name}_argument"] = inner
            seen[f"{name}_tanh"] = np.tanh(inner)
            return pre * (1 + np.tanh(inner)) / 2
        case _:
            sigmoid = seen[f"{name}_sigmoid"] = 1 / (1 + np.exp(-pre))
            return pre * sigmoid
