"""What the residual stream would predict if the model stopped after each layer.

The logit lens is tuned by nothing: the model's own final norm and unembedding, applied early.
Source: nostalgebraist 2020, "interpreting GPT: the logit lens".
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from glassformer import ops
from glassformer.model import Transformer
from glassformer.trace import Recorder, Trace


@dataclass(frozen=True)
class Glimpse:
    """The prediction at one point of the stream: `probs` [pos, vocab], recorded at `address`."""

    point: str
    address: str
    probs: Tensor


def logit_lens(model: Transformer, trace: Trace) -> list[Glimpse]:
    """Read every residual stream of a trace as if it were the last; the first text of a batch.

    The readings are recorded in the same trace, as ``fwd/lens.POINT.probs``, so that each of their
    numbers can be explained too.
    """
    points = ["blocks.0.resid_pre"]
    points += [f"blocks.{layer}.resid_post" for layer in range(model.config.n_layers)]
    tape = Recorder(trace)
    glimpses = []
    with torch.no_grad():
        for point in points:
            path = f"fwd/lens.{point}.probs"
            if path not in trace.nodes:
                t = tape.at(f"lens.{point}")
                x = trace.value_of(trace.step(f"fwd/{point}"))
                x = model.ln_final(x, t.at("ln_final")) if model.ln_final is not None else x
                W_U = model.unembed.weight(t.at("unembed"))
                t("probs", ops.softmax_probs, t("logits", ops.unembed, x, W_U, model.unembed.b_U))
            glimpses.append(Glimpse(point, path, trace.value_of(trace.nodes[path])[0]))
    return glimpses
