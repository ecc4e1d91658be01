"""Measuring an encoder: what it says of blanks, and on Storyland beside what can be known."""

from __future__ import annotations

import math
import random
from collections.abc import Iterable
from itertools import islice
from typing import NamedTuple

import torch

from glassformer.errors import GlassformerError
from glassformer.model.evaluating import evaluating
from glassformer.model.kinds import OneTower
from glassformer.text import storyland
from glassformer.text.blocks import IGNORED
from glassformer.text.tokenizer import Tokenizer
from glassformer.training.data import Batch
from glassformer.training.masking import Frame

FRESH = 200  # documents of a seed that no training uses, a word of each hidden
FRESH_SEED = "fresh"


class BlanksScore(NamedTuple):
    """Mean surprise at hidden tokens in nats, and how many were guessed."""

    loss: float
    right: int
    n: int


class StorylandBlanks(NamedTuple):
    """The same of one blank in each fresh document, beside what its other words tell exactly.

    `floor`: the loss of the grammar's own probabilities; `knowable`: how many blanks are right, on
    average, when the most probable word is said.
    """

    score: BlanksScore
    floor: float
    knowable: float


@torch.no_grad()
def score(model: OneTower, batches: Iterable[Batch]) -> BlanksScore:
    """The model's surprise at every target of the batches, and how many it guesses."""
    device = next(model.parameters()).device
    nats, right, n = 0.0, 0, 0
    with evaluating(model):
        for batch in batches:
            local = batch.map(lambda tensor: tensor.to(device))
            has_target = local.targets != IGNORED
            logits = model(local.ids, **local.extra)[has_target].float()
            targets = local.targets[has_target]
            nats += torch.nn.functional.cross_entropy(logits, targets, reduction="sum").item()
            right += int((logits.argmax(-1) == targets).sum())
            n += len(targets)
    if not n:
        raise GlassformerError("no token is hidden in any batch, so there is nothing to measure")
    return BlanksScore(nats / n, right, n)


def measure_blanks(model: OneTower, tokenizer: Tokenizer, n: int = FRESH) -> StorylandBlanks:
    """Hide a word of each of n documents that the model can't have seen, and ask for it."""
    if tokenizer.kind != "words":
        raise GlassformerError(
            "Storyland's blanks are words, and this tokenizer has parts of words; give a text to"
            " measure on instead"
        )
    frame = Frame(tokenizer)
    words = [tokenizer.token(int(i)) for i in frame.ordinary]
    drawn = random.Random(FRESH_SEED)
    rows, floor, knowable = [], 0.0, 0.0
    for document in islice(storyland.documents(FRESH_SEED), n):
        encoding = tokenizer.engine.encode(document.text, add_special_tokens=False)
        hidden = drawn.randrange(len(encoding.ids))
        begin, end = encoding.offsets[hidden]
        known = storyland.in_place(document.text, begin, end, words)
        floor -= math.log(known[encoding.tokens[hidden]])
        knowable += max(known.values())
        ids, targets = [*encoding.ids], [IGNORED] * len(encoding.ids)
        ids[hidden], targets[hidden] = frame.mask_id, encoding.ids[hidden]
        rows.append((ids, targets))
    return StorylandBlanks(score(model, [frame.batch(rows)]), floor / n, knowable / n)
