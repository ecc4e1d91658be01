"""The course's models computed once more, in NumPy and in float64, from their weights alone."""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from glassformer.model import Config, Decoder

Array = NDArray[np.float64]


def weights_of(model: Decoder) -> dict[str, Array]:
    """Every weight by its name."""
    return {name: W.detach().double().numpy() for name, W in model.weights().items()}


def softmax(scores: Array) -> Array:
    """e to the power of each score of a row, divided by their sum."""
    powers = np.exp(scores - scores.max(-1, keepdims=True))
    return powers / powers.sum(-1, keepdims=True)


def gelu(z: Array) -> Array:
    """z times the normal distribution up to z, as GPT-2 approximates it (by tanh)."""
    return 0.5 * z * (1 + np.tanh(math.sqrt(2 / math.pi) * (z + 0.044715 * z**3)))


BENDS = {"gelu_tanh": gelu, "relu": lambda z: np.maximum(z, 0)}


def standardized(config: Config, x: Array) -> Array:
    """Each row with its mean subtracted, divided by its spread."""
    spread = np.sqrt(x.var(-1, keepdims=True) + config.norm_eps)
    return (x - x.mean(-1, keepdims=True)) / spread


def waves(config: Config, n: int) -> Array:
    """Vaswani et al. 2017, section 3.5: a sine and a cosine by turns."""
    i = np.arange(config.d_model)
    angles = np.arange(n)[:, None] / 10_000 ** ((i - i % 2) / config.d_model)
    return np.where(i % 2, np.cos(angles), np.sin(angles))


def rotated(config: Config, x: Array) -> Array:
    """Su et al. 2021: number j and number j + half of a head turn by place / base^(2 j / width)."""
    width = x.shape[-1]
    half = width // 2
    speeds = config.rotary_base ** (-2 * np.arange(half) / width)
    angles = np.arange(len(x))[:, None, None] * speeds
    a, b = x[..., :half], x[..., half:]
    cos, sin = np.cos(angles), np.sin(angles)
    return np.concatenate([a * cos - b * sin, b * cos + a * sin], -1)


def forward(config: Config, W: dict[str, Array], ids: Sequence[int]) -> dict[str, Array]:
    """All numbers from token IDs to probabilities, under the names that a trace gives them."""
    n, of = len(ids), {}

    def norm(name: str, x: Array) -> Array:
        of[f"{name}.standardized"] = standardized(config, x)
        return of[f"{name}.standardized"] * W.get(f"{name}.w", 1.0) + W.get(f"{name}.b", 0.0)

    x = of["embed"] = W["embed.W_E"][[*ids]]
    if config.position == "learned":
        of["pos_embed"] = W["pos_embed.W_pos"][:n]
        x = x + of["pos_embed"]
    elif config.position == "sinusoidal":
        x = x + waves(config, n)
    of["resid_start"] = x
    for layer in range(config.n_layers):
        at = f"blocks.{layer}."
        of[f"{at}resid_pre"] = x
        for part, number, after in (
            (_attention, 1, "resid_mid"),
            (_mlp, 2, "resid_post"),
        ):
            before = config.norm_position == "pre"
            x = x + part(config, W, norm(f"{at}ln{number}", x) if before else x, at, of)
            if config.norm_position == "post":
                x = norm(f"{at}ln{number}", x)
            of[f"{at}{after}"] = x
    of["logits"] = unembedded(config, W, x)
    of["probs"] = softmax(of["logits"])
    return of


def unembedded(config: Config, W: dict[str, Array], x: Array) -> Array:
    """The logits of a stream that is read as the last one."""
    if config.final_norm:
        x = standardized(config, x) * W.get("ln_final.w", 1.0) + W.get("ln_final.b", 0.0)
    return x @ (W["embed.W_E"].T if config.tied else W["unembed.W_U"]) + W.get("unembed.b_U", 0.0)


def _attention(
    config: Config, W: dict[str, Array], x: Array, at: str, of: dict[str, Array]
) -> Array:
    n = len(x)

    def projected(name: str) -> Array:
        matrix = W[f"{at}attn.W_{name}"].reshape(-1, config.d_model, config.d_head)
        bias = W.get(f"{at}attn.b_{name}", np.zeros(config.d_head))
        return np.einsum("pd,hde->phe", x, matrix) + bias.reshape(-1, config.d_head)

    q, k, v = (projected(name) for name in "QKV")
    if config.position == "rotary":
        q, k = rotated(config, q), rotated(config, k)
    raw = np.einsum("qhe,khe->hqk", q, k)
    scores = raw / math.sqrt(config.d_head)
    seen = np.tri(n) - np.tri(n, k=-config.windows[0] if config.windows else -n)
    pattern = softmax(np.where(seen > 0, scores, -np.inf))
    z = np.einsum("hqk,khe->qhe", pattern, v)
    W_O = W[f"{at}attn.W_O"].reshape(-1, config.d_model)
    out = z.reshape(n, -1) @ W_O + W.get(f"{at}attn.b_O", 0.0)
    named = {"q": q, "k": k, "v": v, "scores_raw": raw, "scores": scores, "pattern": pattern}
    named |= {"z": z, "attn_out": out}
    of.update({f"{at}attn.{name}": value for name, value in named.items()})
    return out


def _mlp(config: Config, W: dict[str, Array], x: Array, at: str, of: dict[str, Array]) -> Array:
    pre = x @ W[f"{at}mlp.W_in"] + W.get(f"{at}mlp.b_in", 0.0)
    post = BENDS[config.activation](pre)
    out = post @ W[f"{at}mlp.W_out"] + W.get(f"{at}mlp.b_out", 0.0)
    of.update({f"{at}mlp.pre": pre, f"{at}mlp.post": post, f"{at}mlp.mlp_out": out})
    return out
