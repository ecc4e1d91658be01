"""What a number is called here, in `transformers` and in TransformerLens: one table for a family.

Ours are TransformerLens's names without `hook_`, but for one: in its version 4 `hook_normalized` is
before gain and bias (in version 2 it was after them), which is our `standardized`; our `normalized`
is `hook_out`. For GPT-2 each row is proven equal, number by number, in tests/parity.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from glassformer.interop import families
from glassformer.interop.family import Family
from glassformer.interop.match import form_for
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


# In a block, {i} its number: our value, the parameter whose module gives it, TransformerLens's hook
_IN_BLOCK = (
    ("ln1.scale", "", "ln1.hook_scale"),
    ("ln1.standardized", "", "ln1.hook_normalized"),
    ("ln1.normalized", "ln1.w", "ln1.hook_out"),
    ("attn.q", "attn.W_Q", "attn.hook_q"),
    ("attn.k", "attn.W_K", "attn.hook_k"),
    ("attn.v", "attn.W_V", "attn.hook_v"),
    ("attn.attn_scores", "", "attn.hook_attn_scores"),
    ("attn.pattern", "", "attn.hook_pattern"),
    ("attn.z", "", "attn.hook_z"),
    ("attn.attn_out", "attn.W_O", "hook_attn_out"),
    ("resid_mid", "", "hook_resid_mid"),
    ("ln2.scale", "", "ln2.hook_scale"),
    ("ln2.standardized", "", "ln2.hook_normalized"),
    ("ln2.normalized", "ln2.w", "ln2.hook_out"),
    ("mlp.pre", "mlp.W_in", "mlp.hook_pre"),
    ("mlp.post", "", "mlp.hook_post"),
    ("mlp.mlp_out", "mlp.W_out", "hook_mlp_out"),
)


def activations(config: Config) -> Iterator[Name]:
    """The values of a forward pass, in its order, for the family that the model is written as.

    >>> config = Config.preset("gpt2")
    >>> next(name for name in activations(config) if name.glassformer == "blocks.3.mlp.post")[:3]
    ('blocks.3.mlp.post', 'transformer.h.3.mlp.act', 'blocks.3.mlp.hook_post')
    """
    family = _family(config)
    modules = {
        part: (tensor.name.removesuffix(".weight"), place if len(tensor.parts) == 3 else None)
        for tensor in family.tensors(family.with_all_parameters(config))
        for place, part in enumerate(tensor.parts)
    }
    yield Name("embed", modules["embed.W_E"][0], "hook_embed")
    if "pos_embed.W_pos" in modules:
        yield Name("pos_embed", modules["pos_embed.W_pos"][0], "hook_pos_embed")
    entering: str | None = family.entering or None
    for i in range(config.n_layers):
        block = f"{family.prefix}{family.layers}{i}"
        yield Name(f"blocks.{i}.resid_pre", entering, f"blocks.{i}.hook_resid_pre")
        for ours, part, hook in _IN_BLOCK:
            module, third = modules.get(f"blocks.{i}.{part}", (None, None))
            if ours == "mlp.post" and family.activation:
                module = f"{block}.{family.activation}"
            yield Name(f"blocks.{i}.{ours}", module, f"blocks.{i}.{hook}", third)
        entering = block
        yield Name(f"blocks.{i}.resid_post", entering, f"blocks.{i}.hook_resid_post")
    yield Name("ln_final.scale", None, "ln_final.hook_scale")
    yield Name("ln_final.standardized", None, "ln_final.hook_normalized")
    yield Name("ln_final.normalized", modules["ln_final.w"][0], "ln_final.hook_out")
    yield Name("logits", family.head["unembed.U"], "unembed.hook_out")


def weights(config: Config) -> Iterator[Name]:
    """The parameters, in the model's order; in TransformerLens they have our names.

    >>> [name[:2] for name in weights(Config.preset("gpt2")) if "blocks.0.attn.W_K" in name]
    [('blocks.0.attn.W_K', 'transformer.h.0.attn.c_attn.weight')]
    """
    family = _family(config)
    for tensor in family.tensors(family.with_all_parameters(config)):
        for place, part in enumerate(tensor.parts):
            yield Name(part, tensor.name, part, place if len(tensor.parts) == 3 else None)


def _family(config: Config) -> Family:
    """The family that the model is written as."""
    return families.family(form_for(config).model_type)
