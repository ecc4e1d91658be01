"""A decoding step as one C function, written from the formulas that the model's tape hands on.

Between the kernels of a flat plan Python takes as long as a small model's arithmetic. So the
model is walked once in elementary ops, as when it is recorded: each op's formula becomes loops,
each value a place in a scratch buffer, each weight a pointer. Layers share their functions, and
models of one shape share the compiled file, for weights are no part of it.
"""

from __future__ import annotations

import ctypes
from collections.abc import Mapping, Sequence
from math import prod
from typing import Any

import torch
from torch import Tensor

from glassformer.errors import GlassformerError
from glassformer.formula.tree import Formula
from glassformer.generation.c_step.expressions import preamble
from glassformer.generation.c_step.layout import NONE, ONE, Extent, Layout, dense, lengths
from glassformer.generation.c_step.library import NotCompiledError, c_library
from glassformer.generation.c_step.loops import c_function
from glassformer.generation.c_step.program import Buffer, Call, Copy, Program
from glassformer.generation.c_step.row_products import rows_function
from glassformer.generation.cache import Cache
from glassformer.generation.capture import not_on_the_tape
from glassformer.model.decoder import Decoder
from glassformer.model.evaluating import evaluating
from glassformer.ops.op import AnyOp, Composite

REALS = {torch.float32: "float", torch.float64: "double"}


class CompiledStep:
    """One new token for a single text, on one thread; `on(cache)` gives a text its plan.

    Raises GlassformerError for weights that are not on the CPU in float32 or float64, and
    NotCompiledError without a C compiler, or where an op's formula has no loops.
    """

    def __init__(self, model: Decoder) -> None:
        capture = Capture(model)
        self.source = capture.source([*capture.program.step()])
        self.dtype, self.vocab_size = capture.dtype, model.config.vocab_size
        self.scratch = capture.program.scratch
        self._constants = capture.constants  # held, so that their addresses stay theirs
        self.constants = addresses(capture.constants)
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
        self._buffers = step.constants, addresses(halves), self._scratch.data_ptr()

    def step(self, ids: Tensor) -> Tensor:
        """Read ids [1, 1] and advance the cache; return logits [1, 1, vocab]."""
        step, n = self._step, self._cache.end(1)
        logits = torch.empty(1, 1, step.vocab_size, dtype=step.dtype)
        step.run(*self._buffers, int(ids), n, logits.data_ptr())
        self._cache.advance(1)
        return logits


def addresses(tensors: Sequence[Tensor]) -> ctypes.Array[ctypes.c_void_p]:
    return (ctypes.c_void_p * len(tensors))(*(tensor.data_ptr() for tensor in tensors))


class Capture:
    """The tape and the cache that the model is walked with, and what they capture."""

    length = 1  # of the text before the step; any would do

    def __init__(self, model: Decoder) -> None:
        kinds = {(parameter.device.type, parameter.dtype) for parameter in model.parameters()}
        if kinds not in [{("cpu", dtype)} for dtype in REALS]:
            result = ", ".join(sorted(f"{dtype} on {device}" for device, dtype in kinds))
            raise GlassformerError(
                "a step is compiled for weights on the CPU, all in float32 or all in float64, and"
                f" these are {result}; compile model.cpu().float()"
            )
        self.dtype = model.embed.W_E.dtype
        self._calls: list[Call | Copy] = []
        self.constants: list[Tensor] = []
        self._n_ctx = model.config.n_ctx
        self._functions: dict[str, str] = {}  # names by what stands behind them
        self._of_rows: dict[str, str] = {}  # the same, of functions for several rows
        self._buffers: dict[int, Buffer] = {}
        self._values: list[Tensor] = []  # all of them, so that no id comes up twice
        owned = (*model.parameters(), *model.buffers())
        self._owned = {tensor.untyped_storage()._cdata for tensor in owned}
        ids, self._position = torch.tensor([[0]]), torch.tensor([self.length])
        self._know(ids, Buffer(Layout((ONE, ONE), (NONE, NONE), integer=True), "&token"))
        self._know(self._position, Buffer(Layout((ONE,), (NONE,), integer=True), "&position"))
        with evaluating(model), torch.inference_mode():
            logits = model(ids, self, self)
        self._copy(logits, "logits")
        self.program = Program(self._calls)

    def _know(self, value: Tensor, buffer: Buffer) -> None:
        self._buffers[id(value)] = buffer
        self._values.append(value)

    def _buffer(self, value: Tensor) -> Buffer:
        if id(value) not in self._buffers:
            if not self._is_weight(value):
                raise not_on_the_tape(value)
            layout = Layout(_fixed(value.shape), _fixed(value.stride()))
            self._know(value, Buffer(layout, f"constants[{len(self.constants)}]"))
            self.constants.append(value.detach())  # its memory stays, wherever the model goes
        return self._buffers[id(value)]

    def _is_weight(self, value: Tensor) -> bool:
        """Whether it is a weight or a view of one."""
        return value.untyped_storage()._cdata in self._owned

    def _copy(self, value: Tensor, target: str) -> None:
        self._calls.append(Copy(self._buffer(value), target, value.numel()))

    # --- as the model's tape ---

    def at(self, _scope: str, /) -> Capture:
        return self

    def along(self, _axes: Mapping[str, str], /) -> Capture:
        return self

    def __call__(self, name: Any, op: AnyOp, /, *operands: Any, **params: Any) -> Any:
        if isinstance(op, Composite):
            return op.steps(self, name, *operands, **params)
        result = op.kernel(*operands, **params)
        values = result if isinstance(result, tuple) else (result,)
        if any(result is operand for operand in operands) or self._is_weight(values[0]):
            return result  # handed on unchanged, or a weight that was turned
        bound = op.bind(*operands, **params) if op.bind else operands
        buffers = {
            operand: self._buffer(value)
            for operand, value in zip(op.operands, bound, strict=False)
            if value is not None
        }
        absent = frozenset(op.operands) - buffers.keys()
        for formula, value in zip(op.outputs, values, strict=True):
            self._compute(formula.without(absent), buffers, params, value)
        return result

    def _compute(
        self,
        formula: Formula,
        buffers: Mapping[str, Buffer],
        params: Mapping[str, Any],
        value: Tensor,
    ) -> None:
        operands = sorted(formula.operands)
        if drawn := formula.operands - buffers.keys():  # outputs of the same op
            raise NotCompiledError(f"{', '.join(drawn)} is no operand: {formula}")
        layouts = {operand: buffers[operand].layout for operand in operands}
        known = lengths(formula, layouts)
        axes = zip(formula.axes, _fixed(value.shape), strict=True)
        shape = tuple(known.get(axis, length) for axis, length in axes)
        numbers = {name: params[name] for name in formula.params}
        try:
            code = c_function("{}", formula, layouts, shape, numbers)
        except ValueError as error:
            raise NotCompiledError(str(error)) from error
        matrices = frozenset(o for o in operands if buffers[o].is_constant)
        of_rows = rows_function("{}", formula, layouts, shape, numbers, matrices)
        size = prod(length.times * (self._n_ctx if length.symbolic else 1) for length in shape)
        buffer = Buffer(dense(shape), size=size)
        self._know(value, buffer)
        self._calls.append(
            Call(
                _named(self._functions, code, formula.name),
                buffer,
                [buffers[operand] for operand in operands],
                None if of_rows is None else _named(self._of_rows, of_rows, f"{formula.name}_rows"),
            )
        )

    # --- as its cache ---

    def extend(self, layer: int, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        return self._extended(2 * layer, k), self._extended(2 * layer + 1, v)

    def _extended(self, half: int, new: Tensor) -> Tensor:
        kept = f"(real *)cache[{half}]"
        self._copy(new, f"{kept} + (n - 1) * {new.numel()}")
        batch, _, *vector = self._buffer(new).layout.shape
        layout = dense((batch, Extent(1, symbolic=True), *vector))
        longer = new.expand(1, self.length + 1, -1, -1).clone()
        self._know(longer, Buffer(layout, kept))
        return longer

    def advance(self, n: int) -> None:
        pass

    def positions(self, _n: int, _device: torch.device) -> Tensor:
        return self._position

    def mask(self, _n: int) -> None:
        return None

    # --- the file ---

    def source(self, last: list[str], rows: bool = False) -> str:
        """The file that ends in these lines, with the functions for several rows if asked for."""
        named = [*self._functions.items(), *(self._of_rows.items() if rows else ())]
        functions = (code.replace("{}", name, 1) for code, name in named)
        row = f"#define ROW {self.program.scratch}"
        return "\n".join((preamble(REALS[self.dtype]), row, *functions, *last))


def _named(names: dict[str, str], code: str, name: str) -> str:
    """The name of the function with this code, the same for all that have it."""
    return names.setdefault(code, f"{name}_{len(names)}")


def _fixed(lengths: Sequence[int]) -> tuple[Extent, ...]:
    return tuple(map(Extent, lengths))
