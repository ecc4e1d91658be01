"""The tape a model writes on: SILENT computes, a Recorder also keeps every node.

The tape is passed, never ambient: context variables and module hooks break under `torch.compile`,
or capture nothing without saying so. Watch eagerly, compile silently.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from itertools import pairwise
from typing import Any, cast

from torch import Tensor
from torch.autograd import graph

from glassformer.formula.template import over
from glassformer.formula.tree import Formula
from glassformer.ops import edit
from glassformer.ops.op import AnyOp, Composite, Name, Op, P, R, Role, Tape
from glassformer.trace.graph import Graph
from glassformer.trace.node import UNEDITED, Node
from glassformer.trace.provenance import AxisNames, Provenance, renamed

Editor = Callable[[Tensor, tuple[str, ...]], tuple[Tensor, Tensor]]
"""Given a value and its axes: where it is edited (1, elsewhere 0), and what it is there."""


def _silent(_name: Any, op: AnyOp, /, *operands: Any, **params: Any) -> Any:
    return op.kernel(*operands, **params) if params else op.kernel(*operands)


_silent.at = lambda _scope: _silent  # pyright: ignore[reportFunctionMemberAccess]
_silent.along = lambda _axes: _silent  # pyright: ignore[reportFunctionMemberAccess]
SILENT = cast("Tape", _silent)
"""Calls each op's fast kernel and keeps nothing.

A function with a function on it: calling an object's ``__call__`` takes half as long again.
"""


class Recorder:
    """Runs a composite's sub-steps in place of its kernel and records a Node for every value.

    `edits` maps the path of a value to what changes it: the value is recorded twice then, as it was
    computed and as it was edited. `live`, where it is given, collects what a backward pass starts
    from: the values that are kept as they are, of others their autograd node.
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
        self._axes: AxisNames = ()
        self._origins = Provenance(trace.nodes.values())

    def at(self, scope: str, /) -> Recorder:
        return self._but(_prefix=f"{self._prefix}{scope}.")

    def along(self, axes: Mapping[str, str], /) -> Recorder:
        return self._but(_axes=tuple({**dict(self._axes), **axes}.items()))

    def _but(self, **changes: Any) -> Recorder:
        inner = Recorder.__new__(Recorder)
        inner.__dict__ = {**self.__dict__, **changes}  # the rest shared
        return inner

    def leaf(self, kind: str, name: str, value: Tensor, axes: tuple[str, ...]) -> None:
        """Register a weight, token ids or a constant, named in this scope, as an operand."""
        name, axes = self._prefix.partition("/")[2] + name, renamed(axes, self._axes)
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
        computed = self._computed(name) if self.edits else name
        if self.live is not None:
            self._enliven(computed, result)
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
        call = (computed, op, operands, params, result)
        self._add(nbytes, origins.nodes, self._prefix, self._axes, *call)
        return self._edited(name, op, result) if computed != name else result

    def record(
        self,
        path: str,
        op: str,
        formula: Formula,
        sources: Mapping[str, str],
        params: Mapping[str, Any],
        value: Tensor,
        role: Role = "value",
    ) -> None:
        """Record one computed value; `sources` are the paths of the formula's operands."""
        self._origins.seen.add(id(value))
        self.trace.add(self._origins.node(path, op, formula, sources, params, value, role))

    def _add(self, nbytes: int, nodes: Callable[..., Iterator[Node]], *what: Any) -> None:
        if self._can_wait:
            self.trace.defer(nbytes, nodes, *what)
            return
        for node in nodes(*what):
            self.trace.add(node)

    def _enliven(self, name: Name, result: Any) -> None:
        """Let the gradients of these values be asked for."""
        assert self.live is not None, "only a pass with gradients is live"
        for short, value in _named(name, result):
            path = f"{self._prefix}{short}"
            self.live[path] = value if self.trace.keeps(path) else value.grad_fn

    def _computed(self, name: Name) -> Name:
        """What is recorded as it was computed: every name that is edited gives way to another."""
        names = [
            self._versions(short)[-1] for short in ((name,) if isinstance(name, str) else name)
        ]
        return names[0] if isinstance(name, str) else tuple(names)

    def _versions(self, name: str) -> list[str]:
        """A value's name, and what is under it before each edit, the computed one last."""
        names = [name]
        while f"{self._prefix}{names[-1]}" in self.edits:
            names.append(names[-1] + UNEDITED)
        return names

    def _edited(self, name: Name, op: Op[..., Any], result: Any) -> Any:
        """The result with its edits, each recorded."""
        settled = []
        for (short, value), formula in zip(_named(name, result), op.outputs, strict=True):
            versions = self._versions(short)
            for before, after in pairwise(reversed(versions)):
                axes = renamed(formula.axes, self._axes)
                value = self._edit(before, after, axes, op.role, value)
            settled.append(value)
        return settled[0] if isinstance(name, str) else tuple(settled)

    def _edit(
        self, before: str, after: str, axes: tuple[str, ...], role: Role, computed: Tensor
    ) -> Tensor:
        path = f"{self._prefix}{after}"
        sources = {"computed": f"{self._prefix}{before}"}
        operands = self.edits[path](computed, axes)
        for operand, value in zip(("edited", "new"), operands, strict=True):
            self.leaf("const", f"{after}_{operand}", value, axes)
            sources[operand] = f"const/{path.partition('/')[2]}_{operand}"
        value = edit.kernel(*operands, computed)
        if self.live is not None:
            self._enliven(after, value)
        self.record(path, edit.name, over(edit.outputs[0], axes), sources, {}, value, role)
        return value


def _named(name: Name, result: Any) -> Iterator[tuple[str, Tensor]]:
    """Each name with its value."""
    return zip(*((name,), (result,)) if isinstance(name, str) else (name, result), strict=True)
