"""One logit as a sum: what each part of the model wrote towards a token.

Between what a part adds to the residual stream and a logit there are norms: the final one, in some
models one on each branch, or after each addition. With the scales that this pass had, they are
linear, so each part has its own share, and the shares add up to the logit. Source: Elhage et al.
2021, "A Mathematical Framework for Transformer Circuits".
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from glassformer.errors import GlassformerError
from glassformer.lab.changes import word_of
from glassformer.model import Config, TowersConfig
from glassformer.trace import Trace

AFTER_PARTS = {
    *("attn_out", "attn_scaled", "mlp_out", "mlp_scaled"),
    *("resid_start", "resid_pre", "resid_mid_sum", "resid_mid", "resid_post_sum", "resid_post"),
    *("resid_cross_sum", "resid_cross", "cross_attn_scaled"),
    *("final_scaled", "logits_raw", "logits"),
}

ROUNDING = 1_000  # times the dtype's own, of all shares: what a pass through many layers may lose


@dataclass(frozen=True)
class Share:
    """What one part contributed to the logit, in logits; `address` is what it wrote."""

    part: str
    logits: float
    address: str


@dataclass(frozen=True, repr=False)
class Attribution:
    """All shares of one logit; `total` is their sum, `logit` the recorded number at `address`."""

    token: int
    word: str
    pos: int
    shares: list[Share]
    logit: float
    address: str

    @property
    def total(self) -> float:
        return sum(share.logits for share in self.shares)

    def __repr__(self) -> str:
        return (
            f"<Attribution of the logit of {self.word!r} at position {self.pos}:"
            f" {self.logit:.4g} in {len(self.shares)} shares>"
        )


def attribute(
    config: Config | TowersConfig, trace: Trace, token: int | None = None, pos: int = -1
) -> Attribution:
    """Split the logit of `token` at position `pos` (-1: the last) of a trace's first text.

    token: an id; None: the most probable one.

    Shares are computed in float64 from recorded values; their sum equals the recorded logit up to
    the pass's own rounding. Traces whose residual stream, or a norm on it, was edited are refused:
    what was put there came from no part. Of two towers the parts are the decoder's; what comes from
    the source is what the heads of cross-attention wrote.
    """
    scope = ""
    if isinstance(config, TowersConfig):
        scope, config = "decoder.", config.decoder
    edited = next(
        (s for s in trace.computed if s.edited and _is_after_parts(config, scope, s.name)), None
    )
    if edited is not None:
        raise GlassformerError(
            f"{edited.path} was edited, so what the parts wrote no longer adds up to a logit; edit"
            " a head (attn.z), a neuron (mlp.post) or a weight instead"
        )
    path = "fwd/logits_raw" if config.logit_cap else "fwd/logits"
    logits = trace.value_of(trace.node(path))[0]
    if not -len(logits) <= pos < len(logits):
        raise GlassformerError(
            f"there is no position {pos}; the text's positions are 0 to {len(logits) - 1}"
        )
    pos %= len(logits)
    if token is None:
        token = int(logits[pos].argmax())
    if not 0 <= token < logits.shape[1]:
        raise GlassformerError(f"there is no token {token}; ids go from 0 to {logits.shape[1] - 1}")
    towards = _Towards(config, scope, trace, token, pos)
    address = f"{path}[pos={pos},vocab={token}]"
    shares = list(towards.shares())
    word = word_of(trace, token)
    result = Attribution(token, word, pos, shares, logits[pos, token].item(), address)
    size = 1 + sum(abs(share.logits) for share in shares)
    if abs(result.total - result.logit) > ROUNDING * torch.finfo(logits.dtype).eps * size:
        raise GlassformerError(
            f"the shares add up to {result.total:.6g} and the logit is {result.logit:.6g}: between"
            " the parts and the logit is a value that attribution does not know"
        )
    return result


def _is_after_parts(config: Config, scope: str, name: str) -> bool:
    """Whether a value lies on the way from the parts to a logit."""
    if "." in name and not name.startswith(scope):  # the other tower's
        return False
    within, _, last = name.rpartition(".")
    norm = within.rpartition(".")[2]
    of_stream = norm in ("ln_embed", "ln_final") or norm.endswith("_post")
    return (
        of_stream
        or last in AFTER_PARTS
        or (config.norm_position == "post" and norm in ("ln1", "ln_cross", "ln2"))
    )


@dataclass(frozen=True)
class _Part:
    """What one part wrote, as the stream has it behind all norms so far: [d_model]."""

    name: str
    address: str
    x: Tensor


class _Towards:
    """From the vectors of the stream at one position to their shares of one logit."""

    def __init__(self, config: Config, scope: str, trace: Trace, token: int, pos: int) -> None:
        self.config, self.scope = config, scope  # of the tower's names
        self.trace, self.token, self.pos = trace, token, pos

    def shares(self) -> Iterator[Share]:
        W_U = "fwd/unembed.W_U" if self.config.tied else "weight/unembed.W_U"
        direction = self._recorded(W_U, (slice(None), self.token))  # [d_model]
        for part in self._final():
            share = (part.x @ direction).item() * self.config.logit_scale
            yield Share(part.name, share, part.address)
        if self.config.head_bias:
            b_U = self._recorded("weight/unembed.b_U", self.token).item()
            yield Share("unembedding's bias", b_U, f"weight/unembed.b_U[vocab={self.token}]")

    def _final(self) -> list[_Part]:
        """The vector that the unembedding reads, as the sum of what was written.

        An encoder's masked head has an activation in the stream's way: its neurons are the parts.
        """
        if self.config.masked_head:
            return self._normed([*self._head_neurons()], "masked_head.ln", "masked head norm")
        stream = [*self._embedding()]
        if self.config.embed_norm:
            stream = self._normed(stream, f"{self.scope}ln_embed", "embedding norm")
        for layer in range(self.config.n_layers):
            at, heads, mlp = f"{self.scope}blocks.{layer}", self._heads(layer), self._mlp(layer)
            stream = self._add(stream, heads, f"{at}.ln1", f"layer {layer} attention")
            if f"fwd/{at}.cross_attn.z" in self.trace.nodes:
                heads, name = self._heads(layer, "cross_attn"), f"layer {layer} cross-attention"
                stream = self._add(stream, heads, f"{at}.ln_cross", name)
            stream = self._add(stream, mlp, f"{at}.ln2", f"layer {layer} MLP")
        if self.config.final_norm:
            stream = self._normed(stream, f"{self.scope}ln_final", "final norm")
        return stream

    def _add(
        self, stream: list[_Part], branch: Iterable[_Part], norm: str, name: str
    ) -> list[_Part]:
        """The stream with what a branch adds, each normed where the model does it."""
        added = [*branch]
        if self.config.norm_position in ("branch", "both"):
            added = self._normed(added, f"{norm}_post", f"{name} norm")
        factor = self.config.branch_scale
        result = [*stream, *(replace(part, x=part.x * factor) for part in added)]
        post = self.config.norm_position == "post"
        return self._normed(result, norm, f"{name} norm") if post else result

    def _normed(self, parts: list[_Part], norm: str, name: str) -> list[_Part]:
        """Each part under a norm with the scale that it had in this pass, and the norm's bias."""
        scale = self._recorded(f"fwd/{norm}.scale", (0, self.pos))
        gain, bias = f"weight/{norm}.w", f"weight/{norm}.b"
        w: Tensor | float = 1.0
        if gain in self.trace.nodes:
            w = self._recorded(gain) + self.config.norm_gain_from_one
        centered = self.config.norm == "layer"
        result = [replace(p, x=(p.x - p.x.mean() * centered) / scale * w) for p in parts]
        if bias in self.trace.nodes:
            result.append(_Part(f"{name}'s bias", bias, self._recorded(bias)))
        return result

    def _heads(self, layer: int, kind: str = "attn") -> Iterator[_Part]:
        scope = f"{self.scope}blocks.{layer}.{kind}"
        cross = "cross-" if kind == "cross_attn" else ""
        z = self._recorded(f"fwd/{scope}.z", (0, self.pos))  # [head, d_head]
        W_O = self._recorded(f"weight/{scope}.W_O")  # [head, d_head, d_model]
        if self.config.lora is not None and "W_O" in self.config.lora.on:
            A, B = (self._recorded(f"weight/{scope}.lora_O.{side}") for side in "AB")
            W_O = W_O + A @ B * self.config.lora.scale
        for head in range(self.config.n_heads):
            address = f"fwd/{scope}.z[pos={self.pos},head={head}]"
            yield _Part(f"layer {layer} {cross}head {head}", address, z[head] @ W_O[head])
        b_O = f"weight/{scope}.b_O"
        if b_O in self.trace.nodes:
            yield _Part(f"layer {layer} {cross}attention bias", b_O, self._recorded(b_O))

    def _mlp(self, layer: int) -> Iterator[_Part]:
        mlp_out = f"fwd/{self.scope}blocks.{layer}.mlp.mlp_out"
        x = self._recorded(mlp_out, (0, self.pos))
        yield _Part(f"layer {layer} MLP", f"{mlp_out}[pos={self.pos}]", x)

    def _head_neurons(self) -> Iterator[_Part]:
        post = self._recorded("fwd/masked_head.post", (0, self.pos))  # [d_mlp]
        for neuron, x in enumerate(post.diag()):
            address = f"fwd/masked_head.post[pos={self.pos},d_mlp={neuron}]"
            yield _Part(f"masked head neuron {neuron}", address, x)

    def _embedding(self) -> Iterator[_Part]:
        pos = self.pos
        scope = f"fwd/{self.scope}"
        path = f"{scope}embed" if self.config.embed_scale == 1 else f"{scope}embed_scaled"
        yield _Part("token embedding", f"{path}[pos={pos}]", self._recorded(path, (0, pos)))
        if "fwd/type_embed" in self.trace.nodes:
            x = self._recorded("fwd/type_embed", (0, pos))
            yield _Part("token type", f"fwd/type_embed[pos={pos}]", x)
        if f"{scope}pos_embed" in self.trace.nodes:
            x = self._recorded(f"{scope}pos_embed", pos)
            yield _Part("position", f"{scope}pos_embed[pos={pos}]", x)

    def _recorded(self, path: str, index: Any = ...) -> Tensor:
        """A recorded value, or a part of it, in float64."""
        return self.trace.value_of(self.trace.node(path))[index].double()
