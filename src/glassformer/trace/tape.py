"""The tape a model writes on: SILENT computes, a Recorder also keeps every step.

The tape is passed, never ambient: context variables and module hooks break under `torch.compile`,
or capture nothing without saying so. Watch eagerly, compile silently.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from typing import Any
from weakref import ref

from torch import Tensor
from torch.autograd.graph import Node

from glassformer.ops.formula import Formula
from glassformer.ops.op import Composite, Op
from glassformer.trace.step import Step
from glassformer.trace.trace import Trace

Editor = Callable[[Tensor, tuple[str, ...]], Tensor]
"""Given a value and its axes, what it shall be instead."""


class Silent:
    """Calls each op's fast kernel and keeps nothing."""

    def __call__(self, _name: Any, op: Op | Composite, /, *operands: Any, **params: Any) -> Any:
        return op.kernel(*operands, **params)

    def at(self, _scope: str, /) -> Silent:
        return self


SILENT = Silent()


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
        self._prefix = f"{kind}/"
        self._known: dict[int, tuple[ref[Tensor], str]] = {}  # by id; a value that is gone is none
        self._views: dict[tuple[Any, ...], str] = {}
        for step in trace.nodes.values():  # a recording may go on from what the trace holds
            if step.value is not None:
                self._known[id(step.value)] = ref(step.value), step.path
                if step.op is None:
                    self._views.setdefault(_view_key(step.value), step.path)

    def at(self, scope: str, /) -> Recorder:
        inner = Recorder.__new__(Recorder)
        inner.__dict__ = {**self.__dict__, "_prefix": f"{self._prefix}{scope}."}  # the rest shared
        return inner

    def leaf(self, kind: str, name: str, value: Tensor, axes: tuple[str, ...]) -> None:
        """Register a weight, token ids or a constant as an operand."""
        path = f"{kind}/{name}"
        # two names for the same numbers (a tied matrix, transposed or not): the first one stands
        self._known[id(value)] = ref(value), self._views.setdefault(_view_key(value), path)
        leaf = Step(
            path, None, None, {}, {}, axes, value.shape, value.dtype, value.detach(),
            version=value._version,
        )
        self.trace.add(leaf, leaf=True)

    def __call__(
        self, name: str | tuple[str, ...], op: Op | Composite, /, *operands: Any, **params: Any
    ) -> Any:
        if isinstance(op, Composite):
            return op.steps(self, name, *operands, **params)
        result = op.kernel(*operands, **params)
        alone = isinstance(name, str)
        paths = [self._prefix + own for own in ((name,) if alone else name)]
        values = (result,) if alone else result
        if self.edits:
            values = [
                self.edits[path](value, formula.axes) if path in self.edits else value
                for path, value, formula in zip(paths, values, op.outputs, strict=True)
            ]
        bound = op.bind(*operands, **params) if op.bind else operands
        sources = {
            o: self._path(t, op, o)
            for o, t in zip(op.operands, bound, strict=False)
            if t is not None
        }
        formulas = _formulas(op, tuple(sources))
        if not alone:  # one output's formula may read another output
            sources |= zip((formula.name for formula in formulas), paths, strict=True)
        for formula, path, value in zip(formulas, paths, values, strict=True):
            self.record(path, op.name, formula, sources, params, value)
        return values[0] if alone else tuple(values)

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
        self._known[id(value)] = ref(value), path
        if self.live is not None:
            self.live[path] = value if self.trace.keeps(path) else value.grad_fn
        self.trace.add(
            Step(
                path,
                op,
                formula,
                {o: sources[o] for o in formula.operands},
                {p: params[p] for p in formula.params},
                formula.axes,
                value.shape,
                value.dtype,
                value.detach() if value.requires_grad else value,
                path in self.edits,
            )
        )

    def _path(self, tensor: Tensor, op: Op, operand: str) -> str:
        known = self._known.get(id(tensor))
        if known is not None and known[0]() is tensor:
            return known[1]
        path = self._views.get(_view_key(tensor))
        if path is None:
            raise RuntimeError(
                f"operand {operand!r} of op {op.name!r} is the value of no step, weight or"
                " constant; compute it on the tape or register it with leaf()"
            )
        return path


@cache
def _formulas(op: Op, given: tuple[str, ...]) -> tuple[Formula, ...]:
    """The op's formulas for the operands that are there."""
    return tuple(formula.without(frozenset(op.operands) - {*given}) for formula in op.outputs)


def _view_key(tensor: Tensor) -> tuple[Any, ...]:
    storage = tensor.untyped_storage()._cdata
    return storage, tensor.storage_offset(), tensor.shape, tensor.stride(), tensor.dtype
