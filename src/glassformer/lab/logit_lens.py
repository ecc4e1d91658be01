"""What the residual stream would predict if the model stopped after each layer.

The logit lens is tuned by nothing: the model's own final norm and unembedding, applied early.
Source: nostalgebraist 2020, "interpreting GPT: the logit lens".
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from glassformer import ops
from glassformer.checked import COUNT, whole
from glassformer.lab.changes import word_of
from glassformer.model import Config, Encoder, EncoderDecoder, TowersConfig
from glassformer.model.kinds import AnyModel
from glassformer.ops import Tape
from glassformer.trace import SILENT, Recorder, Trace


class Guess(NamedTuple):
    """A token as the next one, and its probability."""

    token: int
    word: str
    prob: float


@dataclass(frozen=True, repr=False)
class Glimpse:
    """The prediction at one point of the stream: `probs` [pos, vocab], recorded at `address`."""

    point: str
    address: str
    probs: Tensor
    trace: Trace

    def best(self, pos: int = -1, n: int = 5) -> list[Guess]:
        """The n most probable tokens after position `pos` (-1: the last), the most probable first.

        Of equal ones the lowest id comes first.
        """
        n = whole("n", n, COUNT)
        row = self.probs[pos].double()
        order = row.argsort(descending=True, stable=True)[:n].tolist()
        return [Guess(token, word_of(self.trace, token), row[token].item()) for token in order]

    def __repr__(self) -> str:
        best = self.best(n=1)[0]
        return f"<Glimpse at {self.point}: {best.word!r} {best.prob:.3g} after the last token>"


def logit_lens(model: AnyModel, trace: Trace) -> list[Glimpse]:
    """Read every residual stream of a trace as if it were the last; the first text of a batch.

    The readings are recorded in the same trace, as ``fwd/lens.POINT.probs``, so that each of their
    numbers can be explained too. Of two towers the decoder's stream is read, which writes.
    """
    points = [
        point for point in additions(model.config) if point.endswith(("resid_pre", "resid_post"))
    ]
    paths = {point: _read(model, trace, point) for point in points}
    return [
        Glimpse(point, path, trace.value_of(trace.nodes[path])[0], trace)
        for point, path in paths.items()
    ]


def record_guesses(model: AnyModel, trace: Trace) -> None:
    """Record what would be said at the start of the stream and after every addition to it.

    ``fwd/lens.POINT.best_token`` [batch, pos] and its probability, ``best_prob``; for the last
    point they are read from ``fwd/probs``, the model's own prediction. The weights are those that
    the trace recorded, edits included.
    """
    *early, last = additions(model.config)
    paths = {point: _read(model, trace, point) for point in early} | {last: "fwd/probs"}
    for point, path in paths.items():
        t, probs = Recorder(trace).at(f"lens.{point}"), trace.value_of(trace.node(path))
        t("best_prob", ops.best_prob, probs)
        t("best_token", ops.best_token, probs)


def guesses_at(model: AnyModel, trace: Trace, pos: int) -> dict[str, Guess]:
    """What would be said after one token at every point of the stream; nothing is recorded.

    The first text of a batch, with the weights that the trace recorded.
    """
    points = additions(model.config)
    streams = [trace.value_of(trace.node(f"fwd/{point}"))[:1, pos : pos + 1] for point in points]
    with torch.no_grad():  # one product for all points: a large unembedding is read once
        probs = _probs(model, trace, torch.cat(streams, dim=1), SILENT)[0].double()
    result = {}
    for point, row in zip(points, probs, strict=True):
        token = int(row.argmax())
        result[point] = Guess(token, word_of(trace, token), row[token].item())
    return result


def additions(config: Config | TowersConfig) -> list[str]:
    """The points of the stream: its start, and where a branch has been added; of a decoder's stream
    where there are two.

    >>> additions(Config(11, n_ctx=8, d_model=6, n_layers=1, n_heads=3))
    ['blocks.0.resid_pre', 'blocks.0.resid_mid', 'blocks.0.resid_post']
    """
    scope = ""
    names: tuple[str, ...] = ("mid", "post")
    if isinstance(config, TowersConfig):
        scope, names, config = "decoder.", ("mid", "cross", "post"), config.decoder
    added = (f"{scope}blocks.{i}.resid_{at}" for i in range(config.n_layers) for at in names)
    return [f"{scope}blocks.0.resid_pre", *added]


def guesses_bytes(config: Config | TowersConfig, n_tokens: int, itemsize: int) -> int:
    """Bytes of values that `record_guesses` adds to a trace, next to nothing left out.

    `itemsize`: bytes of one number of the model.

    Logits, exponentials and probabilities of the vocabulary; five values in the norm.
    """
    early = len(additions(config)) - 1
    d_model = (config.decoder if isinstance(config, TowersConfig) else config).d_model
    return itemsize * early * n_tokens * (3 * config.vocab_size + 5 * d_model)


def _read(model: AnyModel, trace: Trace, point: str) -> str:
    """The path of the probabilities at a point, which are recorded if they are not yet."""
    path = f"fwd/lens.{point}.probs"
    if path in trace.nodes:
        return path
    t = Recorder(trace).at(f"lens.{point}")
    x = trace.value_of(trace.node(f"fwd/{point}"))
    with torch.no_grad():
        _probs(model, trace, x, t)
    return path


def _probs(model: AnyModel, trace: Trace, x: Tensor, t: Tape) -> Tensor:
    """The probabilities [batch, pos, vocab] that vectors x [batch, pos, d_model] would give."""
    tower, scope = (model.decoder, "decoder.") if isinstance(model, EncoderDecoder) else (model, "")
    if tower.ln_final is not None:
        w, b = (_weight(trace, f"{scope}ln_final.{name}") for name in "wb")
        x = tower.ln_final.with_weights(x, w, b, t.at("ln_final"))
    if isinstance(model, Encoder) and model.masked_head is not None:
        names = ("W_in", "b_in", "ln.w", "ln.b")
        W_in, b_in, w, b = (_weight(trace, f"masked_head.{name}") for name in names)
        assert W_in is not None, "a masked head has its matrix"
        x = model.masked_head.with_weights(x, W_in, b_in, w, b, t.at("masked_head"))
    b_U = _weight(trace, "unembed.b_U")
    logits = model.unembed.with_weights(x, _unembedding(trace), b_U, t)
    return t("probs", ops.softmax_probs, logits)


def _weight(trace: Trace, name: str) -> Tensor | None:
    """A weight as the pass read it; None where the model has none of that name."""
    node = trace.nodes.get(f"weight/{name}")
    return None if node is None else trace.value_of(node)


def _unembedding(trace: Trace) -> Tensor:
    """W_U as the pass itself read it: the embedding table read by columns where it is tied."""
    tied = trace.nodes.get("fwd/unembed.W_U")
    return trace.value_of(trace.node("weight/unembed.W_U") if tied is None else tied)
