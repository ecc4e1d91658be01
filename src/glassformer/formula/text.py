"""A tree as text, in the expression syntax that `formula.tree` parses."""

from __future__ import annotations

import math

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

PRECEDENCE = {
    **dict.fromkeys(("<", "<=", ">", ">=", "==", "!="), 0),
    **dict.fromkeys(("+", "-"), 1),
    **dict.fromkeys(("*", "/", "//", "%"), 2),
    "**": 4,
}
NEGATION, ATOM = 3, 9


def node_text(node: Node, outer: int = 0) -> str:
    """A tree as `Formula.parse` reads it; `outer` is the precedence of what is around it."""
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
            indices = ", ".join(node_text(i) for i in index) or "()"
            return f"{operand}[{indices}]"
        case Drawn():
            return "drawn"
        case Unary("neg", x):
            return bracket("-" + node_text(x, NEGATION), NEGATION, outer)
        case Unary(function, x):
            return f"{function}({node_text(x, 0)})"
        case Select(condition, a, b):
            return f"select({node_text(condition, 0)}, {node_text(a, 0)}, {node_text(b, 0)})"
        case Reduce(kind, axis, body):
            return f"{kind}({axis}, {node_text(body, 0)})"
        case Binary(operator, a, b):
            level = PRECEDENCE[operator]
            left, right = sides(operator, level)
            text = f"{node_text(a, left)} {operator} {node_text(b, right)}"
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
