"""Training on preferences (DPO): the chosen reply of a pair gains on the rejected one.

Both are compared with a reference, the model as it was before. It stays as it is, so what it says
of every reply is computed once, before the first step, and kept beside the tokens.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import chain, islice
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch
import torch
from jaxtyping import Float
from torch import Tensor

from glassformer.describe import counted
from glassformer.errors import GlassformerError
from glassformer.files import ordinary_mode, sha256
from glassformer.model import Decoder
from glassformer.model.evaluating import evaluating
from glassformer.text.chat import usual_template
from glassformer.text.preference_rows import n_bytes, render_preference
from glassformer.text.rows import Row
from glassformer.text.shard import Shard
from glassformer.text.shard_writing import Encoded, write_asked
from glassformer.text.storyland.preferences import preferences
from glassformer.text.tokenizer import Tokenizer
from glassformer.training.chat import ChatData, held_out_of, notes_of, refuse_none
from glassformer.training.data import Batch
from glassformer.training.recipe import Recipe

BETA = 0.1
"""How much a nat of gain counts, unless it is said; Rafailov et al. 2023, appendix B."""

REFERENCE = "reference.safetensors"
FIX = "train again"
ROWS = 16  # replies at once
FEWEST_PAIRS = 400  # about Storyland, of which 20 are held out
MOST_PAIRS = 12_000  # a longer run sees some of them again


def write_preferences(
    folder: Path,
    rows: Iterable[Row],
    tokenizer: Tokenizer,
    n_ctx: int,
    progress: Callable[[int], object] = lambda n_bytes: None,
) -> tuple[str, ...]:
    """Write the replies of all rows, chosen and rejected by turns; say how many were left out.

    Left out is a pair of which a reply has no token in the first n_ctx + 1, or that is one reply
    twice.
    """
    template = usual_template(tokenizer)
    assert template is not None, "for_chats gave it one"
    cut = f"cut at the context of {n_ctx:,} tokens"
    silent = f"left out, since a reply has no token in the first {n_ctx:,}"
    same = "left out, since both replies are the same"
    counts = {cut: 0, silent: 0, same: 0}
    n = 0

    def documents() -> Iterator[Encoded]:
        nonlocal n
        for row in rows:
            pair = render_preference(row, template, tokenizer)
            if np.array_equal(pair[0].ids, pair[1].ids):
                counts[same] += 1
                continue
            if not all(chat.is_reply[1 : n_ctx + 1].any() for chat in pair):
                counts[silent] += 1
                continue
            n += 1
            counts[cut] += any(len(chat.ids) > n_ctx + 1 for chat in pair)
            for number, chat in enumerate(pair):
                size = 0 if number else n_bytes(row)
                yield Encoded(chat.ids[: n_ctx + 1], True, size, chat.is_reply[: n_ctx + 1])
        if not n:
            refuse_none(counts, "pair")

    write_asked(folder, documents(), tokenizer, progress=progress)
    learned = f"{counted(n, 'pair')} of replies: only what differs between the two is learned"
    return learned, *notes_of(counts, "pair")


def storyland_preferences(recipe: Recipe) -> Iterator[Row]:
    """Pairs about Storyland for a run, those held out last."""
    n = min(MOST_PAIRS, max(FEWEST_PAIRS, recipe.steps * recipe.blocks_per_step))
    n_held_out = held_out_of(n)
    held_out = islice(preferences(f"held out {recipe.seed}"), n_held_out)
    rows = chain(islice(preferences(f"training {recipe.seed}"), n - n_held_out), held_out)
    return (Row(f"pair {number}", row) for number, row in enumerate(rows, start=1))


def write_reference(folder: Path, model: Decoder, tokenizer: Tokenizer) -> str:
    """Write how surprised a model is at every reply of a folder; return the file's SHA-256."""
    surprise = torch.cat([*_surprises(model, ChatData(Shard(folder, tokenizer=tokenizer), 0))])
    file = folder / REFERENCE
    with ordinary_mode(file):
        safetensors.torch.save_file({"surprise": surprise}, file)
    return sha256(file)


@torch.no_grad()
def _surprises(model: Decoder, chats: ChatData) -> Iterator[Float[Tensor, " batch"]]:
    """The surprise at each conversation's replies, in nats."""
    device = next(model.parameters()).device
    n = len(chats.shard.documents)
    with evaluating(model):
        for first in range(0, n, ROWS):
            batch = chats.conversations(np.arange(first, min(first + ROWS, n)))
            ids, targets, _ = batch.map(lambda tensor: tensor.to(device))
            yield model.surprises(ids, targets).sum(-1).float().cpu()


class PreferenceData(ChatData):
    """Pairs of replies, pass after pass in an order that `seed` decides.

    A batch of n pairs holds 2 n conversations, each pair's chosen one before its rejected one, with
    the reference's surprise at both and beta.
    """

    together = 2

    def __init__(self, shard: Shard, seed: int, beta: float, reference_sha256: str) -> None:
        super().__init__(shard, seed)
        self.beta, self._sha256 = beta, reference_sha256
        file = shard.folder / REFERENCE
        if not file.is_file() or sha256(file) != reference_sha256:
            raise GlassformerError(
                f"{file} is missing or has changed, so there is nothing to compare with; {FIX}"
            )
        self.reference = safetensors.torch.load_file(file)["surprise"]

    def _batch(self, chosen: np.ndarray) -> Batch:
        rows = np.stack([2 * chosen, 2 * chosen + 1], axis=1).flatten()
        batch = self.conversations(rows)
        reference = self.reference[torch.from_numpy(rows)]
        extra = {"reference": reference, "beta": torch.full_like(reference, self.beta)}
        return batch._replace(extra=extra)

    def describe(self) -> dict[str, Any]:
        return {
            **super().describe(),
            "beta": self.beta,
            "reference_sha256": self._sha256,
        }
