"""Blanks are filled: what an encoder finds probable in the place of every masked token."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch

from glassformer.errors import GlassformerError
from glassformer.model.kinds import OneTower
from glassformer.text.tokenizer import Tokenizer


class Blank(NamedTuple):
    """A masked token's place among the text's tokens, and what may stand there, best first."""

    pos: int
    best: list[tuple[int, float]]


@torch.no_grad()
def fill_blanks(
    model: OneTower, tokenizer: Tokenizer, ids: Sequence[int], n: int = 10
) -> list[Blank]:
    """The n most probable tokens at every masked token of a text, with their probabilities.

    Several blanks are filled each for itself: the others stay masked.
    """
    if tokenizer.mask_id is None or not tokenizer.blanks:
        raise GlassformerError(
            "this model's tokenizer has no mask token, so no blank can be said; it goes on with a"
            " text instead: leave [MASK] out"
        )
    positions = [pos for pos, token in enumerate(ids) if token == tokenizer.mask_id]
    if not positions:
        raise GlassformerError(
            f"the text has no blank, and an encoder says what stands in one; write"
            f" {tokenizer.mask} for a word"
        )
    device = next(model.parameters()).device
    probs = model(torch.tensor([[*ids]], device=device))[0, positions].softmax(-1)  # [blank, vocab]
    best = probs.topk(min(n, probs.shape[-1]))
    return [
        Blank(pos, [*zip(tokens, values, strict=True)])
        for pos, tokens, values in zip(
            positions, best.indices.tolist(), best.values.tolist(), strict=True
        )
    ]


def filled(ids: Sequence[int], blanks: Sequence[Blank]) -> list[int]:
    """The text with the most probable token in every blank.

    >>> filled([5, 4, 6], [Blank(1, [(9, 0.7), (8, 0.2)])])
    [5, 9, 6]
    """
    result = [*ids]
    for blank in blanks:
        result[blank.pos] = blank.best[0][0]
    return result
