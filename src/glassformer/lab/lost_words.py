"""What a head of cross-attention carries: each written word's probability with it and without."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from glassformer.errors import GlassformerError
from glassformer.model import EncoderDecoder
from glassformer.ops import IGNORED


class LostWord(NamedTuple):
    """A written token, its probability `before` and `after` a head is off, and what it looked at.

    `instead` is the most probable token without the head; `source_pos` is where in the source the
    head looked most, with `weight` of its attention.
    """

    token: int
    before: float
    after: float
    instead: int
    source_pos: int
    weight: float


def lost_words(
    model: EncoderDecoder, ids: Tensor, targets: Tensor, source: Tensor, layer: int, head: int
) -> list[LostWord]:
    """Every asked token of a text [1, pos] that the decoder writes from a source [1, source_pos].

    Without the head nothing that it read of the source reaches the residual stream.

    Errors: a layer or a head that the decoder does not have.
    """
    config = model.config.decoder
    if not (0 <= layer < config.n_layers and 0 <= head < config.n_heads):
        raise GlassformerError(
            f"the decoder has no cross-attention {layer}.{head}: its layers are 0 to"
            f" {config.n_layers - 1}, the heads of each 0 to {config.n_heads - 1}"
        )
    at = f"decoder.blocks.{layer}.cross_attn"
    kept = f"{at}.pattern,probs"
    trace = model.watch(ids, source=source, keep=kept)
    without = model.watch(ids, source=source, keep="probs", edit={f"{at}.z[head={head}]": 0.0})
    before, after = trace["probs"], without["probs"]  # [pos, vocab]
    weights, source_pos = trace[f"{at}.pattern"][head].max(-1)  # [query, source_key]
    true_tokens = targets[0]
    return [
        LostWord(
            token=int(true_tokens[pos]),
            before=float(before[pos, true_tokens[pos]]),
            after=float(after[pos, true_tokens[pos]]),
            instead=int(after[pos].argmax()),
            source_pos=int(source_pos[pos]),
            weight=float(weights[pos]),
        )
        for pos in torch.nonzero(true_tokens != IGNORED)[:, 0].tolist()
    ]
