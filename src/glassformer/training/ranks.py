"""The processes that train one model together, its ranks; nearly always there is one, alone.

Tensors of which every rank holds a part (PyTorch's DTensor) are known here by what they can do, so
that one alone imports nothing of it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import TypeVar

from torch import Tensor

from glassformer.errors import GlassformerError
from glassformer.model.kinds import AnyModel
from glassformer.training.data import Batch

Model = TypeVar("Model", bound=AnyModel)
T = TypeVar("T")


class FirstFailedError(GlassformerError):
    """The first rank could not go on, and says why; the others end without a word."""


class Ranks:
    """One process alone: nothing is shared out and nothing exchanged. `distributed` has more."""

    rank, size = 0, 1
    sharded = False
    """Whether each rank holds only a part of every weight."""

    @property
    def is_first(self) -> bool:
        """Whether this one writes, prints and holds the run's lock."""
        return self.rank == 0

    def where(self, device: str) -> str:
        """The device of this rank, where `device` is asked for."""
        return device

    def loss_of(self, model: AnyModel) -> Callable[..., Tensor]:
        """The loss that `model` learns by; its parameters may be others afterwards."""
        return model.loss

    def share(self, batch: Batch) -> Batch:
        """This rank's rows of a batch."""
        return batch

    def total(self, value: Tensor) -> Tensor:
        """The sum over all ranks of a tensor on the model's device: the same bits on each."""
        return value

    def any(self, flag: bool) -> bool:
        """Whether it is so on any rank."""
        return flag

    def gather(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Every tensor whole, on the first rank; the others get none."""
        return {**tensors}

    def whole_model(self, model: Model) -> Model | None:
        """The model in one piece, on the first rank."""
        return model

    def first_does(self, act: Callable[[], None]) -> None:
        """Let the first rank do something; if it fails, all end."""
        act()

    def prepare(self, first: Callable[[], T], others: Callable[[], T]) -> T:  # noqa: ARG002 (alone there are no others)
        """What the first rank makes by `first`, however long it takes; then the others, theirs."""
        return first()

    def naming_the_missing(self) -> AbstractContextManager[object]:
        """When a rank is gone or does not answer, the others end and say which."""
        return nullcontext()


ALONE = Ranks()


def launched() -> bool:
    """Whether torchrun, or a program like it, has started this process as one of several."""
    return "RANK" in os.environ and int(os.environ.get("WORLD_SIZE", "1")) > 1


def local(tensor: Tensor) -> Tensor:
    """This rank's part of a tensor that is spread over ranks; of any other, itself."""
    part = getattr(tensor, "to_local", None)
    return tensor if part is None else part()


def full_tensor(tensor: Tensor) -> Tensor:
    """A tensor that is spread over ranks in one piece, on each; any other as it is."""
    gathered = getattr(tensor, "full_tensor", None)
    return tensor if gathered is None else gathered()


def spread(tensor: Tensor, like: Tensor) -> Tensor:
    """A whole tensor in the dtype, on the device and over the ranks that `like` is spread over."""
    mesh = getattr(like, "device_mesh", None)
    if mesh is None:
        return tensor.to(like)
    from torch.distributed.tensor import DTensor, distribute_tensor

    assert isinstance(like, DTensor)
    moved = tensor.to(like.device, like.dtype)
    return distribute_tensor(moved, mesh, like.placements, src_data_rank=None)  # nothing is sent
