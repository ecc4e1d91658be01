"""Two towers with something changed: the probability of each written word before and after."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from glassformer.lab.edits import Edit
from glassformer.model import EncoderDecoder
from glassformer.ops import IGNORED


class LostWord(NamedTuple):
    """A written token, its probability `before` and `after` an edit, and what it looked at.

    `instead` is the most probable token after the edit. Where a head of cross-attention was asked
    about, `source_pos` is where in the source it looked most, with `weight` of its attention.
    """

    token: int
    before: float
    after: float
    instead: int
    source_pos: int | None = None
    weight: float | None = None


def lost_words(
    model: EncoderDecoder,
    ids: Tensor,
    targets: Tensor,
    source: Tensor,
    edit: Edit,
    looking: tuple[int, int] | None = None,
) -> list[LostWord]:
    """Every asked token of a text [1, pos] that the decoder writes from a source [1, source_pos].

    looking: a layer and a head of cross-attention, of which it is told where it looked.

    Errors: an unknown address in `edit`.
    """
    layer, head = looking or (0, 0)
    pattern = f"decoder.blocks.{layer}.cross_attn.pattern"
    trace = model.watch(ids, source=source, keep=f"{pattern},probs")
    changed = model.watch(ids, source=source, keep="probs", edit=edit)
    before, after = trace["probs"], changed["probs"]  # [pos, vocab]
    true_tokens = targets[0]
    looked: list[tuple[int | None, float | None]] = [(None, None)] * len(true_tokens)
    if looking is not None:
        weights, source_pos = trace[pattern][head].max(-1)  # [query, source_key]
        looked = [*zip(source_pos.tolist(), weights.tolist(), strict=True)]
    return [
        LostWord(
            int(true_tokens[pos]),
            float(before[pos, true_tokens[pos]]),
            float(after[pos, true_tokens[pos]]),
            int(after[pos].argmax()),
            *looked[pos],
        )
        for pos in torch.nonzero(true_tokens != IGNORED)[:, 0].tolist()
    ]
