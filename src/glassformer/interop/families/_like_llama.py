"""What the families after Llama share: settings, names of tensors, and layers with windows.

`family` declares one of them by what it has otherwise.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from glassformer.errors import GlassformerError
from glassformer.interop import rotary
from glassformer.interop.family import Family
from glassformer.interop.rotary import FULL, SLIDING
from glassformer.interop.settings import ACTIVATIONS, Setting, integer
from glassformer.model import Config

CHOICES: dict[str, Any] = {
    "position": "rotary",
    "norm": "rms",
    "norm_bias": False,
    "gated": True,
    "attn_bias": False,
    "mlp_bias": False,
}
EMBEDDINGS = {"embed.E": "embed_tokens"}
ATTENTION = {
    "attn.Q": "self_attn.q_proj",
    "attn.K": "self_attn.k_proj",
    "attn.V": "self_attn.v_proj",
    "attn.q_norm": "self_attn.q_norm",
    "attn.k_norm": "self_attn.k_norm",
    "attn.O": "self_attn.o_proj",
}
MLP = {"mlp.gate": "mlp.gate_proj", "mlp.in": "mlp.up_proj", "mlp.out": "mlp.down_proj"}
BLOCK = {"ln1": "input_layernorm", **ATTENTION, "ln2": "post_attention_layernorm", **MLP}
EXPERTS = {
    "mlp.router": "mlp.gate",
    "mlp.gate": "mlp.experts.{}.gate_proj",
    "mlp.in": "mlp.experts.{}.up_proj",
    "mlp.out": "mlp.experts.{}.down_proj",
}
END = {"ln_final": "norm"}
LAYERS = "layers."
IGNORED = "attention_dropout rope_interleaved"
ROUTER_TRAINING = "output_router_logits router_aux_loss_coef"
"""`transformers` can add a loss by which routers spread tokens evenly; no logit depends on it."""
ALWAYS = (("norm_gain", True, (False,)),)
QK_ALWAYS = (*ALWAYS, ("qk_norm_gain", True, (False,)))
BUFFERS = r"model\.layers\.\d+\.self_attn\.rotary_emb\.inv_freq"  # of old versions

family = partial(
    Family,
    choices=CHOICES,
    more=rotary.read,
    more_settings=rotary.SETTINGS,
    write_more=rotary.write,
    ignored=IGNORED,
    always=ALWAYS,
    layers=LAYERS,
    embeddings=EMBEDDINGS,
    block=BLOCK,
    end=END,
)


def settings(**defaults: Any) -> tuple[Setting, ...]:
    """The settings by Llama's names; `defaults`: those of the family, by our fields.

    Without a default of its own a setting has Llama's; None: the family has no such setting.
    """
    usual = {
        "vocab_size": ("vocab_size", 32000),
        "n_ctx": ("max_position_embeddings", 2048),
        "d_model": ("hidden_size", 4096),
        "n_layers": ("num_hidden_layers", 32),
        "n_heads": ("num_attention_heads", 32),
        "n_kv_heads": ("num_key_value_heads", 0),
        "d_head": ("head_dim", 0),
        "d_mlp": ("intermediate_size", 11008),
        "norm_eps": ("rms_norm_eps", 1e-6),
        "activation": ("hidden_act", "silu"),
        "tied": ("tie_word_embeddings", False),
    }
    follow = ("n_kv_heads", "d_head")  # null: as many heads, d_model / n_heads
    result = []
    for ours, (theirs, default) in usual.items():
        value = defaults.get(ours, default)
        if value is None:
            continue
        null: dict[str, Any] = {"null": 0} if ours in follow else {}
        values: dict[str, Any] = {"values": ACTIVATIONS} if ours == "activation" else {}
        value = None if ours in follow and value == 0 else value
        result.append(Setting(theirs, ours, value, **null, **values))
    return tuple(result)


def experts(theirs: str, n: int, chosen: int) -> tuple[Setting, ...]:
    """How many experts there are, by the family's name for it, and how many a token goes to."""
    return (
        Setting(theirs, "n_experts", n),
        Setting("num_experts_per_tok", "experts_per_token", chosen),
    )


def activation(theirs: str, default: str) -> Setting:
    """The activation, under another name than Llama's."""
    return Setting(theirs, "activation", default, values=ACTIVATIONS)


def read_windows(settings: dict[str, Any], usual: list[bool]) -> dict[str, Any]:
    """The windows of the layers; `usual`: which have one where `layer_types` does not say."""
    window, types = settings["sliding_window"], settings["layer_types"]
    types = types or [SLIDING if has else FULL for has in usual]
    n, is_list = settings["num_hidden_layers"], isinstance(types, list)
    if not is_list or len(types) != n or any(kind not in (SLIDING, FULL) for kind in types):
        raise GlassformerError(f"layer_types must name {n} layers, each {SLIDING!r} or {FULL!r}")
    if SLIDING not in types:
        return {}
    window = integer("sliding_window", window)
    return {"windows": tuple(window if kind == SLIDING else 0 for kind in types)}


def read_window(settings: dict[str, Any]) -> dict[str, Any]:
    """The one window of all layers, if there is one."""
    layers = [settings["sliding_window"] is not None] * settings["num_hidden_layers"]
    return read_windows({**settings, "layer_types": None}, layers)


def write_window(config: Config) -> dict[str, Any]:
    """The widest window, as that of all layers."""
    return {"sliding_window": write_windows(config)["sliding_window"]}


def write_windows(config: Config) -> dict[str, Any]:
    """Which layers have a window, and the widest."""
    windows = (
        [config.windows[i % len(config.windows)] for i in range(config.n_layers)]
        if (config.windows)
        else [0] * config.n_layers
    )
    return {
        "layer_types": [SLIDING if window else FULL for window in windows],
        "sliding_window": max(windows) or None,
    }
