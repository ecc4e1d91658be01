"""Training on Storyland and measuring against it: the floor, and answers that only the context has.

Storyland's documents have a known probability, so their mean surprise, under the tokenizer in use,
is the loss that no model can beat.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import torch

from glassformer.errors import GlassformerError
from glassformer.model.evaluating import evaluating
from glassformer.model.kinds import AnyModel
from glassformer.text import storyland
from glassformer.text.blocks import Blocks
from glassformer.text.shard import Shard
from glassformer.text.shard_writing import write_shard
from glassformer.text.storyland import Document
from glassformer.text.tokenizer import Tokenizer
from glassformer.text.translation import prompts
from glassformer.training.data import BlocksData
from glassformer.training.recipe import Recipe

MOST_DOCUMENTS = 40_000  # to train on; a longer run sees some of them again
HELD_OUT = 600  # documents: about 24,000 words
FRESH = 1_000  # documents that `measure` writes, of a seed that no training uses
FRESH_SEED = "fresh"
ROWS = 64  # documents at once
WRITERS = {"storyland": storyland.documents, "prompts": prompts.documents}
"""Corpora of documents of known probability, as run.json calls them."""


def documents(seed: int | str, n: int, kind: str = "storyland") -> Iterator[Document]:
    """The first n documents of a seed, of one of `WRITERS`."""
    return islice(WRITERS[kind](seed), n)


def write_storyland(
    folder: Path, tokenizer: Tokenizer, recipe: Recipe, kind: str = "storyland"
) -> float:
    """Write a run's documents, those held out last; return the floor, nats per held-out token."""
    if tokenizer.eos_id is None:
        raise GlassformerError("Storyland needs a tokenizer with a separator such as <eos>")
    n = min(MOST_DOCUMENTS, recipe.steps * recipe.blocks_per_step)
    held_out = [*documents(f"held out {recipe.seed}", HELD_OUT, kind)]
    training = documents(f"training {recipe.seed}", n, kind)
    texts = (document.text for part in (training, held_out) for document in part)
    write_shard(folder, texts, tokenizer)
    return storyland.floor(held_out, tokenizer)


def open_storyland(
    folder: Path,
    tokenizer: Tokenizer,
    n_ctx: int,
    seed: int,
    floor: float,
    document_mask: bool = False,
) -> BlocksData:
    """Blocks of the documents in a folder, each from the start of a document."""
    shard = Shard(folder, tokenizer=tokenizer)
    if len(shard.documents) <= HELD_OUT:
        raise GlassformerError(
            f"{folder} holds {len(shard.documents):,} documents, and {HELD_OUT} of Storyland's are"
            " held out alone; restore it or train again"
        )
    first_held_out = int(shard.starts(slice(-HELD_OUT, None))[0])
    share = (len(shard) - first_held_out) / len(shard)
    blocks = Blocks(shard, n_ctx, mode="documents", validation=share)
    return BlocksData(blocks, seed, floor, document_mask)


class StorylandScore(NamedTuple):
    """A model's loss on fresh documents beside their floor, and the answers it got right.

    `right` and `asked` count, by kind of document, the answers whose word the document has shown
    before: names, facts, and patterns made up for this one document.
    """

    loss: float
    floor: float
    right: dict[str, int]
    asked: dict[str, int]

    @property
    def accuracy(self) -> dict[str, float]:
        return {kind: self.right[kind] / n for kind, n in self.asked.items()}


@torch.no_grad()
def measure(
    model: AnyModel, tokenizer: Tokenizer, n: int = FRESH, kind: str = "storyland"
) -> StorylandScore:
    """Score a model on n documents it can't have seen, each on its own."""
    device = next(model.parameters()).device
    fresh = [*documents(FRESH_SEED, n, kind)]
    nats, n_tokens = 0.0, 0
    correct: dict[str, int] = {}
    asked: dict[str, int] = {}
    with evaluating(model):
        for start in range(0, n, ROWS):
            chosen = fresh[start : start + ROWS]
            ids, targets, spans = _rows(tokenizer, chosen, model.config.n_ctx)
            logits = model(ids.to(device)).float().cpu()
            surprise = torch.nn.functional.cross_entropy(
                logits.flatten(0, 1), targets.flatten(), ignore_index=-100, reduction="sum"
            )
            nats += float(surprise)
            n_tokens += int((targets >= 0).sum())
            hits = logits.argmax(-1) == targets  # [document, pos]
            for document, row, answers in zip(chosen, hits, spans, strict=True):
                kind = document.kind
                for span in answers:
                    asked[kind] = asked.get(kind, 0) + 1
                    correct[kind] = correct.get(kind, 0) + int(row[span].all())
    floor = sum(document.nats for document in fresh) / n_tokens
    return StorylandScore(nats / n_tokens, floor, correct, asked)


def _rows(
    tokenizer: Tokenizer, chosen: Sequence[Document], n_ctx: int
) -> tuple[torch.Tensor, torch.Tensor, list[list[list[int]]]]:
    """<eos> document <eos> per row, X and Y, and the places of each answer's tokens in Y."""
    eos = tokenizer.eos_id
    if eos is None:
        raise GlassformerError("Storyland needs a tokenizer with a separator such as <eos>")
    ids = torch.full((len(chosen), n_ctx), eos)
    targets = torch.full((len(chosen), n_ctx), -100)
    spans = []
    encodings = tokenizer.engine.encode_batch([d.text for d in chosen], add_special_tokens=False)
    for row, (document, encoding) in enumerate(zip(chosen, encodings, strict=True)):
        tokens = [eos, *encoding.ids, eos]
        if len(tokens) - 1 > n_ctx:
            raise GlassformerError(
                f"a Storyland document has {len(tokens) - 1} tokens and the model reads {n_ctx};"
                " train one with a larger --n-ctx or another tokenizer"
            )
        ids[row, : len(tokens) - 1] = torch.tensor(tokens[:-1])
        targets[row, : len(tokens) - 1] = torch.tensor(tokens[1:])
        spans.append(
            [
                [
                    i
                    for i, (a, b) in enumerate(encoding.offsets)
                    if a < answer.end and b > answer.start
                ]
                for answer in document.answers
            ]
        )
    return ids, targets, spans
