"""A formula is data: a small expression tree in index notation.

``scores[batch, query, key] = sum(d_head, q[batch, query, d_head] * k[batch, key, d_head])``

From this one tree come the LaTeX, the terminal table, the operands that an element reads, its value
recomputed in float64 (here and in the page), and its local derivatives. Trees are written as text
in Python's expression syntax and parsed once, when an op is declared:

- ``x[batch, pos, d_model]`` reads an operand; an index may itself be a read
  (``W_E[ids[batch, pos], d_model]``);
- ``sum(axis, body)``, ``mean(axis, body)``, ``max(axis, body)`` run over a whole axis, and
  ``argmax(axis, body)``: the index at which the body is largest, of equal ones the first;
- ``select(condition, a, b)`` is ``a`` where the condition holds and ``b`` elsewhere;
- ``exp``, ``log`` and the other functions of `formula.functions` act on a number;
- ``size(axis)`` is the length of an axis;
- a bare name is an axis (its index as a number) where that axis is in scope, else a parameter of
  the step, such as ``eps``; ``inf`` and ``pi`` are constants; ``drawn`` is a recorded
  random number.
"""

from __future__ import annotations

import ast
import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from glassformer.formula.functions import FUNCTIONS, RULES
from glassformer.formula.nodes import (
    OPERATORS,
    REDUCTIONS,
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
    rename_axes,
    walk,
)
from glassformer.formula.text import node_text


@dataclass(frozen=True)
class Formula:
    """``name[axes] = body``: how one output of an op follows from its operands.

    >>> f = Formula.parse("y[i] = sum(j, W[i, j] * x[j]) + b[i]")
    >>> f.axes, f.operands
    (('i',), ('W', 'b', 'x'))
    >>> str(f.without({"b"}))
    'y[i] = sum(j, W[i, j] * x[j])'
    """

    name: str
    axes: tuple[str, ...]
    body: Node

    def __hash__(self) -> int:
        return hash((self.name, self.axes))  # its tree is walked only where two are compared

    @classmethod
    def parse(cls, text: str) -> Formula:
        left, right = text.split("=", 1)
        target = ast.parse(left.strip(), mode="eval").body
        if isinstance(target, ast.Name):
            name, axes = target.id, tuple[str, ...]()
        else:
            assert isinstance(target, ast.Subscript), text
            assert isinstance(target.value, ast.Name), text
            name, axes = target.value.id, tuple(_names(target.slice))
        body = _parse(ast.parse(right.strip(), mode="eval").body, frozenset(axes))
        return cls(name, axes, body)

    @cached_property
    def operands(self) -> tuple[str, ...]:
        """The names of what it reads, sorted."""
        return tuple(sorted({node.operand for node in walk(self.body) if isinstance(node, Read)}))

    @cached_property
    def params(self) -> tuple[str, ...]:
        return tuple(sorted({node.name for node in walk(self.body) if isinstance(node, Param)}))

    def without(self, absent: frozenset[str] | set[str]) -> Formula:
        """The formula when optional operands are not there: their terms and factors fall away.

        Raises ValueError where nothing would be left, or where an operand is more than that.
        """
        if absent.isdisjoint(self.operands):
            return self
        body = _drop(self.body, absent)
        if body is None or not absent.isdisjoint(Formula(self.name, self.axes, body).operands):
            raise ValueError(f"{self} makes no sense without {sorted(absent)}")
        return Formula(self.name, self.axes, body)

    def along(self, names: Mapping[str, str]) -> Formula:
        """The formula over axes of other names.

        >>> str(Formula.parse("y[i] = sum(j, x[i, j])").along({"j": "k"}))
        'y[i] = sum(k, x[i, k])'
        """
        axes = tuple(names.get(axis, axis) for axis in self.axes)
        return Formula(self.name, axes, rename_axes(self.body, names))

    def __str__(self) -> str:
        left = self.name + (f"[{', '.join(self.axes)}]" if self.axes else "")
        return f"{left} = {node_text(self.body)}"


# --- text -> tree ---------------------------------------------------------------------------------

_BINARY: dict[type[ast.operator], str] = {
    ast.Add: "+",
    ast.Sub: "-",
    ast.Mult: "*",
    ast.Div: "/",
    ast.FloorDiv: "//",
    ast.Mod: "%",
    ast.Pow: "**",
}
_COMPARE: dict[type[ast.cmpop], str] = {
    ast.Lt: "<",
    ast.LtE: "<=",
    ast.Gt: ">",
    ast.GtE: ">=",
    ast.Eq: "==",
    ast.NotEq: "!=",
}


def _names(node: ast.expr) -> list[str]:
    elements = node.elts if isinstance(node, ast.Tuple) else [node]
    return [element.id for element in elements if isinstance(element, ast.Name)]


def _parse(node: ast.expr, axes: frozenset[str]) -> Node:
    match node:
        case ast.Constant(value=int() | float() as value):
            return Number(value)
        case ast.Name(id="inf"):
            return Number(float("inf"))
        case ast.Name(id="pi"):
            return Number(math.pi)
        case ast.Name(id="drawn"):
            return Drawn()
        case ast.Name(id=name):
            return Axis(name) if name in axes else Param(name)
        case ast.UnaryOp(op=ast.USub(), operand=ast.Name(id="inf")):
            return Number(float("-inf"))
        case ast.UnaryOp(op=ast.USub(), operand=x):
            return Unary("neg", _parse(x, axes))
        case ast.BinOp(left=a, op=op, right=b) if type(op) in _BINARY:
            return Binary(_BINARY[type(op)], _parse(a, axes), _parse(b, axes))
        case ast.Compare(left=a, ops=[op], comparators=[b]) if type(op) in _COMPARE:
            return Binary(_COMPARE[type(op)], _parse(a, axes), _parse(b, axes))
        case ast.Subscript(value=ast.Name(id=operand), slice=index):
            elements = index.elts if isinstance(index, ast.Tuple) else [index]
            return Read(operand, tuple(_parse(element, axes) for element in elements))
        case ast.Call(func=ast.Name(id="size"), args=[ast.Name(id=axis)]):
            return Size(axis)
        case ast.Call(func=ast.Name(id="select"), args=[condition, a, b]):
            return Select(_parse(condition, axes), _parse(a, axes), _parse(b, axes))
        case ast.Call(func=ast.Name(id=kind), args=[ast.Name(id=axis), body]) if kind in REDUCTIONS:
            return Reduce(kind, axis, _parse(body, axes | {axis}))
        case ast.Call(func=ast.Name(id=function), args=[x]) if function in FUNCTIONS:
            return Unary(function, _parse(x, axes))
        case _:
            raise ValueError(f"not part of the formula language: {ast.unparse(node)}")


def _drop(node: Node, absent: frozenset[str] | set[str]) -> Node | None:
    match node:
        case Read(operand, _) if operand in absent:
            return None
        case Unary(function, x):
            inner = _drop(x, absent)
            return None if inner is None else Unary(function, inner)
        case Binary(operator, a, b):
            left, right = _drop(a, absent), _drop(b, absent)
            match left, right:
                case None, None:
                    return None
                case left, None if operator in ("+", "-", "*", "/"):
                    return left
                case None, right if operator in ("+", "*"):
                    return right
                case None, right if operator == "-":
                    return Unary("neg", right)
                case None, right if operator == "/":
                    return Binary("/", Number(1), right)
            return node if left is None or right is None else Binary(operator, left, right)
        case Reduce(kind, axis, body):
            inner = _drop(body, absent)
            return None if inner is None else Reduce(kind, axis, inner)
        case _:
            return node


# --- tree <-> JSON --------------------------------------------------------------------------------


def to_json(node: Node) -> Any:
    """A tree as nested lists, the form in which trace files and the page hold it.

    >>> to_json(Formula.parse("y[i] = 2 * x[i]").body)
    ['*', ['number', 2], ['read', 'x', [['axis', 'i']]]]
    """
    match node:
        case Number(value):
            finite = value not in (float("inf"), float("-inf"))
            return ["number", value if finite else str(value)]
        case Axis(name):
            return ["axis", name]
        case Size(axis):
            return ["size", axis]
        case Param(name):
            return ["param", name]
        case Read(operand, index):
            return ["read", operand, [to_json(i) for i in index]]
        case Unary(function, x):
            return [function, to_json(x)]
        case Binary(operator, a, b):
            return [operator, to_json(a), to_json(b)]
        case Select(condition, a, b):
            return ["select", to_json(condition), to_json(a), to_json(b)]
        case Reduce(kind, axis, body):
            return [kind, axis, to_json(body)]
        case Drawn():
            return ["drawn"]


def from_json(data: Any) -> Node:
    """The tree that `to_json` wrote; raises ValueError on anything else."""
    match data:
        case ["number", ("inf" | "-inf") as infinite]:
            return Number(float(infinite))
        case ["number", int() | float() as value] if not isinstance(value, bool):
            return Number(value)
        case ["axis", str(name)]:
            return Axis(name)
        case ["drawn"]:
            return Drawn()
        case ["size", str(axis)]:
            return Size(axis)
        case ["param", str(name)]:
            return Param(name)
        case ["read", str(operand), list(index)]:
            return Read(operand, tuple(from_json(i) for i in index))
        case ["select", condition, a, b]:
            return Select(from_json(condition), from_json(a), from_json(b))
        case [str(kind), str(axis), body] if kind in REDUCTIONS:
            return Reduce(kind, axis, from_json(body))
        case [str(function), x] if function in RULES:
            return Unary(function, from_json(x))
        case [str(operator), a, b] if operator in OPERATORS:
            return Binary(operator, from_json(a), from_json(b))
        case _:
            raise ValueError(f"not a formula tree: {str(data)[:80]}")
