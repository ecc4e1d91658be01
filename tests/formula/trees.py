"""Random formulas for property tests, and their value by plain Python."""

from __future__ import annotations

import ast
import math
from collections.abc import Mapping

import numpy as np
from hypothesis import strategies as st

from glassformer.formula.nodes import (
    OPERATORS,
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
from glassformer.formula.tree import Formula

NAMES = st.sampled_from(["x", "W_Q", "b", "scores_raw", "pattern"])
AXES = st.sampled_from(["batch", "pos", "d_model", "i"])
NUMBERS = st.one_of(
    st.integers(0, 10**6),
    st.floats(0, allow_nan=False, allow_infinity=False),
    st.sampled_from([math.inf, -math.inf, math.pi]),
)


@st.composite
def any_tree(draw: st.DrawFn, scope: frozenset[str] = frozenset(), depth: int = 4) -> Node:
    """Any tree that the parser can produce: a bare name is an axis exactly where it is in scope."""
    kind = draw(st.integers(0, 5 if depth == 0 else 10))
    inner = any_tree(scope, max(depth - 1, 0))
    match kind:
        case 0:
            return Number(draw(NUMBERS))
        case 1:
            name = draw(AXES)
            return Axis(name) if name in scope else Param(name)
        case 2:
            return Size(draw(AXES))
        case 3:
            return Param(draw(st.sampled_from(["eps", "width"])))
        case 4:
            return Drawn()
        case 5:
            index = st.lists(any_tree(scope, 0) if depth < 2 else inner, max_size=3)
            return Read(draw(NAMES), tuple(draw(index)))
        case 6:
            x = draw(inner)
            function = draw(st.sampled_from(["neg", "exp", "log", "sqrt", "erf", "sign"]))
            # -inf is one number, not the negation of one
            return x if function == "neg" and x == Number(math.inf) else Unary(function, x)
        case 7:
            return Select(draw(inner), draw(inner), draw(inner))
        case 8:
            axis = draw(AXES)
            reduction = draw(st.sampled_from(["sum", "mean", "max"]))
            return Reduce(reduction, axis, draw(any_tree(scope | {axis}, depth - 1)))
        case _:
            return Binary(draw(st.sampled_from(OPERATORS)), draw(inner), draw(inner))


@st.composite
def any_formula(draw: st.DrawFn) -> Formula:
    axes = tuple(draw(st.lists(AXES, unique=True, max_size=3)))
    return Formula(draw(NAMES), axes, draw(any_tree(frozenset(axes))))


SIZES = {"i": 3, "j": 4, "k": 1}


@st.composite
def smooth_body(draw: st.DrawFn, scope: tuple[str, ...], depth: int) -> str:
    """Text of a body whose value is finite for every finite operand a [i, j], b [j], c [j, k]."""
    reads = [
        f"{name}[{', '.join(axes)}]"
        for name, axes in {"a": "ij", "b": "j", "c": "jk", "s": ""}.items()
        if set(axes) <= set(scope) and axes
    ]
    leaf = st.sampled_from([*reads, *scope, "2", "0.3", "s[()]", "scale", "size(j)"])
    if depth == 0:
        return draw(leaf)
    x, y = (draw(smooth_body(scope, depth - 1)) for _ in range(2))
    free = [axis for axis in SIZES if axis not in scope]
    forms = [
        f"({x} + {y})",
        f"({x} - {y})",
        f"{x} * {y}",
        f"{x} / (2 + abs({y}))",
        f"exp(tanh({x}))",
        f"log(1 + abs({x}))",
        f"sqrt(1 + abs({x}))",
        f"-erf(sin({x}) + cos({y}))",
        f"(1 + abs({x})) ** 1.5",
    ]
    if scope:
        forms += [
            f"select({scope[0]} % 2 == 0, {x}, {y})",
            f"select({scope[-1]} // 2 <= 0, {x}, {y})",
        ]
    if free:
        body = draw(smooth_body((*scope, free[0]), depth - 1))
        read = {"i": "b[perm[i]]", "j": "b[j]", "k": "c[0, k]"}[free[0]]
        # the read tells how long the axis is
        sized = f"({body}) * {read}" if free[0] != "i" else f"({body}) + 0 * perm[i]"
        forms += [f"{kind}({free[0]}, {sized})" for kind in ("sum", "mean", "max")]
    return draw(st.sampled_from(forms))


class _Lazy(ast.NodeTransformer):
    """sum(j, body) becomes sum([body for j in range(size)]): the text is then plain Python."""

    def visit_Call(self, node: ast.Call) -> ast.AST:
        self.generic_visit(node)
        assert isinstance(node.func, ast.Name)
        match node.func.id, node.args:
            case ("sum" | "mean" | "max") as kind, [ast.Name(id=axis), body]:
                text = f"{kind}_([{ast.unparse(body)} for {axis} in range({SIZES[axis]})])"
                return ast.parse(text, mode="eval").body
            case "size", [ast.Name(id=axis)]:
                return ast.Constant(SIZES[axis])
            case "select", [condition, a, b]:
                return ast.IfExp(condition, a, b)
        return node


def by_python(body: str, operands: Mapping[str, np.ndarray], scale: float, at: Mapping[str, int]):
    """The value of a body's text at one element, by Python's own arithmetic."""
    tree = ast.fix_missing_locations(_Lazy().visit(ast.parse(body, mode="eval")))
    names = {
        **{name: getattr(math, name) for name in ("exp", "log", "sqrt", "tanh", "erf", "sin")},
        "cos": math.cos,
        "abs": abs,
        "scale": scale,
        "sum_": sum,
        "max_": max,
        "mean_": lambda terms: sum(terms) / len(terms),
        **operands,
        **at,
    }
    return float(eval(compile(tree, "formula", "eval"), names))
