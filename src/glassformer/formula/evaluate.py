"""A formula's value in float64, with a bound on how far a rounded computation may be from it.

The bound is a running error analysis: every node carries the value and the largest rounding error
that an evaluation in the recorded dtype, in any order of summation, can have made. For a sum of n
terms that is gamma_n = n u / (1 - n u) times the sum of absolute terms, u being the unit roundoff.
Sums in bfloat16 and float16 are held to what PyTorch does: added up in float32, rounded at the end.
Source: Higham, Accuracy and Stability of Numerical Algorithms, 2nd ed., sections 3.1 and 3.3.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from glassformer.formula.functions import RULES, X
from glassformer.formula.nodes import (
    Axis,
    Binary,
    Drawn,
    Node,
    Number,
    Param,
    Read,
    Reduce,
    Select,
    Size,
    Unary,
    walk,
)
from glassformer.formula.tree import Formula

# Library exp, tanh, erf, ... are a few units in the last place off; correctly rounded ones are not.
FUNCTION_ULPS = 8.0
NO_ERROR = np.zeros(())


def unit_roundoff(dtype: torch.dtype) -> float:
    """Half the distance from 1 to the next larger number; 0 for integers, which are exact."""
    return torch.finfo(dtype).eps / 2 if dtype.is_floating_point else 0.0


SUM_ROUNDOFF = unit_roundoff(torch.float32) + unit_roundoff(torch.float64)


@dataclass
class ReadRecord:
    """The elements of one operand that an evaluation read.

    `index` holds one integer array per dimension of the operand; they broadcast to the shape of
    `values`, whose dimensions are the axes in scope at the read.
    """

    operand: str
    index: tuple[np.ndarray, ...]
    values: np.ndarray


@dataclass
class Evaluation:
    """Values and rounding bounds of one tree at one or many index points."""

    operands: Mapping[str, Tensor]
    params: Mapping[str, float]
    sizes: Mapping[str, int]
    roundoff: float
    tiny: float = 0.0
    reads: list[ReadRecord] = field(default_factory=list)
    kinks: bool = False

    def run(self, node: Node, env: Mapping[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        """(value, bound): float64 arrays that broadcast over the index arrays of `env`."""
        u = self.roundoff
        match node:
            case Number(value):
                return self._constant(value)
            case Axis(name):
                return np.asarray(env[name]), NO_ERROR
            case Size(axis):
                return np.asarray(self.sizes[axis]), NO_ERROR
            case Param(name):
                return self._constant(self.params[name])
            case Read(operand, index):
                return self._read(operand, index, env), NO_ERROR
            case Select(condition, a, b):
                kinks = self.kinks
                chosen, _ = self.run(condition, env)
                if not any(isinstance(part, Read) for part in (*walk(a), *walk(b))):
                    self.kinks = kinks  # a count is flat on both sides of an equality
                (va, ea), (vb, eb) = self.run(a, env), self.run(b, env)
                return np.where(chosen, va, vb), np.where(chosen, ea, eb)
            case Reduce(kind, axis, body):
                return self._reduce(kind, axis, body, env)
            case Unary(function, x):
                inner, error = self.run(x, env)
                return self._unary(function, inner, error, u)
            case Binary(operator, a, b):
                va, ea = self.run(a, env)
                vb, eb = self.run(b, env)
                if operator in ("+", "-"):
                    ea, eb = self._added_to(b, va, ea), self._added_to(a, vb, eb)
                return self._binary(operator, va, ea, vb, eb, u)
            case Drawn():
                raise ValueError("a drawn number has no arithmetic")

    def _constant(self, value: float) -> tuple[np.ndarray, np.ndarray]:
        # whole numbers stay integers, so that index arithmetic is exact and never looks like a kink
        if not math.isfinite(value):
            return np.asarray(value), NO_ERROR
        if float(value).is_integer():
            return np.asarray(int(value)), NO_ERROR
        return np.asarray(value), np.asarray(self.roundoff * abs(value))

    def _read(
        self, operand: str, index: tuple[Node, ...], env: Mapping[str, np.ndarray]
    ) -> np.ndarray:
        points = tuple(np.asarray(self.run(i, env)[0]).astype(np.int64) for i in index)
        tensor = self.operands[operand]
        gathered = tensor[tuple(torch.tensor(p) for p in points)] if points else tensor
        gathered = gathered.detach().cpu()
        values = gathered.double().numpy() if gathered.is_floating_point() else gathered.numpy()
        self.reads.append(ReadRecord(operand, points, values))
        return values

    def _reduce(
        self, kind: str, axis: str, body: Node, env: Mapping[str, np.ndarray]
    ) -> tuple[np.ndarray, np.ndarray]:
        axes = [axis]
        while kind == "sum" and isinstance(body, Reduce) and body.kind == "sum":
            axes.append(body.axis)  # a sum of sums may be added up in any order: it is one sum
            body = body.body
        inner = {name: np.expand_dims(value, _last(len(axes))) for name, value in env.items()}
        for before_last, name in enumerate(axes, 1 - len(axes)):
            inner[name] = np.expand_dims(np.arange(self.sizes[name]), _last(-before_last))
        outer = np.broadcast_shapes(*(value.shape for value in env.values()))
        shape = (*outer, *(self.sizes[name] for name in axes))
        over = _last(len(axes))
        value, error = (np.broadcast_to(array, shape) for array in self.run(body, inner))
        if kind == "max":
            return np.asarray(value.max(over)), np.asarray(error.max(over))
        if kind == "argmax":  # of equal ones the first
            return np.asarray(value.argmax(-1)), NO_ERROR
        n = math.prod(shape[len(outer) :])
        gamma = self._gamma(n)
        total = np.asarray(value.sum(over))
        bound = error.sum(over) * (1 + gamma) + gamma * np.abs(value).sum(over)
        if self.roundoff > SUM_ROUNDOFF:
            bound = bound + self.roundoff * np.abs(total)
        if kind == "sum":
            return total, _finite(bound)
        mean = np.asarray(total / n)
        return mean, _finite(bound / n + self.roundoff * np.abs(mean))

    def _gamma(self, n: int) -> float:
        """The largest error of n additions, relative to the sum of absolute terms."""
        u = min(self.roundoff, SUM_ROUNDOFF)
        return n * u / (1 - n * u)

    def _added_to(self, node: Node, value: np.ndarray, error: np.ndarray) -> np.ndarray:
        """The error of a value that is added to a node: to a sum's, perhaps before its terms."""
        if additions := _additions(node):
            return np.asarray(error + additions * self.roundoff * np.abs(value))
        n, body = 1, node
        while isinstance(body, Reduce) and body.kind == "sum":
            n, body = n * self.sizes[body.axis], body.body
        return error if body is node else np.asarray(error + self._gamma(n) * np.abs(value))

    def _unary(
        self, function: str, x: np.ndarray, error: np.ndarray, u: float
    ) -> tuple[np.ndarray, np.ndarray]:
        with np.errstate(all="ignore"):
            rule = RULES[function]
            value = np.asarray(rule.compute(x))
            bound = 0.0 if rule.exact else FUNCTION_ULPS * u * np.abs(value) + self.tiny
            carried = np.where(error > 0, np.abs(_slope(rule.slope, x, value)) * error, 0.0)
            # sqrt has an unbounded slope at 0: the error of a root is at most the root of the error
            if function == "sqrt":
                carried = np.minimum(carried, np.sqrt(error))
            elif function == "abs":  # at 0 it has no slope
                carried = error
        return value, _finite(carried + bound)

    def _binary(
        self, operator: str, a: np.ndarray, ea: np.ndarray, b: np.ndarray, eb: np.ndarray, u: float
    ) -> tuple[np.ndarray, np.ndarray]:
        with np.errstate(all="ignore"):
            value = np.asarray(OPERATORS[operator](a, b))
            if operator in ("<", "<=", ">", ">=", "==", "!="):
                self.kinks |= bool(np.any(np.asarray(a == b) & _is_float(a)))
                return value, NO_ERROR
            if operator in ("//", "%"):
                return value, NO_ERROR
            rounding = u * np.abs(value)
            match operator:
                case "+" | "-":
                    bound = ea + eb + rounding
                case "*":
                    bound = np.abs(a) * eb + np.abs(b) * ea + ea * eb + rounding
                case "/":
                    bound = (ea + np.abs(value) * eb) / np.maximum(np.abs(b) - eb, 1e-300)
                    bound = bound + rounding
                case _:
                    relative = np.abs(b) * ea / np.abs(a) + np.abs(np.log(np.abs(a))) * eb
                    bound = np.abs(value) * relative + FUNCTION_ULPS * rounding
        return value, _finite(bound + self.tiny)


def evaluate(
    formula: Formula,
    operands: Mapping[str, Tensor],
    params: Mapping[str, float] | None = None,
    *,
    shape: tuple[int, ...] | None = None,
    at: Mapping[str, int] | None = None,
    dtype: torch.dtype = torch.float64,
    sizes: Mapping[str, int] | None = None,
) -> tuple[np.ndarray, np.ndarray, Evaluation]:
    """Recompute a formula in float64, at one element (`at`) or everywhere (`shape`).

    Returns the value(s), the bound that an evaluation in `dtype` keeps, and the `Evaluation` with
    the elements that were read. `sizes` gives lengths of axes that no operand has (a mean's own).

    >>> import torch
    >>> double = Formula.parse("y[i] = 2 * x[i]")
    >>> evaluate(double, {"x": torch.tensor([1.0, 3.0])}, shape=(2,))[0].tolist()
    [2.0, 6.0]
    """
    sizes = {**axis_sizes(formula.body, operands), **(sizes or {})}
    tiny = torch.finfo(dtype).tiny if dtype.is_floating_point else 0.0
    # both sides round: the recorded value in its dtype, this recomputation in float64
    roundoff = unit_roundoff(dtype) + unit_roundoff(torch.float64)
    run = Evaluation(operands, params or {}, sizes, roundoff, tiny)
    if at is not None:
        env = {axis: np.asarray(at[axis]) for axis in formula.axes}
        value, bound = run.run(formula.body, env)
        return value, bound, run
    assert shape is not None, "evaluate() needs an element (at=) or a shape"
    grid = np.ogrid[tuple(slice(0, n) for n in shape)] if shape else []
    env = dict(zip(formula.axes, grid, strict=True))
    value, bound = run.run(formula.body, env)
    return np.broadcast_to(value, shape), np.broadcast_to(bound, shape), run


def axis_sizes(body: Node, operands: Mapping[str, Tensor]) -> dict[str, int]:
    """The length of every axis that indexes some operand directly."""
    sizes: dict[str, int] = {}
    for node in walk(body):
        if isinstance(node, Read):
            for dimension, index in enumerate(node.index):
                if isinstance(index, Axis):
                    sizes[index.name] = operands[node.operand].shape[dimension]
    return sizes


def _additions(node: Node) -> int:
    """How many additions a chain of them makes."""
    if not isinstance(node, Binary) or node.operator != "+":
        return 0
    return 1 + _additions(node.a) + _additions(node.b)


def _slope(node: Node, x: np.ndarray, value: np.ndarray) -> np.ndarray:
    """The number that a function's slope is at x, where the function is `value`."""
    match node:
        case Number(number):
            return np.asarray(number)
        case Param():
            return x if node == X else value
        case Unary(function, a):
            return np.asarray(RULES[function].compute(_slope(a, x, value)))
        case Binary(operator, a, b):
            return np.asarray(OPERATORS[operator](_slope(a, x, value), _slope(b, x, value)))
        case _:
            raise TypeError(f"a slope is made of numbers, x and value: {node}")


def _finite(error: ArrayLike) -> np.ndarray:
    # inf - inf and 0 * inf in the bound come from infinite values, which are exact (a masked score)
    return np.where(np.isfinite(error), error, 0.0)


def _last(n: int) -> tuple[int, ...]:
    """The last n dimensions."""
    return tuple(range(-n, 0))


def _is_float(x: np.ndarray) -> bool:
    return np.asarray(x).dtype.kind == "f"


OPERATORS: dict[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {
    "+": np.add,
    "-": np.subtract,
    "*": np.multiply,
    "/": np.true_divide,
    "//": np.floor_divide,
    "%": np.mod,
    "**": np.power,
    "<": np.less,
    "<=": np.less_equal,
    ">": np.greater,
    ">=": np.greater_equal,
    "==": np.equal,
    "!=": np.not_equal,
}
