"""Several processes, started by torchrun, that train one model: PyTorch's own collectives.

Each rank takes its rows of every batch. Gradients are summed over the ranks (DDP), or every weight,
gradient and moment is kept in parts, one on each rank (`fully_shard`, FSDP2).
"""

from __future__ import annotations

import hashlib
import os
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.distributed_c10d import PrefixStore, Store
from torch.distributed.fsdp import fully_shard, register_fsdp_forward_method
from torch.distributed.rendezvous import rendezvous
from torch.nn.parallel import DistributedDataParallel

from glassformer.errors import GlassformerError
from glassformer.model.block import Block
from glassformer.model.kinds import AnyModel
from glassformer.ops import IGNORED
from glassformer.training.data import Batch
from glassformer.training.device import choose_device
from glassformer.training.ranks import FirstFailedError, Ranks, full_tensor

Model = TypeVar("Model", bound=AnyModel)
T = TypeVar("T")

ANSWER = 5.0  # seconds that a rank has to answer when one is missing


class Group(Ranks):
    """This process among those that train together."""

    def __init__(
        self,
        store: Store,
        rank: int,
        size: int,
        device: torch.device,
        sharded: bool,
        members: dist.ProcessGroup | None = None,
    ) -> None:
        self.store, self.rank, self.size = store, rank, size
        self.device, self.sharded = device, sharded
        self.members = members
        """Those that train together; None: all that torchrun has started."""

    def where(self, device: str) -> str:  # noqa: ARG002 (it was chosen by it)
        return str(self.device)

    def loss_of(self, model: AnyModel) -> Callable[..., Tensor]:
        if self.sharded:
            if self.members is None:
                mesh = init_device_mesh(self.device.type, (self.size,))
            else:
                mesh = DeviceMesh.from_group(self.members, self.device.type)
            for block in (module for module in model.modules() if isinstance(module, Block)):
                fully_shard(block, mesh=mesh)
            fully_shard(model, mesh=mesh, reshard_after_forward=True)
            register_fsdp_forward_method(model, "loss")
            return model.loss
        on = [self.device] if self.device.type == "cuda" else None
        # buffers are fixed tables: nothing in them is to be told
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # its name from torch 2.13 on is another
            return DistributedDataParallel(
                LossOf(model), device_ids=on, broadcast_buffers=False, process_group=self.members
            )

    def share(self, batch: Batch) -> Batch:
        """This rank's rows, as even as can be; of too few, some that count for nothing."""
        n = len(batch.ids) // batch.together
        first, end = (n * rank // self.size * batch.together for rank in (self.rank, self.rank + 1))
        rows = slice(first, end) if end > first else slice(0, batch.together)
        mine = batch.map(lambda tensor: tensor[rows])
        if end > first:
            return mine
        return mine._replace(targets=torch.full_like(mine.targets, IGNORED))

    def total(self, value: Tensor) -> Tensor:
        result = value.clone()
        dist.all_reduce(result, group=self.members)
        return result

    def any(self, flag: bool) -> bool:
        return bool(self.total(torch.tensor(int(flag))))

    def gather(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        result: dict[str, Tensor] = {}
        for name, tensor in tensors.items():
            value = full_tensor(tensor.detach())
            if self.is_first:
                result[name] = value.cpu() if self.sharded else value
        return result

    def whole_model(self, model: Model) -> Model | None:
        if not self.sharded:
            return model if self.is_first else None
        weights = self.gather(model.state_dict())
        if not self.is_first:
            return None
        kind: type[Model] = type(model).__bases__[-1]  # fully_shard puts a class before the model's
        result = kind.unfilled(model.config, device=self.device)
        result.load_state_dict(weights)
        result.tokenizer, result.folder_settings = model.tokenizer, model.folder_settings
        return result

    def first_does(self, act: Callable[[], None]) -> None:
        failed = None
        if self.is_first:
            try:
                act()
            except (GlassformerError, OSError) as error:
                failed = error
        if self.any(failed is not None):
            raise failed or FirstFailedError("the first rank could not go on; it says why")

    # ---- beginning and ending together ----

    def prepare(self, first: Callable[[], T], others: Callable[[], T]) -> T:
        """What the first rank makes by `first`, however long it takes; then the others, theirs."""
        if self.is_first:
            try:
                result = first()
            except BaseException:
                self.store.set("prepared", "failed")
                raise
            self.store.set("prepared", "whole")
            return result
        while not self.store.check(["prepared"]):
            time.sleep(0.1)
        if self.store.get("prepared") != b"whole":
            raise FirstFailedError("the first rank could not prepare the run; it says why")
        return others()

    def says_first(self, message: str) -> bool:
        """Whether no other rank has said this."""
        return self.store.add(f"said {hashlib.sha256(message.encode()).hexdigest()}", 1) == 1

    @contextmanager
    def naming_the_missing(self) -> Iterator[None]:
        """When a rank is gone or does not answer, the others end and say which."""
        try:
            yield
        except RuntimeError as error:
            if not (isinstance(error, dist.DistError) or "gloo" in str(error)):
                raise
            raise GlassformerError(self.roll_call()) from error

    def roll_call(self) -> str:
        """Which ranks do not answer, asked of each, in a sentence."""
        self.store.set(f"here {self.rank}", "")
        names = [f"here {rank}" for rank in range(self.size)]
        until = time.monotonic() + ANSWER
        while not self.store.check(names) and time.monotonic() < until:
            time.sleep(0.1)
        missing = [rank for rank, name in enumerate(names) if not self.store.check([name])]
        if not missing:
            return (
                "the connection between ranks broke, though all of them answer; start again with"
                " --resume"
            )
        who = ", ".join(map(str, missing))
        ranks = f"rank {who} is" if len(missing) == 1 else f"ranks {who} are"
        return (
            f"{ranks} gone or stuck, of {self.size} that train together; what was saved is whole:"
            " mend that machine or process, then start again with --resume"
        )


class LossOf(nn.Module):
    """A model whose forward pass is its loss: DDP looks at what leaves `forward`."""

    def __init__(self, model: AnyModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, ids: Tensor, targets: Tensor, **extra: Any) -> Tensor:
        return self.model.loss(ids, targets, **extra)


def attempt() -> str:
    """Which start of the job this is, on one machine: torchrun's ranks all know it.

    On several, the machines count differently, and torchrun is asked for a new store each time
    (TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1).
    """
    one_machine = os.environ.get("GROUP_WORLD_SIZE", "1") == "1"
    return os.environ.get("TORCHELASTIC_RESTART_COUNT", "0") if one_machine else "0"


@contextmanager
def join(device: str, sharded: bool, deadline: float) -> Iterator[Group]:
    """Be one of the ranks that torchrun has started, until the end of the block.

    device: as `choose_device` takes it; of several GPUs a rank takes that of its LOCAL_RANK.
    deadline: seconds after which an exchange in which a rank takes no part fails.
    """
    where = choose_device(device)
    if where.type == "cuda":
        where = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
        torch.cuda.set_device(where)
    patience = timedelta(seconds=deadline)
    store, rank, size = next(rendezvous("env://", timeout=patience))
    store = PrefixStore(f"attempt {attempt()}", store)  # else it tells of ranks that are gone
    backend = "cpu:gloo,cuda:nccl" if where.type == "cuda" else "gloo"
    dist.init_process_group(backend, store=store, rank=rank, world_size=size, timeout=patience)
    try:
        yield Group(store, rank, size, where, sharded)
    finally:
        dist.destroy_process_group()
