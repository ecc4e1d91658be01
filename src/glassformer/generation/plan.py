"""A decoding step as a flat list of kernel calls: the model is walked once, then the list runs.

Everything a model computes passes through its tape or its cache. So a tape and a cache that capture
which kernel was called with what have the whole step, for any configuration, and the steps
that follow run without modules, scopes and names, which cost as much as a small model's arithmetic.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor

from glassformer.generation.cache import Cache
from glassformer.generation.capture import not_on_the_tape
from glassformer.generation.packed import Kernel, PackedModel
from glassformer.ops.op import AnyOp

Call = tuple[Callable[..., Any], tuple[int, ...], tuple[int, ...]]
"""A kernel, the slots of its operands, and the slots that its results go to."""


class ExecutionPlan:
    """One new token for every row of a cache; `step` gives the scores of what may follow it."""

    def __init__(self, packed: PackedModel, cache: Cache) -> None:
        self._packed = packed
        self._cache = cache
        self._calls: list[Call] = []
        self._values: list[Any] = []  # inputs, constants and what the calls return
        self._result = 0  # the slot of the logits

    def step(self, ids: Tensor) -> Tensor:
        """Read ids [batch, 1] and advance the cache; return logits [batch, 1, vocab]."""
        if not self._calls:
            return self._capture(ids)
        cache, values = self._cache, self._values
        values[:3] = ids, cache.positions(1, ids.device), cache.mask(1)
        for kernel, operands, results in self._calls:
            result = kernel(*[values[slot] for slot in operands])
            if len(results) == 1:
                values[results[0]] = result
            else:
                for slot, part in zip(results, result, strict=True):
                    values[slot] = part
        cache.advance(1)
        logits: Tensor = values[self._result]
        return logits

    def _capture(self, ids: Tensor) -> Tensor:
        model = self._packed.model
        capture = _Capture(self._cache, [*model.parameters(), *model.buffers()])
        capture.inputs = (ids, self._cache.positions(1, ids.device), self._cache.mask(1))
        for value in capture.inputs:
            capture.name(value)
        logits: Tensor = model(ids, _CapturingTape(capture, self._packed.kernels), capture)
        self._result = capture.slot(logits)
        self._calls = _needed(capture.calls, self._result)
        constant = capture.constant
        self._values = [v if i in constant else None for i, v in enumerate(capture.values)]
        return logits


class _Capture:
    """The cache that the model sees while its calls are taken down."""

    def __init__(self, cache: Cache, constants: Iterable[Tensor]) -> None:
        self.length = cache.length
        self.inputs: tuple[Tensor, Tensor, Tensor | None]
        self.calls: list[Call] = []
        self.values: list[Any] = []  # all of them, so that no id comes up twice
        self.constant: set[int] = set()  # slots
        self._cache = cache
        self._known = {id(constant) for constant in constants}
        self._slots: dict[int, int] = {}

    def name(self, value: Any) -> int:
        """A slot for a value that comes up for the first time."""
        self.values.append(value)
        self._slots[id(value)] = len(self.values) - 1
        return len(self.values) - 1

    def slot(self, value: Any) -> int:
        if id(value) in self._slots:
            return self._slots[id(value)]
        if isinstance(value, Tensor) and id(value) not in self._known:
            raise not_on_the_tape(value)
        slot = self.name(value)
        self.constant.add(slot)
        return slot

    def call(self, kernel: Callable[..., Any], operands: Iterable[Any]) -> Any:
        operands = tuple(operands)
        result = kernel(*operands)
        parts = result if isinstance(result, tuple) else (result,)
        if any(part is operand for part in parts for operand in operands):
            return result  # handed on unchanged
        slots = tuple(self.slot(operand) for operand in operands)
        self.calls.append((kernel, slots, tuple(self.name(part) for part in parts)))
        return result

    def extend(self, layer: int, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        extended: tuple[Tensor, Tensor] = self.call(partial(self._cache.extend, layer), (k, v))
        return extended

    def advance(self, n: int) -> None:
        self._cache.advance(n)

    def positions(self, _n: int, _device: torch.device) -> Tensor:
        return self.inputs[1]

    def mask(self, _n: int) -> Tensor | None:
        return self.inputs[2]


class _CapturingTape:
    """Computes, and takes down every call."""

    def __init__(self, capture: _Capture, kernels: dict[str, Kernel], scope: str = "") -> None:
        self._capture, self._kernels, self._scope = capture, kernels, scope

    def at(self, scope: str, /) -> _CapturingTape:
        return _CapturingTape(self._capture, self._kernels, f"{self._scope}{scope}.")

    def along(self, _axes: Mapping[str, str], /) -> _CapturingTape:
        return self

    def __call__(self, name: Any, op: AnyOp, /, *operands: Any, **params: Any) -> Any:
        first = name if isinstance(name, str) else name[0]
        packed = self._kernels.get(f"{self._scope}{first}")
        if packed is not None:
            return self._capture.call(packed, operands[:1])
        return self._capture.call(partial(op.kernel, **params) if params else op.kernel, operands)


def _needed(calls: list[Call], result: int) -> list[Call]:
    """The calls that the result follows from: a tied unembedding need not be turned every time."""
    live, needed = {result}, []
    for kernel, operands, results in reversed(calls):
        if live.intersection(results):
            live.update(operands)
            needed.append((kernel, operands, results))
    return needed[::-1]
