"""What a number is called here, in `transformers` and in TransformerLens: one table for GPT-2.

Ours are TransformerLens's names without `hook_`, but for one: in its version 4 `hook_normalized` is
before gain and bias (in version 2 it was after them), which is our `standardized`; our `normalized`
is `hook_out`. Each row is proven equal, number by number, in tests/parity.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from glassformer.interop import gpt2
from glassformer.model import Config


class Name(NamedTuple):
    """One value under three names; None where a library has no name for it.

    `hugging_face` is the tensor in the state dict, or the module whose output the value is; with
    `third` 0, 1 or 2 it is that third of the last axis, all heads side by side.
    """

    glassformer: str
    hugging_face: str | None
    transformer_lens: str | None
    third: int | None = None


# In a block, {i} its number; then the module in transformer.h.{i} and the hook in blocks.{i}
_IN_BLOCK = (
    ("ln1.scale", None, "ln1.hook_scale", None),
    ("ln1.standardized", None, "ln1.hook_normalized", None),
    ("ln1.normalized", "ln_1", "ln1.hook_out", None),
    ("attn.q", "attn.c_attn", "attn.hook_q", 0),
    ("attn.k", "attn.c_attn", "attn.hook_k", 1),
    ("attn.v", "attn.c_attn", "attn.hook_v", 2),
    ("attn.attn_scores", None, "attn.hook_attn_scores", None),
    ("attn.pattern", None, "attn.hook_pattern", None),
    ("attn.z", None, "attn.hook_z", None),
    ("attn.attn_out", "attn.c_proj", "hook_attn_out", None),
    ("resid_mid", None, "hook_resid_mid", None),
    ("ln2.scale", None, "ln2.hook_scale", None),
    ("ln2.standardized", None, "ln2.hook_normalized", None),
    ("ln2.normalized", "ln_2", "ln2.hook_out", None),
    ("mlp.pre", "mlp.c_fc", "mlp.hook_pre", None),
    ("mlp.post", "mlp.act", "mlp.hook_post", None),
    ("mlp.mlp_out", "mlp.c_proj", "hook_mlp_out", None),
)


def activations(config: Config) -> Iterator[Name]:
    """The values of a forward pass, in its order.

    >>> config = Config.preset("gpt2")
    >>> next(name for name in activations(config) if name.glassformer == "blocks.3.mlp.post")[:3]
    ('blocks.3.mlp.post', 'transformer.h.3.mlp.act', 'blocks.3.mlp.hook_post')
    """
    yield Name("embed", "transformer.wte", "hook_embed")
    yield Name("pos_embed", "transformer.wpe", "hook_pos_embed")
    entering = "transformer.drop"
    for i in range(config.n_layers):
        yield Name(f"blocks.{i}.resid_pre", entering, f"blocks.{i}.hook_resid_pre")
        for ours, module, hook, third in _IN_BLOCK:
            theirs = f"transformer.h.{i}.{module}" if module else None
            yield Name(f"blocks.{i}.{ours}", theirs, f"blocks.{i}.{hook}", third)
        entering = f"transformer.h.{i}"
        yield Name(f"blocks.{i}.resid_post", entering, f"blocks.{i}.hook_resid_post")
    yield Name("ln_final.scale", None, "ln_final.hook_scale")
    yield Name("ln_final.standardized", None, "ln_final.hook_normalized")
    yield Name("ln_final.normalized", "transformer.ln_f", "ln_final.hook_out")
    yield Name("logits", "lm_head", "unembed.hook_out")


def weights(config: Config) -> Iterator[Name]:
    """The parameters, in the model's order; in TransformerLens they have our names.

    >>> [name[:2] for name in weights(Config.preset("gpt2")) if "blocks.0.attn.W_K" in name]
    [('blocks.0.attn.W_K', 'transformer.h.0.attn.c_attn.weight')]
    """
    for ours, theirs in gpt2.tensor_names(config):
        if ours.endswith("_QKV"):
            for third, letter in enumerate("QKV"):
                name = ours.removesuffix("QKV") + letter
                yield Name(name, theirs, name, third)
        else:
            yield Name(ours, theirs, ours)
