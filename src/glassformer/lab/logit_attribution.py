"""One logit as a sum: what each part of the model wrote towards a token.

Between the residual stream and a logit there is the final norm. With the scale that this pass had,
it is linear, so each part that was added to the stream has its own share, and the shares add up to
the logit. Source: Elhage et al. 2021, "A Mathematical Framework for Transformer Circuits".
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from torch import Tensor

from glassformer.errors import GlassformerError
from glassformer.lab.changes import word_of
from glassformer.model import Config
from glassformer.trace import Trace

AFTER_PARTS = ("attn_out", "mlp_out", "resid_start", "resid_pre", "resid_mid", "resid_post")


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


def attribute(config: Config, trace: Trace, token: int | None = None, pos: int = -1) -> Attribution:
    """Split the logit of `token` at position `pos` (-1: the last) of a trace's first text.

    token: an id; None: the most probable one.

    Shares are computed in float64 from recorded values; their sum equals the recorded logit up to
    the pass's own rounding. Models with norms after attention or MLP are refused: there every
    block's norm stands between a part and the logit. So are traces whose residual stream was
    edited: what was put there came from no part.
    """
    if config.norm_position not in ("pre", "none"):
        raise GlassformerError(
            "this model normalizes what attention and MLP add, or the sum, so its parts do not add"
            " up to a logit; attribution needs norm_position 'pre' or 'none'"
        )
    edited = next((s for s in trace.computed if s.edited and _is_after_parts(s.name)), None)
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
    towards = _Towards(config, trace, token, pos)
    address = f"{path}[pos={pos},vocab={token}]"
    shares = list(towards.shares())
    word = word_of(trace, token)
    return Attribution(token, word, pos, shares, logits[pos, token].item(), address)


def _is_after_parts(name: str) -> bool:
    return name.rpartition(".")[2] in AFTER_PARTS or name.startswith(("ln_final.", "logits"))


class _Towards:
    """From the vectors of the stream at one position to their shares of one logit."""

    def __init__(self, config: Config, trace: Trace, token: int, pos: int) -> None:
        self.config, self.trace, self.token, self.pos = config, trace, token, pos
        W_U = self._recorded("fwd/unembed.W_U" if config.tied else "weight/unembed.W_U")
        self.direction = W_U[:, token]  # [d_model]

    def shares(self) -> Iterator[Share]:
        yield from (Share(part, self._read(x), address) for part, address, x in self._parts())
        # what does not depend on the text: the final norm's bias and the unembedding's
        if "weight/ln_final.b" in self.trace.nodes:
            share = (self._recorded("weight/ln_final.b") @ self.direction).item()
            share *= self.config.logit_scale
            yield Share("final norm's bias", share, "weight/ln_final.b")
        if self.config.head_bias:
            share = self._recorded("weight/unembed.b_U")[self.token].item()
            yield Share("unembedding's bias", share, f"weight/unembed.b_U[vocab={self.token}]")

    def _read(self, x: Tensor) -> float:
        """A vector's share: normed with the scale that this pass had, and unembedded."""
        if self.config.final_norm:
            centred = x - x.mean() if self.config.norm == "layer" else x
            x = centred / self._recorded("fwd/ln_final.scale")[0, self.pos]
            if "weight/ln_final.w" in self.trace.nodes:
                x = x * (self._recorded("weight/ln_final.w") + self.config.norm_gain_from_one)
        return (x @ self.direction).item() * self.config.logit_scale

    def _parts(self) -> Iterator[tuple[str, str, Tensor]]:
        """(name, address, vector [d_model]) of everything that was added to the stream."""
        pos, nodes, scale = self.pos, self.trace.nodes, self.config.branch_scale
        if self.config.embed_norm:
            x = self._recorded("fwd/ln_embed.normalized")[0, pos]
            yield "embedding, normed", f"fwd/ln_embed.normalized[pos={pos}]", x
        else:
            yield from self._embedding(pos)
        for layer in range(self.config.n_layers):
            scope = f"blocks.{layer}"
            z = self._recorded(f"fwd/{scope}.attn.z")[0, pos]  # [head, d_head]
            W_O = self._recorded(f"weight/{scope}.attn.W_O")  # [head, d_head, d_model]
            for head in range(self.config.n_heads):
                address = f"fwd/{scope}.attn.z[pos={pos},head={head}]"
                yield f"layer {layer} head {head}", address, z[head] @ W_O[head] * scale
            b_O = f"weight/{scope}.attn.b_O"
            if b_O in nodes:
                yield f"layer {layer} attention bias", b_O, self._recorded(b_O) * scale
            mlp_out = f"fwd/{scope}.mlp.mlp_out"
            x = self._recorded(mlp_out)[0, pos]
            yield f"layer {layer} MLP", f"{mlp_out}[pos={pos}]", x * scale

    def _embedding(self, pos: int) -> Iterator[tuple[str, str, Tensor]]:
        path = "fwd/embed" if self.config.embed_scale == 1 else "fwd/embed_scaled"
        yield "token embedding", f"{path}[pos={pos}]", self._recorded(path)[0, pos]
        if "fwd/pos_embed" in self.trace.nodes:
            x = self._recorded("fwd/pos_embed")[pos]
            yield "position", f"fwd/pos_embed[pos={pos}]", x

    def _recorded(self, path: str) -> Tensor:
        return self.trace.value_of(self.trace.node(path)).double()
