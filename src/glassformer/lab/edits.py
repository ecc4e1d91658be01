"""What to change in a pass: heads, neurons and layers switched off, values taken from elsewhere.

Each function returns edits for `Decoder.watch(edit=...)`: address to new value. Switching off
means zero: the part's numbers are zero whatever it read.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from glassformer.errors import GlassformerError
from glassformer.model.config import Config
from glassformer.trace import Address, Trace
from glassformer.watch.edits import NewValue

Edit = dict[str, NewValue]


def without_head(config: Config, layer: int, head: int, scope: str = "") -> Edit:
    """One attention head's mix of values becomes zero, so that W_O has nothing of it to write.

    scope: "encoder." or "decoder." where there are two towers, here and below.

    >>> config = Config(vocab_size=9, n_ctx=4, d_model=6, n_layers=2, n_heads=3)
    >>> without_head(config, layer=1, head=2)
    {'fwd/blocks.1.attn.z[head=2]': 0.0}
    """
    _check("layer", layer, config.n_layers)
    _check("head", head, config.n_heads)
    return {f"fwd/{scope}blocks.{layer}.attn.z[head={head}]": 0.0}


def without_crossing(config: Config, layer: int, head: int) -> Edit:
    """One head of a decoder's cross-attention writes nothing of what it read of the source."""
    _check("layer", layer, config.n_layers)
    _check("head", head, config.n_heads)
    return {f"fwd/decoder.blocks.{layer}.cross_attn.z[head={head}]": 0.0}


def without_neuron(config: Config, layer: int, neuron: int, scope: str = "") -> Edit:
    """One neuron stays silent whatever its sum is."""
    _check("layer", layer, config.n_layers)
    if config.has_experts(layer):
        raise GlassformerError(
            f"layer {layer} has experts, each with neurons of its own; switch off an expert, or"
            f" give an address, such as 'blocks.{layer}.mlp.post[choice=0,d_mlp={neuron}]'"
        )
    _check("neuron", neuron, config.d_mlp)
    return {f"fwd/{scope}blocks.{layer}.mlp.post[d_mlp={neuron}]": 0.0}


def without_expert(config: Config, layer: int, expert: int) -> Edit:
    """One expert's weight becomes zero for every token; those that went there have one expert less.

    >>> config = Config(vocab_size=9, n_ctx=4, d_model=6, n_layers=2, n_heads=3, gated=True,
    ...                 n_experts=4, experts_per_token=2)
    >>> without_expert(config, layer=1, expert=3)
    {'fwd/blocks.1.mlp.expert_weights[expert=3]': 0.0}
    """
    _check("layer", layer, config.n_layers)
    if not config.has_experts(layer):
        raise GlassformerError(f"layer {layer} has no experts; its MLP is one for all tokens")
    _check("expert", expert, config.n_experts)
    return {f"fwd/blocks.{layer}.mlp.expert_weights[expert={expert}]": 0.0}


def without_layer(config: Config, layer: int, scope: str = "") -> Edit:
    """Neither attention nor the MLP of a block adds anything, biases included."""
    _check("layer", layer, config.n_layers)
    crossing = ("cross_attn.attn_out",) if scope == "decoder." else ()
    parts = ("attn.attn_out", *crossing, "mlp.mlp_out")
    return {f"fwd/{scope}blocks.{layer}.{part}": 0.0 for part in parts}


def switched_off(addresses: Iterable[str]) -> Edit:
    """Any values of the forward pass become zero.

    >>> switched_off(["blocks.0.attn.z[head=1]"])
    {'fwd/blocks.0.attn.z[head=1]': 0.0}
    """
    return {str(where): 0.0 for where in map(_forward, addresses)}


def patched(addresses: Sequence[str], source: Trace) -> Edit:
    """Values as they were in another pass; both texts must have as many tokens where it matters."""
    return {str(where): source[where] for where in map(_forward, addresses)}


def _forward(text: str) -> Address:
    """The address of a value of the forward pass."""
    where = Address.parse(text)
    if where.kind != "fwd":
        raise GlassformerError(
            f"{text!r} is not a value of the forward pass; give one, such as"
            " 'blocks.0.attn.z[head=1]'"
        )
    return where


def written(text: str) -> tuple[str, float]:
    """The address and the number of an edit written as ``ADDRESS=VALUE``.

    >>> written("blocks.0.attn.z[head=2]=0")
    ('fwd/blocks.0.attn.z[head=2]', 0.0)
    """
    address, _, value = text.rpartition("=")
    try:
        number = float(value)
    except ValueError:
        number = math.nan
    if not address or math.isnan(number):
        raise GlassformerError(
            f"{text!r} is no edit; write ADDRESS=VALUE, for example 'blocks.0.attn.z[head=0]=0'"
        )
    return str(Address.parse(address)), number


def _check(what: str, number: int, count: int) -> None:
    if not 0 <= number < count:
        raise GlassformerError(f"{what} {number} is not there; {what}s go from 0 to {count - 1}")
