"""Local derivatives, by differentiating the tree: how a gradient flows through one op.

For an output ``y[O] = f(x, ...)`` and the upstream gradient ``d_y[O]``, the gradient of one element
of the operand x is the sum, over every output element that read it, of upstream times derivative.
The result is a formula again, over x's own axes, so gradients are explained, checked and drawn as
values are. Source: reverse accumulation, Griewank and Walther 2008, section 3.2.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from glassformer.errors import GlassformerError
from glassformer.formula.functions import RULES, VALUE, Function, X
from glassformer.formula.nodes import (
    Axis,
    Binary,
    Node,
    Number,
    Param,
    Read,
    Reduce,
    Select,
    Size,
    Unary,
    children_mapped,
    rename_axes,
    substitute,
    walk,
)
from glassformer.formula.tree import Formula

ZERO, ONE = Number(0), Number(1)

FLAT = ("<", "<=", ">", ">=", "==", "!=", "//", "argmax")
"""Operators and reductions whose value stays as it is for any small change of their operands."""


class _NoRuleError(Exception):
    """What has no derivative here, by name."""


def gradient(formula: Formula, operand: str, axes: tuple[str, ...]) -> Formula | None:
    """The gradient that one op sends to one of its operands, or None where none flows.

    `axes` are the operand's own axes. The result reads the upstream gradient as ``d_NAME`` (NAME is
    the formula's name), the op's own output as NAME, and the op's operands. None also where the
    operand is read only where a small change has no effect: a comparison, an index.

    Errors: a function or operator of the operand that has no rule here.

    >>> str(gradient(Formula.parse("y[i] = sum(j, W[i, j] * x[j])"), "x", ("j",)))
    'd_x[j] = sum(i, d_y[i] * W[i, j])'
    """
    body = _fresh(formula, frozenset(axes))
    upstream = Read(f"d_{formula.name}", tuple(Axis(axis) for axis in body.axes))
    try:
        parts = [
            _gather(index, adjoint, body.axes + bound, axes)
            for index, adjoint, bound in _reads_of(body, operand, upstream)
        ]
    except _NoRuleError as error:
        raise GlassformerError(
            f"can't differentiate {formula} by {operand}: there is no rule for {error};"
            " write it with operations that have one"
        ) from None
    if not parts:
        return None
    total = parts[0]
    for part in parts[1:]:
        total = Binary("+", total, part)
    return Formula(f"d_{operand}", axes, total)


def renamed(
    formula: Formula, names: Mapping[str, str], params: Mapping[str, float] | None = None
) -> Formula:
    """The same formula with operands called by other names and parameters put in as numbers."""
    return Formula(formula.name, formula.axes, _rename(formula.body, names, params or {}))


def _rename(node: Node, names: Mapping[str, str], params: Mapping[str, float]) -> Node:
    match node:
        case Read(operand, index):
            inner = tuple(_rename(i, names, params) for i in index)
            return Read(names.get(operand, operand), inner)
        case Param(name) if name in params:
            return Number(params[name])
        case _:
            return children_mapped(node, lambda child: _rename(child, names, params))


def _fresh(formula: Formula, taken: frozenset[str]) -> Formula:
    """The formula with every axis that shares a name with the operand's axes renamed apart."""
    mine = {*formula.axes, *(n.axis for n in walk(formula.body) if isinstance(n, Reduce))}
    names = {axis: f"{axis}_out" for axis in mine & taken}
    return formula.along(names)


Contribution = tuple[tuple[Node, ...], Node, tuple[str, ...]]
"""Index of a read, the gradient that arrives there, and the reduced axes around it."""


def _reads_of(formula: Formula, operand: str, upstream: Node) -> Iterator[Contribution]:
    output = Read(formula.name, tuple(Axis(axis) for axis in formula.axes))
    yield from _pull(formula.body, operand, upstream, (), output)


def _pull(
    node: Node, operand: str, adjoint: Node, bound: tuple[str, ...], output: Node | None
) -> Iterator[Contribution]:
    """Reverse accumulation; `output` is the recorded value of `node`, where it is known."""
    match node:
        case Read(name, index):
            if name == operand:
                yield index, adjoint, bound
        case Unary(function, x) if function in RULES:
            slope = _slope(RULES[function], x, output or node)
            yield from _pull(x, operand, _times(adjoint, slope), bound, None)
        case Binary("+", a, b):
            yield from _pull(a, operand, adjoint, bound, None)
            yield from _pull(b, operand, adjoint, bound, None)
        case Binary("-", a, b):
            yield from _pull(a, operand, adjoint, bound, None)
            yield from _pull(b, operand, Unary("neg", adjoint), bound, None)
        case Binary("*", a, b):
            yield from _pull(a, operand, _times(adjoint, b), bound, None)
            yield from _pull(b, operand, _times(adjoint, a), bound, None)
        case Binary("/", a, b):
            yield from _pull(a, operand, Binary("/", adjoint, b), bound, None)
            fall = Binary("/", _times(adjoint, output or node), b)
            yield from _pull(b, operand, Unary("neg", fall), bound, None)
        case Binary("**", a, b):
            less = Number(b.value - 1) if isinstance(b, Number) else Binary("-", b, ONE)
            slope = Binary("*", b, Binary("**", a, less))
            yield from _pull(a, operand, _times(adjoint, slope), bound, None)
            growth = Binary("*", output or node, Unary("log", a))
            yield from _pull(b, operand, _times(adjoint, growth), bound, None)
        case Binary(name) | Reduce(name) if name in FLAT:
            return
        case Select(condition, a, b):
            yield from _pull(a, operand, Select(condition, adjoint, ZERO), bound, None)
            yield from _pull(b, operand, Select(condition, ZERO, adjoint), bound, None)
        case Reduce("sum", axis, body):
            yield from _pull(body, operand, adjoint, (*bound, axis), None)
        case Reduce("mean", axis, body):
            share = Binary("/", adjoint, Size(axis))
            yield from _pull(body, operand, share, (*bound, axis), None)
        case Reduce("max", axis, body):
            yield from _pull(
                body, operand, _share_of_max(node, adjoint, output), (*bound, axis), None
            )
        case _:
            if any(isinstance(part, Read) and part.operand == operand for part in walk(node)):
                raise _NoRuleError(_name(node))


def _name(node: Node) -> str:
    match node:
        case Unary(name) | Binary(name) | Reduce(name):
            return name
        case _:
            return type(node).__name__


def _share_of_max(node: Reduce, adjoint: Node, output: Node | None) -> Node:
    """The largest element takes the gradient; equal largest ones share it (as in PyTorch)."""
    largest = output or node
    tie = f"{node.axis}_tie"
    other = substitute(node.body, {node.axis: Axis(tie)})
    count = Reduce("sum", tie, Select(Binary("==", other, largest), ONE, ZERO))
    return Select(Binary("==", node.body, largest), Binary("/", adjoint, count), ZERO)


def _slope(rule: Function, x: Node, value: Node) -> Node:
    """The slope of a function at x, where it is `value`."""

    def put_in(node: Node) -> Node:
        if node == X:
            return x
        return value if node == VALUE else children_mapped(node, put_in)

    return put_in(rule.slope)


def _times(a: Node, b: Node) -> Node:
    if b == Number(-1):
        return Unary("neg", a)
    return Binary("*", a, b)


def _gather(
    index: tuple[Node, ...], adjoint: Node, free: tuple[str, ...], axes: tuple[str, ...]
) -> Node:
    """Sum the adjoint over all points of `free` at which the read's index is the operand's element.

    An index that is a plain axis fixes that axis; any other (a table row picked by a token id)
    becomes a condition inside the sum.
    """
    fixed: dict[str, Node] = {}
    conditions: list[tuple[Node, str]] = []
    for expression, axis in zip(index, axes, strict=True):
        if (
            isinstance(expression, Axis)
            and expression.name in free
            and expression.name not in fixed
        ):
            fixed[expression.name] = Axis(axis)
        else:
            conditions.append((expression, axis))
    body = _solve(adjoint, fixed)
    for expression, axis in reversed(conditions):
        body = Select(Binary("==", _solve(expression, fixed), Axis(axis)), body, ZERO)
    for axis in reversed([axis for axis in free if axis not in fixed]):
        body = Reduce("sum", axis, body)
    return body


def _solve(node: Node, fixed: Mapping[str, Node]) -> Node:
    names = {axis: target.name for axis, target in fixed.items() if isinstance(target, Axis)}
    return rename_axes(node, names)
