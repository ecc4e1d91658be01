"""A decoding step as one C function, written from the formulas that the model's tape hands on.

Between the kernels of a flat plan Python takes as long as a small model's arithmetic. So the
model is walked once in elementary ops, as when it is recorded: each op's formula becomes loops,
each value a place in a scratch buffer, each weight a pointer. Layers share their functions, and
models of one shape share the compiled file, for weights are no part of it.
"""

from __future__ import annotations

import ctypes
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import torch
from torch import Tensor

from glassformer.errors import GlassformerError
from glassformer.formula.tree import Formula
from glassformer.generation.c_step.expressions import preamble
from glassformer.generation.c_step.library import NotCompiledError, c_library
from glassformer.generation.c_step.loops import (
    NONE,
    ONE,
    Extent,
    Layout,
    c_function,
    dense,
    lengths,
)
from glassformer.generation.cache import Cache
from glassformer.generation.capture import not_on_the_tape
from glassformer.model.decoder import Decoder
from glassformer.model.evaluating import evaluating
from glassformer.ops.op import Composite, Op

REALS = {torch.float32: "float", torch.float64: "double"}

LINE = 16
"""Values begin at multiples of so many numbers, a cache line of floats."""


class CompiledStep:
    """One new token for a single text, on one thread; `on(cache)` gives a text its plan.

    Raises GlassformerError for weights that are not on the CPU in float32 or float64, and
    NotCompiledError without a C compiler, or where an op's formula has no loops.
    """

    def __init__(self, model: Decoder) -> None:
        kinds = {(parameter.device.type, parameter.dtype) for parameter in model.parameters()}
        if kinds not in [{("cpu", dtype)} for dtype in REALS]:
            result = ", ".join(sorted(f"{dtype} on {device}" for device, dtype in kinds))
            raise GlassformerError(
                "a step is compiled for weights on the CPU, all in float32 or all in float64, and"
                f" these are {result}; compile model.cpu().float()"
            )
        capture = _Capture(model)
        self.source = capture.source()
        self.dtype, self.vocab_size = capture.dtype, model.config.vocab_size
        self.scratch = capture.scratch
        self._constants = capture.constants  # held, so that their addresses stay theirs
        self.constants = _addresses(capture.constants)
        self.run = c_library(self.source).step
        self.run.argtypes = [ctypes.c_void_p] * 3 + [ctypes.c_int64] * 2 + [ctypes.c_void_p]
        self.run.restype = None

    def on(self, cache: Cache) -> CompiledPlan:
        """The steps of the text whose keys and values are in this cache."""
        return CompiledPlan(self, cache)


class CompiledPlan:
    """What `ExecutionPlan` is, by a compiled step."""

    def __init__(self, step: CompiledStep, cache: Cache) -> None:
        self._step, self._cache = step, cache
        self._scratch = torch.empty(step.scratch, dtype=step.dtype)
        halves = [half for layer in zip(cache.keys, cache.values, strict=True) for half in layer]
        self._places = step.constants, _addresses(halves), self._scratch.data_ptr()

    def step(self, ids: Tensor) -> Tensor:
        """Read ids [1, 1] and advance the cache; return logits [1, 1, vocab]."""
        step, n = self._step, self._cache.end(1)
        logits = torch.empty(1, 1, step.vocab_size, dtype=step.dtype)
        step.run(*self._places, int(ids), n, logits.data_ptr())
        self._cache.advance(1)
        return logits


def _addresses(tensors: Sequence[Tensor]) -> ctypes.Array[ctypes.c_void_p]:
    return (ctypes.c_void_p * len(tensors))(*(tensor.data_ptr() for tensor in tensors))


@dataclass
class _Place:
    """Where a value stands while the step runs: its address in C, and its layout."""

    address: str
    layout: Layout


class _Capture:
    """The tape and the cache that the model is walked with, and what they capture."""

    length = 1  # of the text before the step; any would do

    def __init__(self, model: Decoder) -> None:
        self.dtype = model.embed.W_E.dtype
        self.scratch = 0  # numbers
        self.constants: list[Tensor] = []
        self._n_ctx = model.config.n_ctx
        self._functions: dict[str, str] = {}  # names by what stands behind them
        self._calls: list[str] = []
        self._places: dict[int, _Place] = {}
        self._values: list[Tensor] = []  # all of them, so that no id comes up twice
        owned = (*model.parameters(), *model.buffers())
        self._owned = {tensor.untyped_storage()._cdata for tensor in owned}
        ids, self._position = torch.tensor([[0]]), torch.tensor([self.length])
        self._know(ids, _Place("&token", Layout((ONE, ONE), (NONE, NONE), integer=True)))
        self._know(self._position, _Place("&position", Layout((ONE,), (NONE,), integer=True)))
        with evaluating(model), torch.inference_mode():
            logits = model(ids, self, self)
        self._copy(logits, "logits")

    def _know(self, value: Tensor, place: _Place) -> None:
        self._places[id(value)] = place
        self._values.append(value)

    def _place(self, value: Tensor) -> _Place:
        if id(value) not in self._places:
            if not self._is_weight(value):
                raise not_on_the_tape(value)
            layout = Layout(_fixed(value.shape), _fixed(value.stride()))
            self._know(value, _Place(f"constants[{len(self.constants)}]", layout))
            self.constants.append(value.detach())  # its memory stays, wherever the model goes
        return self._places[id(value)]

    def _is_weight(self, value: Tensor) -> bool:
        """Whether it is a weight or a view of one."""
        return value.untyped_storage()._cdata in self._owned

    def _copy(self, value: Tensor, target: str) -> None:
        source, size = self._place(value).address, f"{value.numel()} * sizeof(real)"
        self._calls.append(f"memcpy({target}, {source}, {size});")

    # --- as the model's tape ---

    def at(self, _scope: str, /) -> _Capture:
        return self

    def __call__(self, name: Any, op: Op | Composite, /, *operands: Any, **params: Any) -> Any:
        if isinstance(op, Composite):
            return op.steps(self, name, *operands, **params)
        result = op.kernel(*operands, **params)
        values = result if isinstance(result, tuple) else (result,)
        if any(result is operand for operand in operands) or self._is_weight(values[0]):
            return result  # handed on unchanged, or a weight that was turned
        bound = op.bind(*operands, **params) if op.bind else operands
        places = {
            operand: self._place(value)
            for operand, value in zip(op.operands, bound, strict=False)
            if value is not None
        }
        absent = frozenset(op.operands) - places.keys()
        for formula, value in zip(op.outputs, values, strict=True):
            self._compute(formula.without(absent), places, params, value)
        return result

    def _compute(
        self,
        formula: Formula,
        places: Mapping[str, _Place],
        params: Mapping[str, Any],
        value: Tensor,
    ) -> None:
        operands = sorted(formula.operands)
        if drawn := formula.operands - places.keys():  # outputs of the same op
            raise NotCompiledError(f"{', '.join(drawn)} is no operand: {formula}")
        layouts = {operand: places[operand].layout for operand in operands}
        known = lengths(formula, layouts)
        axes = zip(formula.axes, _fixed(value.shape), strict=True)
        shape = tuple(known.get(axis, length) for axis, length in axes)
        numbers = {name: params[name] for name in formula.params}
        try:
            code = c_function("{}", formula, layouts, shape, numbers)
        except ValueError as error:
            raise NotCompiledError(str(error)) from error
        function = self._functions.setdefault(code, f"{formula.name}_{len(self._functions)}")
        place = _Place(f"scratch + {self.scratch}", dense(shape))
        size = prod(length.times * (self._n_ctx if length.symbolic else 1) for length in shape)
        self.scratch += -(-size // LINE) * LINE
        self._know(value, place)
        arguments = ", ".join(places[operand].address for operand in operands)
        self._calls.append(f"{function}({place.address}, {arguments}, n);")

    # --- as its cache ---

    def extend(self, layer: int, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        return self._extended(2 * layer, k), self._extended(2 * layer + 1, v)

    def _extended(self, half: int, new: Tensor) -> Tensor:
        kept = f"(real *)cache[{half}]"
        self._copy(new, f"{kept} + (n - 1) * {new.numel()}")
        batch, _, *vector = self._place(new).layout.shape
        layout = dense((batch, Extent(1, symbolic=True), *vector))
        longer = new.expand(1, self.length + 1, -1, -1).clone()
        self._know(longer, _Place(kept, layout))
        return longer

    def advance(self, n: int) -> None:
        pass

    def positions(self, _n: int, _device: torch.device) -> Tensor:
        return self._position

    def mask(self, _n: int) -> None:
        return None

    # --- the file ---

    def source(self) -> str:
        functions = (code.replace("{}", name, 1) for code, name in self._functions.items())
        lines = (
            "void step(const real *const *constants, void *const *cache, real *scratch,",
            "          int64_t token, int64_t n, real *logits) {",
            "  int64_t position = n - 1;",
            *(f"  {call}" for call in self._calls),
            "}\n",
        )
        return "\n".join((preamble(REALS[self.dtype]), *functions, *lines))


def _fixed(lengths: Sequence[int]) -> tuple[Extent, ...]:
    return tuple(map(Extent, lengths))
