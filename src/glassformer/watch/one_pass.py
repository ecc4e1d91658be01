"""A watched pass: every value recorded, and on request every gradient and every edit."""

from __future__ import annotations

from collections.abc import Iterable
from copy import deepcopy
from dataclasses import replace
from functools import cached_property, partial
from threading import Lock
from typing import Any

import torch
from torch import Tensor
from torch.autograd import graph

from glassformer import ops
from glassformer.errors import GlassformerError
from glassformer.trace import SILENT, Address, Recorder, Trace
from glassformer.trace.backward import add_gradients
from glassformer.trace.cancel import CancelCheck, never_cancelled
from glassformer.trace.graph import OverBudgetError
from glassformer.watch.edits import NOTHING, Edits, by_path, editor, with_weights
from glassformer.watch.view import learned
from glassformer.watch.watchable import NO_EXTRA_INPUTS, ExtraInputs, Watchable

BUDGET_BYTES = 4 << 30
"""Values that a trace holds at most, unless its caller allows more."""

Live = dict[str, Tensor | graph.Node | None]
"""What the gradients are asked for, by path; see `Recorder`."""


def watch(
    model: Watchable,
    ids: Tensor,
    targets: Tensor | None,
    keep: str | Iterable[str],
    backward: bool = False,
    edit: Edits = NOTHING,
    budget_bytes: int | None = None,
    is_cancelled: CancelCheck = never_cancelled,
    extra: ExtraInputs = NO_EXTRA_INPUTS,
) -> Trace:
    """Run once, eagerly, and record every value on the way under its name.

    `ids` and `targets` [batch, pos] were checked; with targets the trace ends in the loss, and
    `backward` records every gradient. `edit` changes values or weights by address before whatever
    follows. A trace of more than `budget_bytes` is refused with its size. `extra` is what the model
    reads beside ids.
    """
    try:
        trace = Trace(keep, budget_bytes, is_cancelled)
        return _watch(model, ids, targets, trace, backward, edit, extra)
    except OverBudgetError:
        size = estimated_bytes(model, ids, targets, keep, backward, extra)
        raise OverBudgetError(
            f"this trace would hold {_gigabytes(size)} of values, more than its budget of"
            f" {_gigabytes(budget_bytes or 0)}; keep fewer (say keep='*.resid_post'),"
            " shorten the text or allow more with budget_bytes"
        ) from None


def estimated_bytes(
    model: Watchable,
    ids: Tensor,
    targets: Tensor | None = None,
    keep: str | Iterable[str] = "*",
    backward: bool = False,
    extra: ExtraInputs = NO_EXTRA_INPUTS,
) -> int:
    """Bytes that a trace would hold, from shapes alone: the pass on the meta device."""
    targets = None if targets is None else targets.to("meta")
    extra = {name: tensor.to("meta") for name, tensor in extra.items()}
    trace = Trace(keep)
    return _watch(model.on_meta(), ids.to("meta"), targets, trace, backward, NOTHING, extra).nbytes


def _gigabytes(n: int) -> str:
    return f"{n / 1e9:.3g} GB"


def _watch(
    model: Watchable,
    ids: Tensor,
    targets: Tensor | None,
    trace: Trace,
    backward: bool,
    edit: Edits,
    extra: ExtraInputs,
) -> Trace:
    if backward and targets is None:
        raise GlassformerError("a backward pass starts at the loss; give targets as well")
    changes = by_path(edit)
    weights = {path: change for path, change in changes.items() if path.startswith("weight/")}
    if weights:
        model = with_weights(model, weights)
    live: Live | None = {} if backward else None
    values = {path: change for path, change in changes.items() if path.startswith("fwd/")}
    edits = {path: editor(new) for path, new in values.items()}
    tape = Recorder(trace, edits=edits, live=live)
    for view in model.views():
        tape.leaf("weight", view.name, view.value, view.axes)
    tape.leaf("token", "ids", ids, ("batch", "pos"))
    loss: Tensor | None = None
    with torch.enable_grad() if backward else torch.no_grad():
        if targets is None:
            tape("probs", ops.softmax_probs, model.logits_of(ids, tape, extra))
        else:
            tape.leaf("token", "targets", targets, ("batch", "pos"))
            loss = model.loss_of(ids, targets, tape, extra)
    for path in values:
        trace.node(path)  # an edit of a name that does not exist is answered with the nearest
    if not values and not model.draws():
        trace.silent_logits = partial(model.logits_of, ids, SILENT, extra)
    if live is not None and loss is not None:
        _backward(model, trace, live, loss)
        trace.rerun = Float64Rerun(model, ids, targets, _as_numbers(edit, trace), extra)
    return trace


class Float64Rerun:
    """A watched pass again, on a float64 copy of the model made when it is first needed.

    Threads take turns: a weight is nudged in the copy itself.
    """

    def __init__(
        self,
        model: Watchable,
        ids: Tensor,
        targets: Tensor | None,
        edit: Edits,
        extra: ExtraInputs = NO_EXTRA_INPUTS,
    ) -> None:
        self._model, self._ids, self._targets, self._extra = model, ids, targets, extra
        self._edit = {text: new for text, new in edit.items() if not _is_weight(text)}
        self._turn = Lock()

    def __getstate__(self) -> dict[str, Any]:
        """All but the lock and the wide copy, which is made anew where it is needed."""
        mine = self.__dict__.items()
        return {name: part for name, part in mine if name not in ("_turn", "_copy")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._turn = Lock()

    @property
    def held(self) -> list[Tensor]:
        """The weights of the copy, if it was made."""
        copy = self.__dict__.get("_copy")
        return [] if copy is None else [*copy.parameters()]

    @cached_property
    def _copy(self) -> Watchable:
        if self._model.draws():
            raise GlassformerError("dropout draws anew in every pass; watch in model.eval() mode")
        return deepcopy(self._model).double()

    def value(self, where: Address) -> float:
        with self._turn:
            if where.kind == "weight":
                return self._weight(where).item()
            return self._watch(where.name, self._edit)[where].item()

    def loss(self, where: Address, value: float) -> float:
        with self._turn:
            if where.kind != "weight":
                return self._run({**self._edit, str(where): value})
            weight = self._weight(where)
            before = weight.clone()
            weight.fill_(value)
            try:
                return self._run(self._edit)
            finally:
                weight.copy_(before)

    def _run(self, edit: Edits) -> float:
        return self._watch("loss", edit)["loss"].item()

    def _watch(self, keep: str, edit: Edits) -> Trace:
        return watch(self._copy, self._ids, self._targets, keep, edit=edit, extra=self._extra)

    def _weight(self, where: Address) -> Tensor:
        view = next(view for view in self._copy.views() if view.name == where.name)
        return view.value.detach()[where.slices(view.axes, tuple(view.value.shape))]


def _as_numbers(edit: Edits, trace: Trace) -> Edits:
    """The edits with what functions made of values as the numbers that they were in this pass."""
    return {
        text: _put_at(trace, Address.parse(text)) if callable(new) else new
        for text, new in edit.items()
    }


def _put_at(trace: Trace, where: Address) -> Tensor:
    if where.kind == "weight":
        return trace[where]
    return trace[replace(where, kind="const", name=f"{where.name}_new")]


def _is_weight(text: str) -> bool:
    return Address.parse(text).kind == "weight"


def _backward(model: Watchable, trace: Trace, live: Live, loss: Tensor) -> None:
    """Record every gradient, from the loss backwards and then the weights."""
    reached = _reached(loss)
    kept = {p: v for p, v in live.items() if isinstance(v, Tensor) and v.requires_grad}
    inputs = {id(value): value for value in kept.values()}
    parameters = learned(model)
    inputs.update((id(parameter), parameter) for parameter in parameters.values())
    result = torch.autograd.grad(loss, list(inputs.values()), allow_unused=True)
    by_id = {i: g for i, g in zip(inputs, result, strict=True) if g is not None}
    gradients: dict[str, Tensor | None] = {}
    for path, value in reversed(live.items()):
        if value in reached if isinstance(value, graph.Node) else id(value) in by_id:
            gradients[path] = by_id.get(id(value))
    stored = {
        name: by_id[id(parameter)] if id(parameter) in by_id else torch.zeros_like(parameter)
        for name, parameter in parameters.items()
    }
    by_parameter = {id(p): stored[name] for name, p in parameters.items()}
    storages = {gradient.untyped_storage()._cdata for gradient in stored.values()}
    for view in model.views(lambda parameter: by_parameter.get(id(parameter), parameter)):
        if view.value.untyped_storage()._cdata in storages:  # else it is a frozen parameter
            gradients[f"weight/{view.name}"] = view.value
    add_gradients(trace, gradients)
    trace.parameter_gradients = stored


def _reached(loss: Tensor) -> set[graph.Node]:
    """The autograd nodes that a backward pass from the loss comes to."""
    reached: set[graph.Node] = set()
    pending = [loss.grad_fn]
    while pending:
        node = pending.pop()
        if node is not None and node not in reached:
            reached.add(node)
            pending += [before for before, _ in node.next_functions]
    return reached
