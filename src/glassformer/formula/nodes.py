"""The nodes of a formula's tree, and what is done with any tree: walk it, change it, index it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

REDUCTIONS = ("sum", "mean", "max", "argmax")
OPERATORS = ("+", "-", "*", "/", "//", "%", "**", "<", "<=", ">", ">=", "==", "!=")


@dataclass(frozen=True)
class Number:
    value: float


@dataclass(frozen=True)
class Axis:
    """The index along an axis, used as a number."""

    name: str


@dataclass(frozen=True)
class Size:
    """The length of an axis."""

    axis: str


@dataclass(frozen=True)
class Param:
    """A constant that the step recorded, such as ``eps``."""

    name: str


@dataclass(frozen=True)
class Read:
    """One element of an operand."""

    operand: str
    index: tuple[Node, ...]


@dataclass(frozen=True)
class Unary:
    function: str
    x: Node


@dataclass(frozen=True)
class Binary:
    operator: str
    a: Node
    b: Node


@dataclass(frozen=True)
class Select:
    condition: Node
    a: Node
    b: Node


@dataclass(frozen=True)
class Reduce:
    kind: str
    axis: str
    body: Node


@dataclass(frozen=True)
class Drawn:
    """A number that was drawn at random and recorded; nothing computes it."""


Node = Number | Axis | Size | Param | Read | Unary | Binary | Select | Reduce | Drawn


def walk(node: Node) -> Iterator[Node]:
    """Every node of a tree, parents first."""
    yield node
    for child in children(node):
        yield from walk(child)


def children(node: Node) -> tuple[Node, ...]:
    match node:
        case Read(_, index):
            return index
        case Unary(_, x):
            return (x,)
        case Binary(_, a, b):
            return (a, b)
        case Select(condition, a, b):
            return (condition, a, b)
        case Reduce(_, _, body):
            return (body,)
        case _:
            return ()


def outermost(node: Node) -> Iterator[Reduce]:
    """The sums, means, maxima and argmaxes that are not part of another one."""
    if isinstance(node, Reduce):
        yield node
        return
    for child in children(node):
        yield from outermost(child)


def counted(node: Node) -> Iterator[str]:
    """The axes whose index or length is used as a number."""
    if isinstance(node, Axis):
        yield node.name
    if isinstance(node, Size):
        yield node.axis
    for child in children(node):
        if not (isinstance(node, Read) and isinstance(child, Axis)):
            yield from counted(child)


def children_mapped(node: Node, change: Callable[[Node], Node]) -> Node:
    """The same node over changed children."""
    match node:
        case Read(operand, index):
            return Read(operand, tuple(change(i) for i in index))
        case Unary(function, x):
            return Unary(function, change(x))
        case Binary(operator, a, b):
            return Binary(operator, change(a), change(b))
        case Select(condition, a, b):
            return Select(change(condition), change(a), change(b))
        case Reduce(kind, axis, body):
            return Reduce(kind, axis, change(body))
        case _:
            return node


def substitute(node: Node, replace: Mapping[str, Node]) -> Node:
    """The tree with axes replaced by index expressions (bound axes are left alone)."""
    match node:
        case Axis(name):
            return replace.get(name, node)
        case Reduce(kind, axis, body):
            inner = {name: value for name, value in replace.items() if name != axis}
            return Reduce(kind, axis, substitute(body, inner))
        case _:
            return children_mapped(node, lambda child: substitute(child, replace))


def rename_axes(node: Node, names: Mapping[str, str]) -> Node:
    """The tree over axes of other names, bound ones too."""
    match node:
        case Axis(name):
            return Axis(names.get(name, name))
        case Size(axis):
            return Size(names.get(axis, axis))
        case Reduce(kind, axis, body):
            return Reduce(kind, names.get(axis, axis), rename_axes(body, names))
        case _:
            return children_mapped(node, lambda child: rename_axes(child, names))
