"""How values lie in memory: shapes and strides, one of which may grow with the text."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from glassformer.formula.nodes import (
    Axis,
    Read,
    walk,
)
from glassformer.formula.tree import Formula


@dataclass(frozen=True)
class Extent:
    """A length or a stride; one that `symbolic` is times `n`, the number of tokens so far."""

    times: int
    symbolic: bool = False

    def __mul__(self, other: Extent) -> Extent:
        if self.symbolic and other.symbolic:
            raise ValueError("only one axis of a value may grow")
        return Extent(self.times * other.times, self.symbolic or other.symbolic)

    def __str__(self) -> str:
        return f"({self.times} * n)" if self.symbolic else str(self.times)


NONE, ONE = Extent(0), Extent(1)


@dataclass(frozen=True)
class Layout:
    """How an operand lies in memory, in elements; `integer` for 64-bit integers."""

    shape: tuple[Extent, ...]
    strides: tuple[Extent, ...]
    integer: bool = False


def dense(shape: tuple[Extent, ...]) -> Layout:
    """Row after row, nothing between them."""
    strides = [ONE]
    for extent in reversed(shape[1:]):
        strides.append(strides[-1] * extent)
    return Layout(shape, tuple(reversed(strides)) if shape else ())


def lengths(formula: Formula, operands: Mapping[str, Layout]) -> dict[str, Extent]:
    """The length of every axis that indexes an operand directly."""
    return {
        index.name: length
        for node in walk(formula.body)
        if isinstance(node, Read)
        for index, length in zip(node.index, operands[node.operand].shape, strict=True)
        if isinstance(index, Axis)
    }
