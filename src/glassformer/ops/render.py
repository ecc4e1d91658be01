"""A formula as text, as LaTeX, and with its numbers put in."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import overload

import numpy as np

from glassformer.ops.evaluate import Evaluation
from glassformer.ops.formula import (
    Axis,
    Binary,
    Drawn,
    Formula,
    Node,
    Number,
    Param,
    Read,
    Reduce,
    Select,
    Size,
    Unary,
)

_PRECEDENCE = {
    **dict.fromkeys(("<", "<=", ">", ">=", "==", "!="), 0),
    **dict.fromkeys(("+", "-"), 1),
    **dict.fromkeys(("*", "/", "//", "%"), 2),
    "**": 4,
}
_NEGATION, _ATOM = 3, 9


def number(value: float, digits: int = 4) -> str:
    """A number for people: `digits` significant digits, no noise, a real minus sign never.

    >>> number(0.30000000000000004), number(-1234567.0), number(float("-inf")), number(0.00001234)
    ('0.3000', '-1.235e+06', '-inf', '1.234e-05')
    """
    if isinstance(value, (bool, int, np.integer)):
        return str(int(value))
    value = float(value)
    if not math.isfinite(value):
        return "nan" if math.isnan(value) else ("inf" if value > 0 else "-inf")
    if value == 0:
        return "0"
    exponent = math.floor(math.log10(abs(value)))
    if -4 <= exponent < digits + 1:
        return f"{value:.{max(digits - 1 - exponent, 0)}f}"
    return f"{value:.{digits - 1}e}"


def _constant(value: float) -> str:
    """A formula's own constant, exactly: ``Formula.parse`` reads the same number back."""
    if value == math.pi:
        return "pi"
    return str(int(value)) if math.isfinite(value) and value == int(value) else repr(value)


# --- symbols --------------------------------------------------------------------------------------


def to_text(formula: Formula) -> str:
    """The formula in the syntax that `Formula.parse` reads."""
    left = formula.name + (f"[{', '.join(formula.axes)}]" if formula.axes else "")
    return f"{left} = {_text(formula.body, 0)}"


def _text(node: Node, outer: int) -> str:
    match node:
        case Number(math.pi):
            return "pi"
        case Number(value):
            text = str(int(value)) if float(value).is_integer() else repr(value)
            return _bracket(text, _NEGATION if value < 0 else _ATOM, outer)
        case Axis(name) | Param(name):
            return name
        case Size(axis):
            return f"size({axis})"
        case Read(operand, index):
            return (
                f"{operand}[{', '.join(_text(i, 0) for i in index)}]" if index else f"{operand}[()]"
            )
        case Drawn():
            return "drawn"
        case Unary("neg", x):
            return _bracket("-" + _text(x, _NEGATION), _NEGATION, outer)
        case Unary(function, x):
            return f"{function}({_text(x, 0)})"
        case Select(condition, a, b):
            return f"select({_text(condition, 0)}, {_text(a, 0)}, {_text(b, 0)})"
        case Reduce(kind, axis, body):
            return f"{kind}({axis}, {_text(body, 0)})"
        case Binary(operator, a, b):
            level = _PRECEDENCE[operator]
            left, right = _sides(operator, level)
            text = f"{_text(a, left)} {operator} {_text(b, right)}"
            return _bracket(text, level, outer)


def _sides(operator: str, level: int) -> tuple[int, int]:
    """The precedence that each side needs to stand without brackets: a - b - c is (a - b) - c."""
    if operator == "**":
        return level + 1, level
    if level == 0:  # Python reads a < b < c as a chain
        return 1, 1
    return level, level + 1


def _bracket(text: str, level: int, outer: int) -> str:
    return f"({text})" if level < outer else text


# --- LaTeX ----------------------------------------------------------------------------------------

_LATEX_NUMBERS = {math.inf: r"\infty", -math.inf: r"-\infty", math.pi: r"\pi"}
_LATEX_OPERATORS = {
    "*": r" \cdot ",
    "<=": r" \le ",
    ">=": r" \ge ",
    "==": " = ",
    "!=": r" \ne ",
    "%": r" \bmod ",
}


def to_latex(formula: Formula) -> str:
    """The formula in LaTeX, as KaTeX and MathJax read it."""
    left = _latex_name(formula.name) + (f"_{{{_latex_axes(formula.axes)}}}" if formula.axes else "")
    return f"{left} = {latex(formula.body)}"


def latex(node: Node, outer: int = 0) -> str:
    match node:
        case Number(value):
            return _LATEX_NUMBERS.get(value) or f"{value:g}"
        case Axis(name):
            return _latex_axis(name)
        case Param("eps"):
            return r"\epsilon"
        case Param(name):
            return _latex_name(name, "_")
        case Size(axis):
            return rf"|\mathrm{{{_escape(axis)}}}|"
        case Read(operand, index):
            indices = ",".join(latex(i) for i in index)
            return _latex_name(operand) + (f"_{{{indices}}}" if index else "")
        case Drawn():
            return r"\text{drawn}"
        case Unary("neg", x):
            return _parens("-" + latex(x, _NEGATION), _NEGATION, outer)
        case Unary("sqrt", x):
            return rf"\sqrt{{{latex(x)}}}"
        case Unary("exp", x):
            return rf"e^{{{latex(x)}}}"
        case Unary("abs", x):
            return rf"\left|{latex(x)}\right|"
        case Unary(function, x):
            name = rf"\{function}" if function in ("log", "tanh", "sin", "cos") else ""
            name = name or rf"\operatorname{{{function}}}"
            return rf"{name}\left({latex(x)}\right)"
        case Select(condition, a, b):
            cases = (
                rf"{latex(a)} & \text{{if }} {latex(condition)} \\ {latex(b)} & \text{{otherwise}}"
            )
            return rf"\begin{{cases}} {cases} \end{{cases}}"
        case Reduce("max", axis, body):
            return _parens(rf"\max_{{{_latex_axis(axis)}}} {latex(body, 2)}", 1, outer)
        case Reduce(kind, axis, body):
            scale = "" if kind == "sum" else rf"\frac{{1}}{{{latex(Size(axis))}}} "
            inner = latex(body, 1 if isinstance(body, Reduce) else 2)  # a sum of sums is one sum
            return _parens(rf"{scale}\sum_{{{_latex_axis(axis)}}} {inner}", 1, outer)
        case Binary("/", a, b):
            return _parens(rf"\frac{{{latex(a)}}}{{{latex(b)}}}", _NEGATION, outer)
        case Binary("//", a, b):
            return rf"\left\lfloor {latex(a, 2)} / {latex(b, 3)} \right\rfloor"
        case Binary("**", a, b):
            return f"{{{latex(a, 5)}}}^{{{latex(b)}}}"
        case Binary(operator, a, b):
            level = _PRECEDENCE[operator]
            left, right = _sides(operator, level)
            symbol = _LATEX_OPERATORS.get(operator, f" {operator} ")
            return _parens(f"{latex(a, left)}{symbol}{latex(b, right)}", level, outer)


def _latex_name(name: str, tail_at: str = "^") -> str:
    """``W_Q`` with its Q above, so that indices have their place below."""
    head, _, tail = name.partition("_")
    if len(head) == 1 and tail:
        return rf"{head}{tail_at}{{\mathrm{{{_escape(tail)}}}}}"
    return name if len(name) == 1 else rf"\mathrm{{{_escape(name)}}}"


def _latex_axis(name: str) -> str:
    return {"batch": "b", "pos": "p", "query": "q", "key": "k", "head": "h", "vocab": "v"}.get(
        name, rf"\mathrm{{{_escape(name)}}}"
    )


def _latex_axes(axes: tuple[str, ...]) -> str:
    return ",".join(_latex_axis(axis) for axis in axes)


def _escape(name: str) -> str:
    return name.replace("_", r"\_")


def _parens(text: str, level: int, outer: int) -> str:
    return rf"\left({text}\right)" if level < outer else text


# --- numbers put in -------------------------------------------------------------------------------

SHOWN_TERMS = 6


def with_numbers(body: Node, run: Evaluation, at: Mapping[str, int]) -> str:
    """The formula at one element with every operand replaced by its number.

    A sum of more than `SHOWN_TERMS` terms shows its first and last ones and says how many it leaves
    out.
    """
    quiet = Evaluation(run.operands, run.params, run.sizes, run.roundoff)
    env = {axis: np.asarray(index) for axis, index in at.items()}
    text = _numbers(body, quiet, env, 0)
    if isinstance(body, Select):
        answer = "yes" if bool(quiet.run(body.condition, env)[0]) else "no"
        text += f"   ({_numbers(body.condition, quiet, env, 0)}: {answer})"
    return text


def _numbers(node: Node, run: Evaluation, env: Mapping[str, np.ndarray], outer: int) -> str:
    match node:
        case Axis() | Number() | Size() | Param() | Read():
            value = run.run(node, env)[0]
            whole = float(value).is_integer() and not isinstance(node, Read)
            text = f"{float(value):g}" if whole else number(value.item())
            return f"({text})" if text.startswith("-") and outer > 0 else text
        case Drawn():
            return "drawn"
        case Unary("neg", x):
            return _bracket("-" + _numbers(x, run, env, _NEGATION), _NEGATION, outer)
        case Unary(function, x):
            return f"{function}({_numbers(x, run, env, 0)})"
        case Select(condition, a, b):
            return _numbers(a if bool(run.run(condition, env)[0]) else b, run, env, outer)
        case Binary(operator, a, b):
            level = _PRECEDENCE[operator]
            left, right = _sides(operator, level)
            # a negative number on the right of any operator stands in brackets
            text = (
                f"{_numbers(a, run, env, left)} {operator} {_numbers(b, run, env, max(right, 1))}"
            )
            return _bracket(text, level, outer)
        case Reduce(kind, axis, body):
            n = run.sizes[axis]
            if n == 1 and kind != "mean":
                return _numbers(body, run, {**env, axis: np.asarray(0)}, outer)
            shown = list(range(n)) if n <= SHOWN_TERMS else [0, 1, 2, None, n - 2, n - 1]
            terms = [
                f"… {n - 5} more …"
                if i is None
                else _numbers(body, run, {**env, axis: np.asarray(i)}, 2 if kind != "max" else 0)
                for i in shown
            ]
            if kind == "max":
                return f"max({', '.join(terms)})"
            total = _bracket(" + ".join(terms), 1, outer if kind == "sum" else 2)
            return total if kind == "sum" else _bracket(f"{total} / {n}", 2, outer)


@dataclass(frozen=True)
class Term:
    """One term of a sum: its indices along the summed axes, its value, and the sum so far."""

    index: dict[str, int]
    value: float
    running: float


class Terms(Sequence[Term]):
    """The terms of a sum; made when they are looked at."""

    def __init__(self, axes: Sequence[str], values: np.ndarray) -> None:
        self._axes, self._shape, self._values = axes, values.shape, values.ravel()
        self._running = np.cumsum(self._values)

    def __len__(self) -> int:
        return self._values.size

    @overload
    def __getitem__(self, place: int) -> Term: ...
    @overload
    def __getitem__(self, place: slice) -> list[Term]: ...
    def __getitem__(self, place: int | slice) -> Term | list[Term]:
        if isinstance(place, slice):
            return [self[i] for i in range(len(self))[place]]
        place = range(len(self))[place]
        where = np.unravel_index(place, self._shape)
        index = {axis: int(i) for axis, i in zip(self._axes, where, strict=True)}
        return Term(index, float(self._values[place]), float(self._running[place]))


def terms(body: Node, run: Evaluation, at: Mapping[str, int]) -> Sequence[Term]:
    """The terms of a formula's outermost sum (or mean) at one element, with the running sum."""
    outermost = next(_sums(body), None)
    if outermost is None:
        return []
    axes: list[str] = []
    node: Node = outermost
    while isinstance(node, Reduce) and node.kind in ("sum", "mean"):
        axes.append(node.axis)
        node = node.body
    shape = tuple(run.sizes[axis] for axis in axes)
    grid = np.ogrid[tuple(slice(0, n) for n in shape)]
    env = {axis: np.asarray(index) for axis, index in at.items()}
    env.update(zip(axes, grid, strict=True))
    quiet = Evaluation(run.operands, run.params, run.sizes, run.roundoff)
    return Terms(axes, np.broadcast_to(quiet.run(node, env)[0], shape))


def _sums(node: Node) -> Iterator[Reduce]:
    match node:
        case Reduce(kind, _, _) if kind in ("sum", "mean"):
            yield node
        case Binary(_, a, b):
            yield from _sums(a)
            yield from _sums(b)
        case Unary(_, x):
            yield from _sums(x)
