"""The nodes of one pass as a graph: who was computed from whom, and every value that was kept."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from fnmatch import fnmatchcase
from itertools import islice
from threading import Lock
from typing import Any, Protocol, runtime_checkable

from torch import Tensor

from glassformer.errors import GlassformerError, did_you_mean
from glassformer.trace.address import Address
from glassformer.trace.cancel import CancelCheck, Cancelled, never_cancelled
from glassformer.trace.difference import Rerun
from glassformer.trace.node import Node


class OverBudgetError(GlassformerError):
    """The values of a trace would take more memory than allowed."""


@runtime_checkable  # so that the tests can check annotations
class Stored(Protocol):
    """Where the values of a trace lie that was read from a folder."""

    def read(self, node: Node, /) -> Tensor | None:
        """A node's value, if it was kept."""
        ...

    def fault(self, address: Address, error: Exception, /) -> GlassformerError:
        """The error of a node whose operands do not fit its formula."""
        ...


class Graph:
    """What `Trace` holds, before anything is explained; see there for the parameters."""

    def __init__(
        self,
        keep: str | Iterable[str] = "*",
        budget_bytes: int | None = None,
        is_cancelled: CancelCheck = never_cancelled,
    ) -> None:
        self.keep = keep.split(",") if isinstance(keep, str) else list(keep)
        self.keeps_all = "*" in self.keep
        self.budget_bytes = budget_bytes
        self.is_cancelled = is_cancelled
        self.labels: dict[str, Sequence[str]] = {}
        self.parameter_gradients: dict[str, Tensor] = {}
        self.rerun: Rerun | None = None
        self.silent_logits: Callable[[], Tensor] | None = None
        self.stored: Stored | None = None
        self._nodes: dict[str, Node] = {}
        self._nbytes = 0
        self._leaf_storages: set[int] = set()
        self._deferred: deque[tuple[Callable[..., Iterable[Node]], tuple[Any, ...]]] = deque()
        self._deferred_bytes = 0  # at most, of all that was ever deferred
        self._writing = Lock()
        self._consumers: dict[str, list[tuple[Node, str]]] = {}
        self._n_consumers = 0  # how many of the nodes are in there

    def __getstate__(self) -> dict[str, Any]:
        """What a copy or a pickle takes along: all but the lock, and who waits for this trace."""
        self._write_deferred()
        return {**self.__dict__, "_writing": None, "is_cancelled": never_cancelled}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._writing = Lock()
        held = (leaf.value for leaf in self.leaves if leaf.value is not None)
        self._leaf_storages = {value.untyped_storage()._cdata for value in held}

    @property
    def nodes(self) -> dict[str, Node]:
        """Every node and leaf by its path."""
        if self._deferred:
            self._write_deferred()
        return self._nodes

    @property
    def nbytes(self) -> int:
        """Bytes of the recorded values, weights apart."""
        if self._deferred:
            self._write_deferred()
        return self._nbytes

    def add(self, node: Node) -> None:
        """Record one node or leaf; a name may be used once."""
        self._refuse_if_cancelled()
        if self._deferred:
            self._write_deferred()
        self._put(node)

    def defer(self, nbytes: int, nodes: Callable[..., Iterable[Node]], *what: Any) -> None:
        """Record ``nodes(*what)`` when someone looks: the pass itself need not wait for it.

        `nbytes` is what their values take at most.
        """
        self._refuse_if_cancelled()
        self._deferred.append((nodes, what))
        self._deferred_bytes += nbytes
        if self.budget_bytes is not None and self._deferred_bytes > self.budget_bytes:
            self._write_deferred()  # counts exactly

    def _refuse_if_cancelled(self) -> None:
        if self.is_cancelled():
            raise Cancelled("nobody waits for this trace any more; it was not finished")

    def _write_deferred(self) -> None:
        with self._writing:  # two threads may look at once
            while self._deferred:
                nodes, what = self._deferred[0]  # stays there if it fails, to fail again
                for node in list(nodes(*what)):
                    self._put(node)
                self._deferred.popleft()

    def _put(self, node: Node) -> None:
        path, value = node.path, node.value
        if path in self._nodes:
            raise RuntimeError(f"two nodes are named {path!r}; give each its own name")
        if value is not None and node.op is None:
            self._leaf_storages.add(value.untyped_storage()._cdata)
        elif value is not None and not (self.keeps_all or self.keeps(path)):
            node.value = None
        elif value is not None and value.untyped_storage()._cdata not in self._leaf_storages:
            # a tied unembedding is the embedding table seen otherwise, and takes no memory
            if self.budget_bytes is not None and self._nbytes + value.nbytes > self.budget_bytes:
                raise OverBudgetError(f"a trace of more than {self.budget_bytes:,} bytes")
            self._nbytes += value.nbytes
        self._nodes[path] = node

    def keeps(self, path: str) -> bool:
        """Whether the value of the node at `path` is held on to."""
        name = path.partition("/")[2]
        return self.keeps_all or any(fnmatchcase(name, part.strip()) for part in self.keep)

    def refuse_unknown_keeps(self) -> None:
        """Raise for a name in `keep`, other than a pattern, that no value has."""
        exact = [part.strip() for part in self.keep if part.strip() and not set("*?[") & set(part)]
        names = {node.name for node in self.nodes.values()} if exact else set()
        for name in exact:
            if name not in names:
                raise GlassformerError(
                    f"keep={name!r}: no value of this trace has this name."
                    f"{did_you_mean(name, names)}"
                )

    @property
    def computed(self) -> list[Node]:
        """Computed values, in the order they were computed."""
        return [node for node in self.nodes.values() if node.op is not None]

    @property
    def leaves(self) -> list[Node]:
        """Weights, token ids and constants."""
        return [node for node in self.nodes.values() if node.op is None]

    def consumers(self, path: str) -> list[tuple[Node, str]]:
        """(node, operand name) for every node that read the value at `path`."""
        for node in islice(self.nodes.values(), self._n_consumers, None):
            for operand, source in node.operands.items():
                self._consumers.setdefault(source, []).append((node, operand))
        self._n_consumers = len(self._nodes)
        return self._consumers.get(path, [])

    def node(self, address: str | Address) -> Node:
        """The node at an address; an unknown one is answered with the nearest known names."""
        where = address if isinstance(address, Address) else Address.parse(address)
        node = self.nodes.get(where.path)
        if node is None:
            namesakes = (path for path, node in self.nodes.items() if node.name == where.name)
            namesake = next(namesakes, None)  # the same name under another kind
            nearest = (
                f" Did you mean {namesake!r}?" if namesake else did_you_mean(where.path, self.nodes)
            )
            otherwise = " `glassformer trace` lists the names"
            raise GlassformerError(
                f"no value is named {where.path!r} in this trace.{nearest or otherwise}"
            )
        return node

    def __iter__(self) -> Iterator[str]:
        """The paths of all nodes, leaves too, in the order they were recorded."""
        return iter(self.nodes)

    def __getitem__(self, address: str | Address) -> Tensor:
        """The value at an address: a tensor, or the slice that the given indices leave."""
        where = address if isinstance(address, Address) else Address.parse(address)
        node = self.node(where)
        return self.value_of(node)[where.slices(node.axes, node.shape)]

    def value_of(self, node: Node) -> Tensor:
        """A node's whole value, or an error that says how to keep it."""
        if node.value is None and self.stored is not None:
            node.value = self.stored.read(node)
        if node.value is None:
            raise GlassformerError(
                f"the value of {node.path} was not kept; watch again with keep='*' or"
                f" keep={node.name!r}"
            )
        if node.op is None and node.value._version != node.version:
            raise GlassformerError(
                f"{node.path} was changed after this trace was recorded (by training?); watch again"
            )
        return node.value

    def check_leaves(self) -> None:
        """Raise if a weight was changed since, so that the pass can't be run again as it was."""
        for leaf in self.leaves:
            self.value_of(leaf)
