"""What a model is to whoever watches it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping

from torch import Tensor, nn

from glassformer.ops import Tape
from glassformer.watch.view import Source, View, itself, learned

ExtraInputs = Mapping[str, Tensor]
"""What a pass reads beside ids and targets, by name: which tokens are no padding, a source."""

NO_EXTRA_INPUTS: ExtraInputs = {}


class Watchable(nn.Module, ABC):
    """A model that writes on a tape, and whose weights have names and axes.

    What it is given here was checked: ids and targets [batch, pos] are tensors, of its vocabulary.
    """

    @abstractmethod
    def logits_of(self, ids: Tensor, t: Tape, extra: ExtraInputs = NO_EXTRA_INPUTS) -> Tensor:
        """Logits [batch, pos, vocab] of the next token at every position."""

    @abstractmethod
    def loss_of(
        self, ids: Tensor, targets: Tensor, t: Tape, extra: ExtraInputs = NO_EXTRA_INPUTS
    ) -> Tensor:
        """Mean cross-entropy in nats over the targets that are not `ops.IGNORED`."""

    @abstractmethod
    def views(self, source: Source = itself) -> Iterator[View]:
        """Every parameter under its name, as views of what `source` gives."""

    def learned_views(self) -> list[View]:
        """Those of the parameters that training changes."""
        storages = {p.untyped_storage()._cdata for p in learned(self).values()}
        return [view for view in self.views() if view.value.untyped_storage()._cdata in storages]

    @abstractmethod
    def draws(self) -> bool:
        """Whether a pass draws random numbers now, so that no other one is the same."""

    @abstractmethod
    def on_meta(self) -> Watchable:
        """A model of the same shapes that holds no numbers."""
