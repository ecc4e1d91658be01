"""What a model looks like: one frozen description that checks itself.

It is flat, a name for each choice, as in a preset, on the command line and in config.json. What a
part of the model needs, in one layer, is `attention(layer)`, `mlp`, `norms`, `rotary(layer)`: the
blocks are built from these (`docs/decisions/0031`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from glassformer.describe import counted
from glassformer.model.config_fields import NORMS, Fields, of_layer
from glassformer.model.parts import (
    LONGROPE,
    AttentionPart,
    ExpertsPart,
    MLPPart,
    NormPart,
    RotaryPart,
)
from glassformer.model.preset_files import load_preset


@dataclass(frozen=True, repr=False)
class Config(Fields):
    """The configuration of a decoder, or of an encoder.

    Sizes: `vocab_size` token ids, `n_ctx` positions at most, `d_model` numbers per token in the
    residual stream, `n_layers` blocks, `n_heads` heads of `d_head` numbers (default
    d_model / n_heads), `d_mlp` neurons per block (default 4 d_model), `n_kv_heads` heads of keys
    and values, each shared by as many heads of queries (default n_heads).
    Choices: `position` learned, sinusoidal, rotary (turning queries and keys, with wavelengths up
    to 2 pi `rotary_base`), relative (each head adds a learned number to a score, by how far the key
    is), alibi (scores fall with the distance) or none; `qk_norm` gives queries and keys a standard
    length; `norm` layer or rms, `norm_position` before each branch (pre), after
    each addition (post), on what a branch adds (branch), before and on it (both) or nowhere (none);
    `embed_norm` on what enters the first block, `final_norm` before the unembedding; `norm_gain`
    and `norm_bias` the norms' learned parts; `attn_bias`, `mlp_bias`, `head_bias` additive biases;
    `activation` relu, relu_squared, sigmoid, tanh, gelu, gelu_tanh, silu, step (which can't be
    trained) or xielu (which learns two numbers of its own), `gated` with a second matrix whose sums
    it lets through; `tied` shares the embedding table with the unembedding; `dropout` (probability)
    on the embedding and on each branch while training; `init_std` the standard deviation of the
    first, random weights (0.02 suits d_model 768; small models start sooner from more); `zero_init`
    starts what is added to the stream, and an untied unembedding, at zero, so that the first guess
    is uniform.
    What families of models add: `sinusoid_halves`: all sines stand before all cosines, where
    otherwise they take turns; relative positions have `relative_buckets`, the last for all from
    `relative_distance` on; `rotary_dims` of each head are turned (0: all), by frequencies
    changed as `rotary_scaling` says; `windows`, `rotary_layers` and `local_rotary_base` are
    patterns over the layers, repeated from the first: how far a layer looks back (0: to the
    beginning), whether it turns queries and keys, and the base of those with a window (0: the
    same). `alibi_bf16`: what alibi adds is rounded to bfloat16 and divided as scores are.
    `qk_norm_gain`: a gain for the norm of queries and keys; `qk_norm_wide`: over all heads
    together; `qk_norm_last`: after turning. `attn_bias_on` qkvo, qkv or o. `parallel`: attention
    and MLP read the same stream, through one norm if `shared_norm`. `norm_gain_from_one`: a gain is
    stored as its distance from 1. `attn_scale` of scores (0: 1 / sqrt(d_head)), `score_cap` and
    `logit_cap` where they level off (0: never), `embed_scale`, `branch_scale` and `logit_scale`
    factors of embeddings, of what a branch adds, and of the final vector. `attn_sinks`: a score of
    each head's own takes a share of its attention.
    `n_experts` gated feed-forward layers of `d_expert` neurons (default d_mlp) stand in place of
    one, where `expert_layers`, a pattern over the layers, says so (empty: everywhere); a router,
    with `router_bias` or without, sends each token to `experts_per_token` of them, whose weights
    sum to 1 if `expert_share`. `gate_limit` (0: none) is the most that their gates and neurons
    pass, `gate_slope` what such gates are multiplied by before their sigmoid.
    Encoders: not `causal`, a token sees those after it too, and `windows` say how far a layer looks
    to either side. `token_types` kinds of tokens (0: none) have a vector each, which is added; the
    first block has no first norm without `first_norm`; `masked_head` transforms the final vector
    once more, by a matrix, the activation and a norm, before the unembedding.
    `lora`: adapters beside matrices of every block, which alone are trained.

    >>> Config(vocab_size=512, n_ctx=64, d_model=96, n_layers=2, n_heads=4).d_head
    24
    """

    def replace(self, **changes: Any) -> Config:
        """A copy with some fields changed; what was a default follows."""
        usual = {
            "d_head": self.d_head * self.n_heads == self.d_model,
            "d_mlp": self.d_mlp == 4 * self.d_model,
            "n_kv_heads": self.n_kv_heads == self.n_heads,
            "rotary_dims": self.rotary_dims == self.d_head,
            "d_expert": self.d_expert == self.d_mlp,
        }
        derived = {name: 0 for name, is_usual in usual.items() if is_usual}
        return Config.from_dict({**self.to_dict(), **derived, **changes})

    def with_dropout(self, p: float) -> Config:
        """The same with another probability of dropout."""
        return self.replace(dropout=p)

    @property
    def in_words(self) -> str:
        """The shape of the blocks."""
        heads = f"{counted(self.n_layers, 'layer')} of {counted(self.n_heads, 'head')}"
        return f"{heads}, d_model {self.d_model:,}"

    @property
    def norms(self) -> NormPart:
        """Every norm of the residual stream."""
        return NormPart(
            self.norm,
            self.norm_gain,
            self.norm_bias,
            self.norm_eps,
            self.norm_gain_from_one,
        )

    def block_norms(self, layer: int, crosses: bool = False) -> tuple[str, ...]:
        """The norms of one block, by name; `crosses`: it has cross-attention."""
        absent = {"ln2"} if self.parallel and self.shared_norm else set[str]()
        if layer == 0 and not self.first_norm and self.norm_position in ("pre", "both"):
            absent.add("ln1")
        names = [name for name in NORMS[self.norm_position] if name not in absent]
        around = [name.replace("ln1", "ln_cross") for name in names if name.startswith("ln1")]
        return (*names, *around) if crosses else tuple(names)

    @property
    def mlp(self) -> MLPPart:
        return MLPPart(
            self.d_model, self.d_mlp, self.activation, self.gated, self.mlp_bias, self.lora
        )

    @property
    def experts(self) -> ExpertsPart:
        """The experts of the layers that have them."""
        return ExpertsPart(
            n=self.n_experts,
            chosen=self.experts_per_token,
            d_model=self.d_model,
            d_mlp=self.d_expert,
            activation=self.activation,
            bias=self.mlp_bias,
            router_bias=self.router_bias,
            share=self.expert_share,
            limit=self.gate_limit,
            slope=self.gate_slope,
        )

    def attention(self, layer: int) -> AttentionPart:
        """The attention of one layer."""
        window = of_layer(self.windows, layer, 0)
        window = window if window < self.n_ctx else 0
        return AttentionPart(
            layer=layer,
            d_model=self.d_model,
            n_heads=self.n_heads,
            n_kv_heads=self.n_kv_heads,
            d_head=self.d_head,
            qkv_bias=self.attn_bias and "qkv" in self.attn_bias_on,
            out_bias=self.attn_bias and self.attn_bias_on.endswith("o"),
            qk_norm=NormPart(
                "rms", self.qk_norm_gain, False, self.norm_eps, self.norm_gain_from_one
            )
            if self.qk_norm
            else None,
            qk_norm_wide=self.qk_norm_wide,
            qk_norm_last=self.qk_norm_last,
            window=window if self.causal else 0,
            scale=self.attn_scale,
            cap=self.score_cap,
            alibi=self.position == "alibi",
            alibi_bf16=self.alibi_bf16,
            sinks=self.attn_sinks,
            n_ctx=self.n_ctx,
            causal=self.causal,
            reach=0 if self.causal else window,
            lora=self.lora,
        )

    @property
    def turns_by_length(self) -> int:
        """The longest text whose tokens are turned as in a short one; 0 where length is nothing."""
        scaling = self.rotary_scaling if self.position == "rotary" else None
        return scaling.original_n_ctx if scaling and scaling.kind == LONGROPE else 0

    def rotary(self, layer: int) -> RotaryPart | None:
        """How a layer turns queries and keys, if it does."""
        if self.position != "rotary" or not of_layer(self.rotary_layers, layer, True):
            return None
        local = self.local_rotary_base > 0 and of_layer(self.windows, layer, 0) > 0
        return RotaryPart(
            name="local" if local else "all",
            n_ctx=self.n_ctx,
            d_head=self.d_head,
            dims=self.rotary_dims,
            base=self.local_rotary_base if local else self.rotary_base,
            scaling=None if local else self.rotary_scaling,
        )

    @classmethod
    def preset(cls, name: str) -> Config:
        """The configuration that `model/presets/NAME.toml` holds."""
        return cls.from_dict(load_preset(name)["model"])
