"""A formula as text and as LaTeX."""

from __future__ import annotations

import math

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

PRECEDENCE = {
    **dict.fromkeys(("<", "<=", ">", ">=", "==", "!="), 0),
    **dict.fromkeys(("+", "-"), 1),
    **dict.fromkeys(("*", "/", "//", "%"), 2),
    "**": 4,
}
NEGATION, ATOM = 3, 9


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
            return bracket(text, NEGATION if value < 0 else ATOM, outer)
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
            return bracket("-" + _text(x, NEGATION), NEGATION, outer)
        case Unary(function, x):
            return f"{function}({_text(x, 0)})"
        case Select(condition, a, b):
            return f"select({_text(condition, 0)}, {_text(a, 0)}, {_text(b, 0)})"
        case Reduce(kind, axis, body):
            return f"{kind}({axis}, {_text(body, 0)})"
        case Binary(operator, a, b):
            level = PRECEDENCE[operator]
            left, right = sides(operator, level)
            text = f"{_text(a, left)} {operator} {_text(b, right)}"
            return bracket(text, level, outer)


def sides(operator: str, level: int) -> tuple[int, int]:
    """The precedence that each side needs to stand without brackets: a - b - c is (a - b) - c."""
    if operator == "**":
        return level + 1, level
    if level == 0:  # Python reads a < b < c as a chain
        return 1, 1
    return level, level + 1


def bracket(text: str, level: int, outer: int) -> str:
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
            return _parens("-" + latex(x, NEGATION), NEGATION, outer)
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
