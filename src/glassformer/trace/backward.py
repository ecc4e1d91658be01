"""The backward pass, recorded: the gradient of the loss for every value and every weight.

PyTorch's autograd computes the numbers; the formulas say why. A gradient is the sum, over every
node that read the value, of upstream gradient times local derivative, and each such term is derived
from that node's own formula (`formula.derive`). So ``bwd/NAME`` is a node like any other: its
operands are upstream gradients and forward values, and following them ends at ``bwd/loss``, which
is 1.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from torch import Tensor

from glassformer.formula.derive import gradient, renamed
from glassformer.formula.nodes import Binary, Number
from glassformer.formula.nodes import Node as Tree
from glassformer.formula.tree import Formula
from glassformer.trace.graph import Graph
from glassformer.trace.node import GRADIENT, UNEDITED, Node

LOSS = "fwd/loss"

_gradient = lru_cache(maxsize=4096)(gradient)

_Items = tuple[tuple[str, Any], ...]


@lru_cache(maxsize=4096)
def _renamed(local: Formula, names: _Items, params: _Items) -> Tree:
    """The body of a local gradient in the names of its trace; every layer has the same."""
    return renamed(local, dict(names), dict(params)).body


def add_gradients(trace: Graph, gradients: Mapping[str, Tensor | None]) -> None:
    """Record a ``bwd/`` node for each path of `gradients`; the loss and every consumer included.

    None is a gradient that there is and that nobody keeps.
    """
    for path, value in gradients.items():
        source = trace.nodes[path]
        formula, operands = _explain(trace, source, gradients)
        trace.add(
            Node(
                path=gradient_path(path),
                op=GRADIENT,
                formula=formula,
                operands=operands,
                params={},
                axes=source.axes,
                shape=source.shape,
                dtype=source.dtype if value is None else value.dtype,
                value=value,
                role="value",
            )
        )


def gradient_path(path: str) -> str:
    """Where the gradient of the value at `path` is found."""
    return f"bwd/{path.partition('/')[2]}"


def _explain(
    trace: Graph, source: Node, gradients: Mapping[str, Tensor | None]
) -> tuple[Formula, dict[str, str]]:
    """The gradient of a value as the sum of what its consumers send back."""
    name = f"d_{source.short}"
    if source.path == LOSS:
        return Formula(name, (), Number(1)), {}
    total: Tree | None = None
    paths_by_symbol: dict[str, str] = {}  # the operands by their names in the formula
    for consumer, operand in trace.consumers(source.path):
        if consumer.path not in gradients or consumer.formula is None:
            continue
        local = _gradient(consumer.formula, operand, source.axes)
        if local is None:
            continue
        output = consumer.formula.name
        paths = {
            **consumer.operands,
            output: consumer.path,
            f"d_{output}": gradient_path(consumer.path),
        }
        if consumer.edited:  # nothing else reads what an edit reads
            return local, {o: paths[o] for o in local.operands}
        names = tuple((o, _symbol(paths[o], paths_by_symbol)) for o in local.operands)
        body = _renamed(local, names, tuple(consumer.params.items()))
        total = body if total is None else Binary("+", total, body)
    return Formula(name, source.axes, Number(0) if total is None else total), paths_by_symbol


def _symbol(path: str, paths_by_symbol: dict[str, str]) -> str:
    """A name for `path` that no other path of this formula has."""
    short = path.rpartition("/")[2].rpartition(".")[2].removesuffix(UNEDITED)
    plain = f"d_{short}" if path.startswith("bwd/") else short
    symbol, n = plain, 1
    while paths_by_symbol.setdefault(symbol, path) != path:
        n += 1
        symbol = f"{plain}_{n}"
    return symbol
