"""What training asks of a corpus: batches by number, held-out batches, and what is known of it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, Protocol, runtime_checkable

import torch
from jaxtyping import Int
from torch import Tensor

from glassformer.errors import GlassformerError
from glassformer.text import blocks as text_blocks
from glassformer.text.blocks import Blocks
from glassformer.text.mixture import Mixture
from glassformer.text.shard import Shard
from glassformer.watch.watchable import NO_EXTRA_INPUTS

NO_TOKENS = ("begins", "reference", "beta")
"""What a model is given beside ids that is no token to read."""

EVALUATED = 2**15  # held-out tokens, at most: enough for two digits of the loss


class Batch(NamedTuple):
    """Token ids [batch, pos] and the token that follows each; a target of -100 is not asked.

    `extra` holds what the model reads beside them, tensors by name: for a translation `source`.
    """

    ids: Int[Tensor, "batch pos"]
    targets: Int[Tensor, "batch pos"]
    extra: Mapping[str, Any] = NO_EXTRA_INPUTS

    @property
    def together(self) -> int:
        """Rows that belong together: of pairs of replies that are compared, two."""
        return 2 if "reference" in self.extra else 1

    @property
    def n_asked(self) -> int:
        """What the loss is a mean over: targets that are asked for; of pairs of replies, pairs."""
        asked = self.targets >= 0
        return int(asked.any(-1).sum()) // 2 if self.together == 2 else int(asked.sum())

    @property
    def tensors(self) -> dict[str, Tensor]:
        """Every tensor by its name."""
        return {"ids": self.ids, "targets": self.targets, **self.extra}

    @property
    def n_tokens(self) -> int:
        """Tokens that are read, padding included."""
        read = (tensor.numel() for name, tensor in self.extra.items() if name not in NO_TOKENS)
        n_tokens: int = self.ids.numel() + sum(read)
        return n_tokens

    def map(self, change: Callable[[Tensor], Tensor]) -> Batch:
        """The batch with `change(tensor)` in place of each: on another device, or some rows."""
        extra = {name: change(tensor) for name, tensor in self.extra.items()}
        return Batch(change(self.ids), change(self.targets), extra)


@runtime_checkable
class Data(Protocol):
    """A corpus as `train` sees it; `BlocksData` is one."""

    def batch(self, number: int, rows: int) -> Batch:
        """Batch `number` (0 is the first) of `rows` blocks, on the CPU; always the same one."""
        ...

    def held_out(self, rows: int) -> Iterable[Batch]:
        """The held-out blocks, always the same, in batches of at most `rows`.

        Where none are held out, the blocks of the whole text.
        """
        ...

    @property
    def holds_out(self) -> bool:
        """Whether a part of the text is kept from training, to be measured on."""
        ...

    def counts(self) -> Int[Tensor, " vocab"]:
        """How often each token occurs in the training part."""
        ...

    @property
    def n_tokens(self) -> int:
        """Tokens in the training part."""
        ...

    @property
    def floor(self) -> float | None:
        """The held-out part's own surprise, nats per token: no model does better. None: unknown."""
        ...

    def verify(self) -> None:
        """Raise if the tokens have changed since they were written."""
        ...

    def describe(self) -> dict[str, Any]:
        """What must be equal for a run to be resumed: fingerprints, split, block length, order."""
        ...


class BlocksData:
    """Blocks of a token shard, pass after pass in an order that `seed` decides."""

    def __init__(
        self,
        blocks: Blocks | Mixture,
        seed: int = 0,
        floor: float | None = None,
        document_mask: bool = False,
    ) -> None:
        """document_mask: a token is predicted from its own document alone, see `begins`."""
        self.blocks, self.seed, self._floor = blocks, seed, floor
        self.document_mask = document_mask
        self._mark = blocks.shard.header.eos_id if document_mask else None
        if document_mask and self._mark is None:
            raise GlassformerError(
                "documents are told apart by a separator such as <eos>, and this tokenizer has"
                " none; leave --document-mask out"
            )

    def batch(self, number: int, rows: int) -> Batch:
        return with_begins(*self.blocks.batch(number, self.seed, rows), self._mark)

    def held_out(self, rows: int) -> Iterator[Batch]:
        n = 0
        for ids, targets in self.blocks.evaluation(rows):
            yield with_begins(ids, targets, self._mark)
            n += targets.numel()
            if n >= EVALUATED:
                return

    @property
    def holds_out(self) -> bool:
        return self.blocks.mode != "whole"

    def counts(self) -> Int[Tensor, " vocab"]:
        return self.blocks.counts()

    @property
    def n_tokens(self) -> int:
        return self.blocks.n_train

    @property
    def floor(self) -> float | None:
        return self._floor

    def verify(self) -> None:
        self.blocks.shard.verify()

    def describe(self) -> dict[str, Any]:
        blocks = self.blocks
        return {
            "tokens_sha256": blocks.shard.fingerprint,
            "tokenizer": blocks.shard.header.tokenizer,
            "n_train": blocks.n_train,
            "n_validation": blocks.n_validation,
            "n_ctx": blocks.n_ctx,
            "mode": blocks.mode,
            "order": "passes",  # runs that lack it drew their blocks with replacement
            "seed": self.seed,
            **({"document_mask": True} if self.document_mask else {}),
            **(
                {"parts": [[*part] for part in blocks.parts]} if isinstance(blocks, Mixture) else {}
            ),
        }


def filled(rows: Sequence[Sequence[int]], value: int) -> Int[Tensor, "batch pos"]:
    """Rows of ids as one tensor, the shorter ones with `value` at their end.

    >>> filled([[4, 5, 2], [6, 2]], 0)
    tensor([[4, 5, 2],
            [6, 2, 0]])
    """
    longest = max(map(len, rows))
    return torch.tensor([[*row, *[value] * (longest - len(row))] for row in rows])


def with_begins(ids: Tensor, targets: Tensor, eos: int | None) -> Batch:
    """A batch; with a separator also where each token's document begins."""
    return Batch(ids, targets, NO_EXTRA_INPUTS if eos is None else {"begins": begins(ids, eos)})


def begins(ids: Int[Tensor, "batch pos"], eos: int) -> Int[Tensor, "batch pos"]:
    """The place where each token's document begins: its separator, or the block's first token.

    >>> begins(torch.tensor([[5, 0, 6, 7, 0, 8]]), eos=0)
    tensor([[0, 1, 1, 1, 4, 4]])
    """
    index = torch.arange(ids.shape[1], device=ids.device)
    return torch.where(ids == eos, index, 0).cummax(-1).values


def whole_text(shard: Shard, n_ctx: int, rows: int, document_mask: bool = False) -> Iterator[Batch]:
    """Every token of a shard but the first, once, in blocks laid end to end, `rows` at a time."""
    for ids, targets in text_blocks.whole_text(shard, n_ctx, rows):
        yield with_begins(ids, targets, shard.header.eos_id if document_mask else None)
