"""What a number is called here, in `transformers` and in TransformerLens: one table for a family.

Ours are TransformerLens's names without `hook_`, but for one: in its version 4 `hook_normalized` is
before gain and bias (in version 2 it was after them), which is our `standardized`; our `normalized`
is `hook_out`. Each row is proven equal, number by number, in tests/parity: those of `transformers`
for every family, TransformerLens's for the families that it opens with the same values
(`Family.lens`). Of the others it gives some before a scale, a cap or a norm, or in another shape,
so its names are left out. In what is normed by head some libraries have the heads before the
positions.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from glassformer.interop import families
from glassformer.interop.family import Family
from glassformer.interop.layouts import AS_OURS, OUT_BY_IN
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


# In a block: our value, the parameter whose module gives it, TransformerLens's hook
_Row = tuple[str, str, str]
_PROJECTED: tuple[_Row, ...] = (
    ("attn.q", "attn.W_Q", "attn.hook_q"),
    ("attn.k", "attn.W_K", "attn.hook_k"),
    ("attn.v", "attn.W_V", "attn.hook_v"),
)
_ATTENDED: tuple[_Row, ...] = (
    ("attn.attn_scores", "", "attn.hook_attn_scores"),
    ("attn.pattern", "", "attn.hook_pattern"),
    ("attn.z", "", "attn.hook_z"),
    ("attn.attn_out", "attn.W_O", "hook_attn_out"),
)
_MLP: tuple[_Row, ...] = (
    ("mlp.pre", "mlp.W_in", "mlp.hook_pre"),
    ("mlp.post", "act", "mlp.hook_post"),
    ("mlp.mlp_out", "mlp.W_out", "hook_mlp_out"),
)
_GATED: tuple[_Row, ...] = (
    ("mlp.pre", "mlp.W_gate", "mlp.hook_pre"),
    ("mlp.pre_linear", "mlp.W_in", "mlp.hook_pre_linear"),
    ("mlp.post", "", "mlp.hook_post"),
    ("mlp.mlp_out", "mlp.W_out", "hook_mlp_out"),
)
_EXPERTS: tuple[_Row, ...] = (
    ("mlp.router_scores", "router", ""),
    ("mlp.expert_weights", "", ""),
    ("mlp.mlp_out", "mlp", "hook_mlp_out"),
)


ADDED = ("hook_attn_out", "hook_mlp_out")
"""What a branch adds; TransformerLens gives it before its scale."""


def _norm(config: Config, name: str) -> Iterator[_Row]:
    yield f"{name}.scale", "", f"{name}.hook_scale"
    if config.norm_gain or config.norm_bias:
        yield f"{name}.standardized", "", f"{name}.hook_normalized"
    yield f"{name}.normalized", f"{name}.w", f"{name}.hook_out"


def _attention(config: Config, fused: bool, layer: int) -> Iterator[_Row]:
    """fused: one matrix gives queries, keys and values; TransformerLens has no turned ones then."""
    norms = [row for letter in "qk" for row in _qk_norm(config, letter)]
    turns: list[_Row] = []
    if config.rotary(layer) is not None:
        turns = [(f"attn.rot_{x}", "", "" if fused else f"attn.hook_rot_{x}") for x in "qk"]
    yield from _PROJECTED
    yield from [*turns, *norms] if config.qk_norm_last else [*norms, *turns]
    yield from _ATTENDED


def _qk_norm(config: Config, letter: str) -> Iterator[_Row]:
    if config.qk_norm:
        ours, theirs = f"attn.{letter}_normed", f"attn.{letter}_norm"
        yield f"{ours}_scale", "", f"{theirs}.hook_scale"
        if config.qk_norm_gain:
            yield f"{ours}_standardized", "", f"{theirs}.hook_normalized"
        yield ours, f"{theirs}.w", f"{theirs}.hook_out"


def _in_block(config: Config, fused: bool, layer: int) -> Iterator[_Row]:
    """The values of a block between its two ends, in their order."""
    before = config.norm_position in ("pre", "both")
    mlp = _GATED if config.gated else _MLP
    mlp = _EXPERTS if config.has_experts(layer) else mlp
    attention = tuple(_attention(config, fused, layer))
    for branch, ln, rows in (("mid", "ln1", attention), ("post", "ln2", mlp)):
        norms = config.block_norms(layer)
        yield from _norm(config, ln) if before and ln in norms else ()
        yield from rows
        yield from _norm(config, f"{ln}_post") if f"{ln}_post" in norms else ()
        yield from _norm(config, ln) if not before and ln in norms else ()
        if branch == "mid" and not config.parallel:
            yield "resid_mid", "", "hook_resid_mid"


def activations(config: Config, family: Family | None = None) -> Iterator[Name]:
    """The values of a forward pass, in its order, in a family: else the one it is written as.

    >>> config = Config.preset("gpt2")
    >>> next(name for name in activations(config) if name.glassformer == "blocks.3.mlp.post")[:3]
    ('blocks.3.mlp.post', 'transformer.h.3.mlp.act', 'blocks.3.mlp.hook_post')
    """
    family = family or _family(config)
    modules = dict(_modules(family, config))
    scaled = config.embed_scale != 1  # some families do it inside of the module, some after it
    lens = family.lens
    plain = lens and not scaled
    module = None if scaled else modules["embed.W_E"][0]
    yield Name("embed", module, "hook_embed" if plain else None)
    if config.token_types:
        yield Name("type_embed", modules["type_embed.W_type"][0], None)
    if "pos_embed.W_pos" in modules:
        module = modules["pos_embed.W_pos"][0]
        yield Name("pos_embed", module, "hook_pos_embed" if lens else None)
    fused = any(
        tensor.parts[1:]
        for tensor in family.tensors(config)
        if any("attn.W_Q" in part for part in tensor.parts)
    )
    entering: str | None = family.entering or None
    for i in range(config.n_layers):
        block = f"{family.prefix}{family.layers}{i}"
        ends = [f"blocks.{i}.hook_resid_{end}" if lens else None for end in ("pre", "post")]
        yield Name(f"blocks.{i}.resid_pre", entering, ends[0])
        named = {"act": family.activation, "router": family.router, "mlp": "mlp"}
        for ours, part, hook in _in_block(config, fused, i):
            module, third = modules.get(f"blocks.{i}.{part}", (None, None))
            if named.get(part):
                module = f"{block}.{named[part]}"
            apart = config.branch_scale != 1 and hook in ADDED
            theirs = f"blocks.{i}.{hook}" if hook and lens and not apart else None
            yield Name(f"blocks.{i}.{ours}", module, theirs, third)
        entering = block
        yield Name(f"blocks.{i}.resid_post", entering, ends[1])
    if config.final_norm:
        for ours, part, hook in _norm(config, "ln_final"):
            yield Name(ours, modules.get(part, (None, None))[0], hook if lens else None)
    if config.masked_head:
        yield Name("masked_head.pre", modules["masked_head.W_in"][0], None)
        yield Name("masked_head.ln.normalized", modules["masked_head.ln.w"][0], None)
    apart = config.logit_cap > 0 or config.logit_scale != 1  # no module of theirs gives these
    head = None if apart else family.head["unembed.U"]
    yield Name("logits", head, "unembed.hook_out" if lens and not apart else None)


def _modules(family: Family, config: Config) -> Iterator[tuple[str, tuple[str, int | None]]]:
    """Our weights, and the module that multiplies with each; of a fused one which third is it."""
    alike = config.n_kv_heads == config.n_heads
    for tensor in family.tensors(family.with_all_parameters(config)):
        fused = len(tensor.parts) == 3 and alike
        if tensor.layout not in (AS_OURS, OUT_BY_IN) or not (fused or len(tensor.parts) == 1):
            continue  # its module's output has another order than our values
        module = tensor.name.removesuffix(".weight")
        for index, part in enumerate(tensor.parts):
            yield part, (module, index if fused else None)


def weights(config: Config, family: Family | None = None) -> Iterator[Name]:
    """The parameters, in the model's order; in TransformerLens they have our names.

    >>> [name[:2] for name in weights(Config.preset("gpt2")) if "blocks.0.attn.W_K" in name]
    [('blocks.0.attn.W_K', 'transformer.h.0.attn.c_attn.weight')]
    """
    family = family or _family(config)
    for tensor in family.tensors(family.with_all_parameters(config)):
        for index, part in enumerate(tensor.parts):
            third = index if len(tensor.parts) == 3 else None
            yield Name(part, tensor.name, part if family.lens else None, third)


def _family(config: Config) -> Family:
    """The family that the model is written as."""
    return families.family(form_for(config).model_type)
