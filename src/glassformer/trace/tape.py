"""The tape a model writes on: SILENT computes, a Recorder also keeps every node.

The tape is passed, never ambient: context variables and module hooks break under `torch.compile`,
or capture nothing without saying so. Watch eagerly, compile silently.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, cast

from torch import Tensor
from torch.autograd import graph

from glassformer.formula.tree import Formula
from glassformer.ops.op import Composite, Name, Op, P, R, Tape
from glassformer.trace.graph import Graph
from glassformer.trace.node import Node
from glassformer.trace.provenance import Provenance

Editor = Callable[[Tensor, tuple[str, ...]], Tensor]
"""Given a value and its axes, what it shall be instead."""


def _silent(_name: Any, op: Op | Composite, /, *operands: Any, **params: Any) -> Any:
    return op.kernel(*operands, **params) if params else op.kernel(*operands)


_silent.at = lambda _scope: _silent  # pyright: ignore[reportFunctionMemberAccess]
SILENT = cast("Tape", _silent)
"""Calls each op's fast kernel and keeps nothing.

A function with a function on it: calling an object's ``__call__`` takes half as long again.
"""


class Recorder:
    """Runs a composite's sub-steps in place of its kernel and records a Node for every value.

    `edits` maps the path of a value to what changes it. `live`, where it is given, collects what a
    backward pass starts from: the values that are kept as they are, of others their autograd node.
    """

    def __init__(
        self,
        trace: Graph,
        kind: str = "fwd",
        edits: Mapping[str, Editor] | None = None,
        live: dict[str, Tensor | graph.Node | None] | None = None,
    ) -> None:
        self.trace = trace
        self.edits = edits or {}
        self.live = live
        # values that are let go of, changed or differentiated are dealt with as they come
        self._can_wait = trace.keeps_all and not self.edits and live is None
        self._prefix = f"{kind}/"
        self._origins = Provenance(trace.nodes.values(), edited=self.edits.keys())

    def at(self, scope: str, /) -> Recorder:
        inner = Recorder.__new__(Recorder)
        inner.__dict__ = {**self.__dict__, "_prefix": f"{self._prefix}{scope}."}  # the rest shared
        return inner

    def leaf(self, kind: str, name: str, value: Tensor, axes: tuple[str, ...]) -> None:
        """Register a weight, token ids or a constant as an operand."""
        now = value.detach()  # the numbers as they lie now, whatever the parameter is given later
        self._origins.seen.add(id(value))
        self._origins.seen.add(now.untyped_storage()._cdata)
        self._add(0, self._origins.leaf, f"{kind}/{name}", value, now, value._version, axes)

    def __call__(
        self,
        name: Name,
        op: Op[P, R] | Composite[P, R],
        /,
        *operands: P.args,
        **params: P.kwargs,
    ) -> R:
        if isinstance(op, Composite):
            assert isinstance(name, str), "a composite has one output"
            return op.steps(self, name, *operands, **params)
        result: Any = op.kernel(*operands, **params)
        if self.edits or self.live is not None:
            result = self._settled(name, op, result)
        origins = self._origins
        seen = origins.seen
        for operand in operands:
            if id(operand) not in seen:
                origins.look_closer(op, operands)
                break
        if isinstance(name, str):
            nbytes = result.nbytes
            seen.add(id(result))
        else:
            nbytes = sum([value.nbytes for value in result])
            seen.update(map(id, result))
        self._add(nbytes, origins.nodes, self._prefix, name, op, operands, params, result)
        return result

    def record(
        self,
        path: str,
        op: str,
        formula: Formula,
        sources: Mapping[str, str],
        params: Mapping[str, Any],
        value: Tensor,
    ) -> None:
        """Record one computed value; `sources` are the paths of the formula's operands."""
        self._origins.seen.add(id(value))
        self.trace.add(self._origins.node(path, op, formula, sources, params, value))

    def _add(self, nbytes: int, nodes: Callable[..., Iterator[Node]], *what: Any) -> None:
        if self._can_wait:
            self.trace.defer(nbytes, nodes, *what)
            return
        for node in nodes(*what):
            self.trace.add(node)

    def _settled(self, name: str | tuple[str, ...], op: Op, result: Any) -> Any:
        """The result with its edits, and live if it has to be."""
        names, values = ((name,), (result,)) if isinstance(name, str) else (name, result)
        settled = []
        for short, value, formula in zip(names, values, op.outputs, strict=True):
            path = f"{self._prefix}{short}"
            new = self.edits[path](value, formula.axes) if path in self.edits else value
            settled.append(new)
            if self.live is not None:
                self.live[path] = new if self.trace.keeps(path) else new.grad_fn
        return settled[0] if isinstance(name, str) else tuple(settled)
