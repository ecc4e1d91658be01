"""What training asks of a corpus: batches by number, held-out batches, and what is known of it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, NamedTuple, Protocol, runtime_checkable

from jaxtyping import Int
from torch import Tensor

from glassformer.text import blocks as text_blocks
from glassformer.text.blocks import Blocks
from glassformer.text.mixture import Mixture
from glassformer.text.shard import Shard

EVALUATED = 2**15  # held-out tokens, at most: enough for two digits of the loss


NOTHING_MORE: Mapping[str, Any] = {}


class Batch(NamedTuple):
    """Token ids [batch, pos] and the token that follows each; a target of -100 is not asked.

    `given` holds what the model reads beside them, tensors by name: for a translation `source`.
    """

    ids: Int[Tensor, "batch pos"]
    targets: Int[Tensor, "batch pos"]
    given: Mapping[str, Any] = NOTHING_MORE

    @property
    def n_targets(self) -> int:
        return int((self.targets >= 0).sum())

    @property
    def tensors(self) -> dict[str, Tensor]:
        """Every tensor by its name."""
        return {"ids": self.ids, "targets": self.targets, **self.given}

    @property
    def n_tokens(self) -> int:
        """Tokens that are read, padding included."""
        return self.ids.numel() + sum(tensor.numel() for tensor in self.given.values())

    def map(self, change: Callable[[Tensor], Tensor]) -> Batch:
        """The batch with `change(tensor)` in place of each: on another device, or some rows."""
        given = {name: change(tensor) for name, tensor in self.given.items()}
        return Batch(change(self.ids), change(self.targets), given)


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

    def __init__(self, blocks: Blocks | Mixture, seed: int = 0, floor: float | None = None) -> None:
        self.blocks, self.seed, self._floor = blocks, seed, floor

    def batch(self, number: int, rows: int) -> Batch:
        return Batch(*self.blocks.batch(number, self.seed, rows))

    def held_out(self, rows: int) -> Iterator[Batch]:
        n = 0
        for ids, targets in self.blocks.evaluation(rows):
            yield Batch(ids, targets)
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
        mixed = isinstance(blocks, Mixture)
        return {
            "tokens_sha256": blocks.shard.fingerprint,
            "tokenizer": blocks.shard.header.tokenizer,
            "n_train": blocks.n_train,
            "n_validation": blocks.n_validation,
            "n_ctx": blocks.n_ctx,
            "mode": blocks.mode,
            "order": "passes",  # runs that lack it drew their blocks with replacement
            "seed": self.seed,
            **({"parts": [[*part] for part in blocks.parts]} if mixed else {}),
        }


def whole_text(shard: Shard, n_ctx: int, rows: int) -> Iterator[Batch]:
    """Every token of a shard but the first, once, in blocks laid end to end, `rows` at a time."""
    return (Batch(ids, targets) for ids, targets in text_blocks.whole_text(shard, n_ctx, rows))
