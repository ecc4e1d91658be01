"""Where a tensor comes from: which node's value it is, or which leaf's, or a view of which."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from typing import Any
from weakref import ref

from torch import Tensor

from glassformer.formula.tree import Formula
from glassformer.ops.op import Op, Role
from glassformer.trace.node import Node

AxisNames = tuple[tuple[str, str], ...]
"""Axes of the ops' formulas, and what a tape calls them."""


def renamed(axes: tuple[str, ...], names: AxisNames) -> tuple[str, ...]:
    """The axes as a tape calls them."""
    return tuple(dict(names).get(axis, axis) for axis in axes) if names else axes


class Provenance:
    """Knows every tensor by identity, and makes the nodes of calls out of that.

    An operand that is the value of no node and no part of a leaf is an error, so no number can
    enter unexplained. What it says of a call it can also say later, as long as the tensors live; it
    does not know the trace, which holds it until then, so that a trace is freed when it is let go.
    """

    def __init__(self, nodes: Iterable[Node]) -> None:
        self.seen: set[int] = {id(None)}  # every known tensor, and the storages of leaves
        self._known: dict[int, tuple[ref[Tensor], str]] = {}  # by id; a value that is gone is none
        self._views: dict[tuple[Any, ...], str] = {}
        for node in nodes:  # a recording may go on from what the trace holds
            if node.value is not None:
                self._known[id(node.value)] = ref(node.value), node.path
                self.seen.add(id(node.value))
                if node.op is None:
                    self.seen.add(node.value.untyped_storage()._cdata)
                    self._views.setdefault(_view_key(node.value), node.path)

    def look_closer(self, op: Op[..., Any], operands: tuple[Any, ...]) -> None:
        """An operand that was not seen yet must lie in a leaf; what it is of it is found later."""
        for operand, tensor in zip(op.operands, operands, strict=False):
            if not isinstance(tensor, Tensor) or id(tensor) in self.seen:
                continue
            if tensor.untyped_storage()._cdata not in self.seen:
                raise _from_nowhere(op, operand)

    def leaf(
        self, path: str, value: Tensor, now: Tensor, version: int, axes: tuple[str, ...]
    ) -> Iterator[Node]:
        """The one node that a leaf is."""
        # two names for the same numbers (a tied matrix, transposed or not): the first one stands
        self._known[id(value)] = ref(value), self._views.setdefault(_view_key(now), path)
        yield Node(path, None, None, {}, {}, axes, now.shape, now.dtype, now, version=version)

    def nodes(
        self,
        prefix: str,
        axes: AxisNames,
        name: str | tuple[str, ...],
        op: Op[..., Any],
        operands: tuple[Any, ...],
        params: dict[str, Any],
        result: Any,
    ) -> Iterator[Node]:
        """The nodes of one call, a node to an output."""
        names, values = ((name,), (result,)) if isinstance(name, str) else (name, result)
        bound = op.bind(*operands, **params) if op.bind else operands
        sources = {
            operand: self._path(tensor, op, operand)
            for operand, tensor in zip(op.operands, bound, strict=False)
            if tensor is not None
        }
        formulas = _formulas(op, tuple(sources), axes)
        paths = [f"{prefix}{short}" for short in names]
        for formula, path in zip(formulas, paths, strict=True):
            sources[formula.name] = path  # one output's formula may read another output
        for path, formula, value in zip(paths, formulas, values, strict=True):
            yield self.node(path, op.name, formula, sources, params, value, op.role)

    def node(
        self,
        path: str,
        op: str,
        formula: Formula,
        sources: Mapping[str, str],
        params: Mapping[str, Any],
        value: Tensor,
        role: Role,
    ) -> Node:
        """The node of one computed value; `sources` are the paths of the formula's operands."""
        self._known[id(value)] = ref(value), path
        return Node(
            path,
            op,
            formula,
            {operand: sources[operand] for operand in formula.operands},
            {param: params[param] for param in formula.params},
            formula.axes,
            value.shape,
            value.dtype,
            value.detach() if value.requires_grad else value,
            role,
        )

    def _path(self, tensor: Tensor, op: Op[..., Any], operand: str) -> str:
        known = self._known.get(id(tensor))
        if known is not None and known[0]() is tensor:
            return known[1]
        path = self._views.get(_view_key(tensor))
        if path is None:
            raise _from_nowhere(op, operand)
        return path


def _from_nowhere(op: Op[..., Any], operand: str) -> RuntimeError:
    return RuntimeError(
        f"operand {operand!r} of op {op.name!r} is the value of no node, weight or constant;"
        " compute it on the tape or register it with leaf()"
    )


@cache
def _formulas(op: Op[..., Any], present: tuple[str, ...], axes: AxisNames) -> tuple[Formula, ...]:
    """The op's formulas for the operands that are there, over the tape's axes."""
    absent = frozenset(op.operands) - {*present}
    return tuple(formula.without(absent).along(dict(axes)) for formula in op.outputs)


def _view_key(tensor: Tensor) -> tuple[Any, ...]:
    storage = tensor.untyped_storage()._cdata
    return storage, tensor.storage_offset(), tensor.shape, tensor.stride(), tensor.dtype
