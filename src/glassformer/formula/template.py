"""A formula over any axes, written out for some.

In a template's text ``*B`` stands for a group of axes, none or several, and a bare capital letter
for exactly one; ``sum(*I, body)`` sums over all of I. Written out, a group is its axes in order:

    y[*B, *O] = sum(*I, x[*B, *I] * W[*I, *O])      with B = batch pos, I = head d_head, O = d_model
    y[batch, pos, d_model] = sum(head, sum(d_head, x[batch, pos, head, d_head] * W[...]))

In an operand's place may stand a number, made of axes and parameters:

    y[*B, *A] = x[*B, *A] / row[*B]    with row = sqrt(d_head):    y[key] = x[key] / sqrt(d_head)
"""

from __future__ import annotations

import ast
from collections.abc import Mapping

from glassformer.formula.nodes import REDUCTIONS, Axis, Node, Read, Reduce, children_mapped
from glassformer.formula.tree import Formula

Axes = Mapping[str, tuple[str, ...]]
"""The axes that each group stands for, in order."""

NO_NUMBERS: Mapping[str, str] = {}


def groups_of(text: str) -> set[str]:
    """The groups of a template: names in capitals that are not an operand.

    >>> sorted(groups_of("y[*B, A] = x[*B, A] * W[A]"))
    ['A', 'B']
    """
    tree = ast.parse(text.partition("=")[2].strip(), mode="eval")
    left = ast.parse(text.partition("=")[0].strip(), mode="eval")
    operands = {n.value for n in (*ast.walk(tree), *ast.walk(left)) if isinstance(n, ast.Subscript)}
    names = [n for n in (*ast.walk(tree), *ast.walk(left)) if isinstance(n, ast.Name)]
    return {n.id for n in names if n.id.isupper() and n not in operands}


def expand(
    text: str,
    output: str,
    axes: Axes,
    operands: Mapping[str, str],
    numbers: Mapping[str, str] = NO_NUMBERS,
) -> Formula:
    """A template's formula for these axes, with its output and operands renamed.

    Parameters too. An operand's new name may come with its axes in another order, fewer of them, or
    what is reckoned from them (``head // group``), read at them (``experts[pos, choice]``) or fixed
    (``0``).
    `numbers`: what stands in an operand's place, made of axes and parameters.

    >>> axes = {"O": ("head", "query", "key"), "I": ("d_head",)}
    >>> names = {"a": "q[query, head, d_head]", "b": "k[key, head, d_head]"}
    >>> str(expand("y[*O] = sum(*I, a[*O, *I] * b[*O, *I])", "scores", axes, names))
    'scores[head, query, key] = sum(d_head, q[query, head, d_head] * k[key, head, d_head])'
    >>> str(expand("y[*A] = x[*A] * w[*A]", "y", {"A": ("i",)}, {}, {"w": "1 - lr"}))
    'y[i] = x[i] * (1 - lr)'
    """
    left, _, right = text.partition("=")
    target = ast.parse(left.strip(), mode="eval").body
    body = ast.parse(right.strip(), mode="eval").body
    written = _Written(axes, operands, {name: _number(text) for name, text in numbers.items()})
    indices = written.indices(target.slice) if isinstance(target, ast.Subscript) else []
    inside = ", ".join(ast.unparse(index) for index in indices)
    name = f"{output}[{inside}]" if inside else output
    return Formula.parse(f"{name} = {ast.unparse(written.visit(body))}")


def _number(text: str) -> ast.expr:
    number = ast.parse(text, mode="eval").body
    if any(isinstance(node, ast.Subscript) for node in ast.walk(number)):
        raise ValueError(f"{text!r} reads an operand; a number is made of axes and parameters")
    return number


def over(formula: Formula, axes: tuple[str, ...]) -> Formula:
    """A formula of any value, such as a weight, written out for one of these axes.

    `element` stands for all axes; where a weight is read as a matrix [d_model, rest], `rest` stands
    for all but d_model, and the index beside it takes d_model's place.

    >>> clipped = Formula.parse("g[element] = d_w[element] * clip[()]")
    >>> str(over(clipped, ("d_model", "d_mlp")))
    'g[d_model, d_mlp] = d_w[d_model, d_mlp] * clip[()]'
    >>> square = Formula.parse("y[d_model, other] = sum(rest, x[d_model, rest] * x[other, rest])")
    >>> str(over(square, ("head", "d_model", "d_head")))
    'y[d_model, other] = sum(head, sum(d_head, x[head, d_model, d_head] * x[head, other, d_head]))'
    """
    output_axes = formula.axes
    if output_axes == ("element",) or "rest" in output_axes:
        output_axes = axes
    return Formula(formula.name, output_axes, _over(formula.body, axes))


class _Written(ast.NodeTransformer):
    """Groups become their axes, operands get their own names or a number in their place."""

    def __init__(
        self, axes: Axes, operands: Mapping[str, str], numbers: Mapping[str, ast.expr]
    ) -> None:
        self.axes, self.operands, self.numbers = axes, operands, numbers

    def indices(self, index: ast.expr) -> list[ast.expr]:
        parts = index.elts if isinstance(index, ast.Tuple) else [index]
        return [written for part in parts for written in self._index(part)]

    def _index(self, part: ast.expr) -> list[ast.expr]:
        if isinstance(part, ast.Starred) and isinstance(part.value, ast.Name):
            return [ast.Name(axis) for axis in self.axes[part.value.id]]
        return [self.visit(part)]

    def visit_Name(self, node: ast.Name) -> ast.expr:
        if node.id in self.axes:
            (axis,) = self.axes[node.id]
            return ast.Name(axis)
        return ast.Name(self.operands.get(node.id, node.id))

    def visit_Subscript(self, node: ast.Subscript) -> ast.expr:
        assert isinstance(node.value, ast.Name), ast.unparse(node)
        if node.value.id in self.numbers:
            return self.numbers[node.value.id]
        renamed = self.operands.get(node.value.id, node.value.id)
        index = self.indices(node.slice)
        name, _, order = renamed.partition("[")
        if order:
            chosen = ast.parse(f"({order.removesuffix(']')},)", mode="eval").body
            assert isinstance(chosen, ast.Tuple), renamed
            known = {name for part in index for name in _names(part)}
            anywhere = {axis for axes in self.axes.values() for axis in axes}
            if not all(
                isinstance(part, ast.Constant)
                or _names(part) & (anywhere if isinstance(part, ast.Subscript) else known)
                for part in chosen.elts
            ):
                raise ValueError(f"{renamed}: the template reads {ast.unparse(node)}")
            index = chosen.elts
        return ast.Subscript(ast.Name(name), ast.Tuple(index))

    def visit_Call(self, node: ast.Call) -> ast.expr:
        assert isinstance(node.func, ast.Name), ast.unparse(node)
        if node.func.id not in REDUCTIONS:
            return ast.Call(node.func, [self.visit(argument) for argument in node.args], [])
        run = node.args[0]
        body: ast.expr = self.visit(node.args[1])
        for axis in reversed(self._index(run)):
            body = ast.Call(node.func, [axis, body], [])
        return body


def _names(expression: ast.expr) -> set[str]:
    return {node.id for node in ast.walk(expression) if isinstance(node, ast.Name)}


def _over(node: Node, axes: tuple[str, ...]) -> Node:
    match node:
        case Read(operand, (Axis("element"),)):
            return Read(operand, tuple(Axis(axis) for axis in axes))
        case Read(operand, (row, Axis("rest"))):
            indices = (row if axis == "d_model" else Axis(axis) for axis in axes)
            return Read(operand, tuple(indices))
        case Reduce(kind, "element" | "rest" as run, body):
            inner = _over(body, axes)
            for axis in reversed(axes):
                if run == "element" or axis != "d_model":
                    inner = Reduce(kind, axis, inner)
            return inner
        case _:
            return children_mapped(node, lambda child: _over(child, axes))
