"""A formula as LaTeX."""

from __future__ import annotations

import math

from glassformer.formula.functions import FUNCTIONS
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
)
from glassformer.formula.text import NEGATION, PRECEDENCE, sides
from glassformer.formula.tree import Formula

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
            return _parens("-" + latex(x, NEGATION), NEGATION, outer)
        case Unary(function, x):
            return FUNCTIONS[function].latex % latex(x)
        case Select(condition, a, b):
            cases = (
                rf"{latex(a)} & \text{{if }} {latex(condition)} \\ {latex(b)} & \text{{otherwise}}"
            )
            return rf"\begin{{cases}} {cases} \end{{cases}}"
        case Reduce("max" | "argmax" as kind, axis, body):
            largest = r"\max" if kind == "max" else r"\operatorname{argmax}"
            return _parens(rf"{largest}_{{{_latex_axis(axis)}}} {latex(body, 2)}", 1, outer)
        case Reduce(kind, axis, body):
            scale = "" if kind == "sum" else rf"\frac{{1}}{{{latex(Size(axis))}}} "
            inner = latex(body, 1 if isinstance(body, Reduce) else 2)  # a sum of sums is one sum
            return _parens(rf"{scale}\sum_{{{_latex_axis(axis)}}} {inner}", 1, outer)
        case Binary("/", a, b):
            return _parens(rf"\frac{{{latex(a)}}}{{{latex(b)}}}", NEGATION, outer)
        case Binary("//", a, b):
            return rf"\left\lfloor {latex(a, 2)} / {latex(b, 3)} \right\rfloor"
        case Binary("**", a, b):
            return f"{{{latex(a, 5)}}}^{{{latex(b)}}}"
        case Binary(operator, a, b):
            level = PRECEDENCE[operator]
            left, right = sides(operator, level)
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
