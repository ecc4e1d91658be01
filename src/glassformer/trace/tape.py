"""The tape a model writes on: SILENT computes, a Recorder also keeps every step.

The tape is passed, never ambient: context variables and module hooks break under `torch.compile`,
or capture nothing without saying so. Watch eagerly, compile silently.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import cache
from typing import Any, cast
from weakref import ref

from torch import Tensor
from torch.autograd.graph import Node

from glassformer.ops.formula import Formula
from glassformer.ops.op import Composite, Op, Tape
from glassformer.trace.step import Step
from glassformer.trace.trace import Trace

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
    """Runs a composite's sub-steps in place of its kernel and records a Step for every value.

    Provenance is by identity: a tensor is known as the value of a step, or as a registered leaf or
    a view of one. An operand that is neither is an error, so no number can enter unexplained.

    `edits` maps the path of a value to what changes it. `live`, where it is given, collects what a
    backward pass starts from: the values that are kept as they are, of others their autograd node.
    """

    def __init__(
        self,
        trace: Trace,
        kind: str = "fwd",
        edits: Mapping[str, Editor] | None = None,
        live: dict[str, Tensor | Node | None] | None = None,
    ) -> None:
        self.trace = trace
        self.edits = edits or {}
        self.live = live
        # values that are let go of, changed or differentiated are dealt with as they come
        self._can_wait = trace.keeps_all and not self.edits and live is None
        self._prefix = f"{kind}/"
        self._known: dict[int, tuple[ref[Tensor], str]] = {}  # by id; a value that is gone is none
        self._views: dict[tuple[Any, ...], str] = {}
        self._seen: set[int] = {id(None)}  # every known tensor, and the storages of leaves
        for step in trace.nodes.values():  # a recording may go on from what the trace holds
            if step.value is not None:
                self._known[id(step.value)] = ref(step.value), step.path
                self._seen.add(id(step.value))
                if step.op is None:
                    self._seen.add(step.value.untyped_storage()._cdata)
                    self._views.setdefault(_view_key(step.value), step.path)

    def at(self, scope: str, /) -> Recorder:
        inner = Recorder.__new__(Recorder)
        inner.__dict__ = {**self.__dict__, "_prefix": f"{self._prefix}{scope}."}  # the rest shared
        return inner

    def leaf(self, kind: str, name: str, value: Tensor, axes: tuple[str, ...]) -> None:
        """Register a weight, token ids or a constant as an operand."""
        now = value.detach()  # the numbers as they lie now, whatever the parameter is given later
        self._seen.add(id(value))
        self._seen.add(now.untyped_storage()._cdata)
        self._add(0, self._leaf, f"{kind}/{name}", value, now, value._version, axes)

    def __call__(
        self, name: str | tuple[str, ...], op: Op | Composite, /, *operands: Any, **params: Any
    ) -> Any:
        if isinstance(op, Composite):
            return op.steps(self, name, *operands, **params)
        result = op.kernel(*operands, **params)
        if self.edits or self.live is not None:
            result = self._settled(name, op, result)
        seen = self._seen
        for operand in operands:
            if id(operand) not in seen:
                self._look_closer(op, operands)
                break
        if isinstance(name, str):
            nbytes = result.nbytes
            seen.add(id(result))
        else:
            nbytes = sum([value.nbytes for value in result])
            seen.update(map(id, result))
        self._add(nbytes, self._steps, name, op, operands, params, result)
        return result

    def _add(self, nbytes: int, steps: Callable[..., Iterator[Step]], *what: Any) -> None:
        if self._can_wait:
            self.trace.note(nbytes, steps, *what)
            return
        for step in steps(*what):
            self.trace.add(step)

    def _settled(self, name: str | tuple[str, ...], op: Op, result: Any) -> Any:
        """The result with its edits, and live if it has to be."""
        names, values = ((name,), (result,)) if isinstance(name, str) else (name, result)
        settled = []
        for own, value, formula in zip(names, values, op.outputs, strict=True):
            path = f"{self._prefix}{own}"
            new = self.edits[path](value, formula.axes) if path in self.edits else value
            settled.append(new)
            if self.live is not None:
                self.live[path] = new if self.trace.keeps(path) else new.grad_fn
        return settled[0] if isinstance(name, str) else tuple(settled)

    def _look_closer(self, op: Op, operands: tuple[Any, ...]) -> None:
        """An operand that was not seen yet must lie in a leaf; what it is of it is found later."""
        for operand, tensor in zip(op.operands, operands, strict=False):
            if not isinstance(tensor, Tensor) or id(tensor) in self._seen:
                continue
            if tensor.untyped_storage()._cdata not in self._seen:
                raise _from_nowhere(op, operand)

    def _leaf(
        self, path: str, value: Tensor, now: Tensor, version: int, axes: tuple[str, ...]
    ) -> Iterator[Step]:
        # two names for the same numbers (a tied matrix, transposed or not): the first one stands
        self._known[id(value)] = ref(value), self._views.setdefault(_view_key(now), path)
        yield Step(path, None, None, {}, {}, axes, now.shape, now.dtype, now, version=version)

    def _steps(
        self,
        name: str | tuple[str, ...],
        op: Op,
        operands: tuple[Any, ...],
        params: dict[str, Any],
        result: Any,
    ) -> Iterator[Step]:
        """The steps of one call, a step to an output."""
        names, values = ((name,), (result,)) if isinstance(name, str) else (name, result)
        given = op.bind(*operands, **params) if op.bind else operands
        sources = {
            operand: self._path(tensor, op, operand)
            for operand, tensor in zip(op.operands, given, strict=False)
            if tensor is not None
        }
        formulas = _formulas(op, tuple(sources))
        paths = [f"{self._prefix}{own}" for own in names]
        for formula, path in zip(formulas, paths, strict=True):
            sources[formula.name] = path  # one output's formula may read another output
        for path, formula, value in zip(paths, formulas, values, strict=True):
            yield self._step(path, op.name, formula, sources, params, value)

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
        self._seen.add(id(value))
        self.trace.add(self._step(path, op, formula, sources, params, value))

    def _step(
        self,
        path: str,
        op: str,
        formula: Formula,
        sources: Mapping[str, str],
        params: Mapping[str, Any],
        value: Tensor,
    ) -> Step:
        self._known[id(value)] = ref(value), path
        return Step(
            path,
            op,
            formula,
            {operand: sources[operand] for operand in formula.operands},
            {param: params[param] for param in formula.params},
            formula.axes,
            value.shape,
            value.dtype,
            value.detach() if value.requires_grad else value,
            path in self.edits,
        )

    def _path(self, tensor: Tensor, op: Op, operand: str) -> str:
        known = self._known.get(id(tensor))
        if known is not None and known[0]() is tensor:
            return known[1]
        path = self._views.get(_view_key(tensor))
        if path is None:
            raise _from_nowhere(op, operand)
        return path


def _from_nowhere(op: Op, operand: str) -> RuntimeError:
    return RuntimeError(
        f"operand {operand!r} of op {op.name!r} is the value of no step, weight or constant;"
        " compute it on the tape or register it with leaf()"
    )


@cache
def _formulas(op: Op, given: tuple[str, ...]) -> tuple[Formula, ...]:
    """The op's formulas for the operands that are there."""
    return tuple(formula.without(frozenset(op.operands) - {*given}) for formula in op.outputs)


def _view_key(tensor: Tensor) -> tuple[Any, ...]:
    storage = tensor.untyped_storage()._cdata
    return storage, tensor.storage_offset(), tensor.shape, tensor.stride(), tensor.dtype
