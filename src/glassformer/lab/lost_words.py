"""Two towers with something changed: the probability of each written word before and after."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from glassformer.lab.edits import Edit
from glassformer.model import EncoderDecoder
from glassformer.ops import IGNORED
from glassformer.trace import Trace


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
    kept = "probs" if looking is None else f"{_pattern(looking[0])},probs"
    trace = model.watch(ids, source=source, keep=kept)
    changed = model.watch(ids, source=source, keep="probs", edit=edit)
    return words_between(trace, changed, targets[0], looking)


def words_between(
    trace: Trace, changed: Trace, targets: Tensor, looking: tuple[int, int] | None = None
) -> list[LostWord]:
    """Every asked token of targets [pos] in two traces of the same text, as it is and changed."""
    before, after = trace["probs"], changed["probs"]  # [pos, vocab]
    looked: list[tuple[int | None, float | None]] = [(None, None)] * len(targets)
    if looking is not None:
        layer, head = looking
        weights, source_pos = trace[_pattern(layer)][head].max(-1)  # [query, source_key]
        looked = [*zip(source_pos.tolist(), weights.tolist(), strict=True)]
    return [
        LostWord(
            int(targets[pos]),
            float(before[pos, targets[pos]]),
            float(after[pos, targets[pos]]),
            int(after[pos].argmax()),
            *looked[pos],
        )
        for pos in torch.nonzero(targets != IGNORED)[:, 0].tolist()
    ]


def _pattern(layer: int) -> str:
    return f"decoder.blocks.{layer}.cross_attn.pattern"
