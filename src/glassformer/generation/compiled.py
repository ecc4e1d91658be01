"""A decoding step as one C function, written out from the formulas that the model's tape passes on.

Between the kernels of a flat program Python takes as long as a small model's arithmetic. So the
step is walked once in elementary ops, as when it is recorded; each op's formula becomes loops, each
value a place in a scratch buffer, each weight a pointer. Layers share their functions, and models
of the same shape share the compiled file: weights are no part of it.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import platform
import shlex
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from glassformer.errors import GlassformerError
from glassformer.files import cache_folder
from glassformer.generation.cache import Cache
from glassformer.model.transformer import Transformer
from glassformer.ops.formula import Formula
from glassformer.ops.loops import (
    INTEGER,
    NONE,
    ONE,
    PRELUDE,
    REAL,
    Extent,
    Layout,
    dense,
    growing_axes,
    loops,
    signature,
)
from glassformer.ops.op import Composite, Op

REALS = {torch.float32: ("float", "f"), torch.float64: ("double", "")}
"""The C type of a model's numbers, and how its functions' names end."""

FLAGS = ("-O3", "-march=native", "-std=gnu11", "-fopenmp-simd", "-fno-math-errno", "-fPIC")
FUNCTIONS = ("exp", "log", "sqrt", "tanh", "erf", "sin", "cos", "fabs", "pow")


class NotCompiledError(GlassformerError):
    """No C compiler, or one that failed."""


class CompiledStep:
    """One new token for a single text, by a function of its own; `on` gives a cache its program."""

    def __init__(self, model: Transformer) -> None:
        written = _Written(model)
        self._constants = written.constants  # held, so that their addresses stay
        self._addresses = _addresses(written.constants)
        self._scratch = written.scratch
        self._dtype = model.embed.W_E.dtype
        self._vocab = model.config.vocab_size
        self.source = written.source()
        self._function = _load(self.source)

    def on(self, cache: Cache) -> CompiledProgram:
        """The steps of the text in this cache."""
        return CompiledProgram(self, cache)


class CompiledProgram:
    """`CompiledStep` with a cache to read and to extend."""

    def __init__(self, step: CompiledStep, cache: Cache) -> None:
        self._step, self._cache = step, cache
        self._scratch = torch.empty(step._scratch, dtype=step._dtype)
        self._buffers = [half for layer in zip(cache.keys, cache.values) for half in layer]
        self._call = (step._addresses, _addresses(self._buffers), self._scratch.data_ptr())

    def step(self, ids: Tensor) -> Tensor:
        """Read ids [1, 1] and advance the cache; return logits [1, 1, vocab]."""
        cache, step = self._cache, self._step
        n = cache.end(1)
        logits = torch.empty(1, 1, step._vocab, dtype=step._dtype)
        step._function(*self._call, int(ids), n, logits.data_ptr())
        cache.advance(1)
        return logits


def _addresses(tensors: list[Tensor]) -> Any:
    return (ctypes.c_void_p * len(tensors))(*(tensor.data_ptr() for tensor in tensors))


class _Place:
    """Where a value stands while the step runs: C code for its address, and its layout."""

    def __init__(self, address: str, layout: Layout) -> None:
        self.address, self.layout = address, layout


class _Written:
    """The tape and the cache that a model is walked with, and what they take down."""

    length = 1  # tokens read before the step

    def __init__(self, model: Transformer) -> None:
        self.dtype = model.embed.W_E.dtype
        self.n_ctx = model.config.n_ctx
        self.constants: list[Tensor] = []
        self.scratch = 0  # numbers
        self._functions: dict[str, str] = {}  # by their code, their names
        self._calls: list[str] = []
        self._places: dict[int, _Place] = {}
        self._values: list[Any] = []  # all of them, so that no id comes up twice
        owned = [*model.parameters(), *model.buffers()]
        self._weights = {tensor.untyped_storage()._cdata for tensor in owned}
        self._ids, self._position = torch.tensor([[0]]), torch.tensor([self.length])
        self._know(self._ids, _Place("&token", _whole(2)))
        self._know(self._position, _Place("&position", _whole(1)))
        with torch.inference_mode():
            logits = model(self._ids, self, self)
        place = self._place(logits)
        self._calls.append(f"memcpy(logits, {place.address}, {logits.numel()} * sizeof(real));")

    def _know(self, value: Tensor, place: _Place) -> None:
        self._places[id(value)] = place
        self._values.append(value)

    def _place(self, value: Tensor) -> _Place:
        known = self._places.get(id(value))
        if known is not None:
            return known
        if value.untyped_storage()._cdata not in self._weights:
            raise RuntimeError(
                f"a value of shape {[*value.shape]} is no result of a call on the tape, no weight"
                " and no input; compute it on the tape"
            )
        layout = Layout(_static(value.shape), _static(value.stride()))
        self.constants.append(value)
        place = _Place(f"constants[{len(self.constants) - 1}]", layout)
        self._know(value, place)
        return place

    # --- the tape ---

    def at(self, _scope: str, /) -> _Written:
        return self

    def __call__(self, name: Any, op: Op | Composite, /, *operands: Any, **params: Any) -> Any:
        if isinstance(op, Composite):
            return op.steps(self, name, *operands, **params)
        result = op.kernel(*operands, **params)
        values = result if isinstance(result, tuple) else (result,)
        if any(values[0] is operand for operand in operands):
            return result  # handed on unchanged
        if values[0].untyped_storage()._cdata in self._weights:
            return result  # a weight, turned
        bound = op.bind(*operands, **params) if op.bind else operands
        given = {
            o: self._place(t) for o, t in zip(op.operands, bound, strict=False) if t is not None
        }
        absent = frozenset(op.operands) - given.keys()
        for declared, value in zip(op.outputs, values, strict=True):
            self._write(declared.without(absent), given, params, value)
        return result

    def _write(
        self, formula: Formula, given: Mapping[str, _Place], params: Any, value: Tensor
    ) -> None:
        layouts = {o: given[o].layout for o in formula.operands}
        lengths = growing_axes(formula, layouts)
        shape = tuple(
            lengths.get(axis, Extent(n)) for axis, n in zip(formula.axes, value.shape, strict=True)
        )
        numbers = {name: float(params[name]) for name in formula.params}
        code = loops(formula, layouts, shape, numbers)
        key = signature("NAME", formula, layouts) + "\n" + code
        name = self._functions.setdefault(key, f"f{len(self._functions)}")
        place = _Place(f"scratch + {self.scratch}", dense(shape))
        size = 1
        for extent in shape:
            size *= extent.times * (self.n_ctx if extent.grows else 1)
        self.scratch += -(-size // 16) * 16  # whole cache lines
        self._know(value, place)
        arguments = [place.address, *(given[o].address for o in sorted(formula.operands)), "n"]
        self._calls.append(f"{name}({', '.join(arguments)});")

    # --- the cache ---

    def extend(self, layer: int, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        return self._extended(2 * layer, k), self._extended(2 * layer + 1, v)

    def _extended(self, half: int, new: Tensor) -> Tensor:
        place, width = self._place(new), new[0, 0].numel()
        target = f"(real *)cache[{half}]"
        copied = f"{target} + (n - 1) * {width}, {place.address}, {width} * sizeof(real)"
        self._calls.append(f"memcpy({copied});")
        whole = new.expand(1, self.length + 1, -1, -1).clone()
        batch, _, *rest = place.layout.shape
        shape = (batch, Extent(1, grows=True), *rest)
        strides = (NONE, *dense((ONE, *rest)).strides)
        self._know(whole, _Place(target, Layout(shape, (NONE, Extent(width), *strides[2:]))))
        return whole

    def advance(self, n: int) -> None:
        pass

    def positions(self, _n: int, _device: torch.device) -> Tensor:
        return self._position

    def mask(self, _n: int) -> None:
        return None

    # --- the file ---

    def source(self) -> str:
        real, suffix = REALS[self.dtype]
        lines = [PRELUDE, f"typedef {real} real;"]
        lines += [f"#define real_{name} {name}{suffix}" for name in FUNCTIONS]
        for code, name in self._functions.items():
            lines.append(code.replace("NAME", name, 1))
        lines += [
            "void step(const real *const *constants, void *const *cache, real *scratch,",
            "          int64_t token, int64_t n, real *logits) {",
            "  int64_t position = n - 1;",
            *(f"  {call}" for call in self._calls),
            "}\n",
        ]
        return "\n".join(lines)


def _static(numbers: Any) -> tuple[Extent, ...]:
    return tuple(Extent(n) for n in numbers)


def _whole(dimensions: int) -> Layout:
    return Layout((ONE,) * dimensions, (NONE,) * dimensions, whole=True)


def _load(source: str) -> Any:
    """The function `step` of a source, compiled unless this machine has done it before."""
    said = "\n".join((source, *FLAGS, _machine()))
    key = hashlib.blake2b(said.encode(), digest_size=12).hexdigest()
    library = cache_folder() / "steps" / f"{key}.so"
    if not library.exists():
        _compile(source, library)
    function = ctypes.CDLL(str(library)).step
    function.argtypes = [ctypes.c_void_p] * 3 + [ctypes.c_int64] * 2 + [ctypes.c_void_p]
    function.restype = None
    return function


def _machine() -> str:
    """What the compiler writes code for: a home folder may be shared by other processors."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.platform() + platform.processor()
    about = ("model name", "flags", "CPU part", "Features")
    return "\n".join(dict.fromkeys(line for line in lines if line.startswith(about)))


def _compile(source: str, library: Path) -> None:
    compiler = os.environ.get("CC", "cc")
    library.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=library.parent) as folder:
        file, built = Path(folder, "step.c"), Path(folder, "step.so")
        file.write_text(source)
        command = [*shlex.split(compiler), *FLAGS, "-shared", str(file), "-o", str(built), "-lm"]
        try:
            subprocess.run(command, check=True, capture_output=True, text=True)
        except FileNotFoundError as error:
            raise NotCompiledError(f"there is no C compiler {compiler!r}") from error
        except subprocess.CalledProcessError as error:
            reason = error.stderr.strip().partition("\n")[0]
            raise NotCompiledError(f"{compiler!r} failed: {reason}") from error
        built.replace(library)
