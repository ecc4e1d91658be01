"""The nodes of a trace as a story: chapters, their sections, and in each what is told at length."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from fnmatch import fnmatchcase

from glassformer.ops.op import Role
from glassformer.trace import Node, Trace

# told in one line unless everything is asked for
BETWEEN: set[Role | None] = {"copy", "intermediate"}
_BLOCK = re.compile(r"(?:.*\.)?blocks\.(\d+)\.")
_SECTIONS = {
    "ln1": "Norm",
    "ln_cross": "Norm",
    "ln2": "Norm",
    "attn": "Attention",
    "cross_attn": "Cross-attention (to the source)",
    "mlp": "MLP (feed-forward layer)",
}
TOWERS = {"encoder": "The source becomes vectors", "decoder": "The translation becomes vectors"}


@dataclass
class Section:
    """Nodes of one part of a block, such as attention; `title` is empty outside the parts."""

    title: str
    nodes: list[Node] = field(default_factory=list)


@dataclass
class Chapter:
    """The way in, one layer, or the way out; of two towers, of which one it is."""

    title: str
    layer: int | None
    tower: str = ""
    sections: list[Section] = field(default_factory=list)


def layer_of(node: Node) -> int | None:
    """The number of the block that a node belongs to; None outside the blocks.

    A weight's name has the same form as a node's.
    """
    match = _BLOCK.match(node.name)
    return int(match[1]) if match else None


def forward_nodes(trace: Trace) -> list[Node]:
    return [node for node in trace.computed if node.kind == "fwd"]


def n_layers(trace: Trace) -> int:
    layers = (layer_of(node) for node in forward_nodes(trace))
    return 1 + max((layer for layer in layers if layer is not None), default=-1)


def tower_of(node: Node) -> str:
    """The tower that a node belongs to: encoder, decoder, or none where there is one alone."""
    first = node.name.partition(".")[0]
    return first if first in TOWERS else ""


def chapters(trace: Trace) -> list[Chapter]:
    """The nodes of the forward pass in story order."""
    result: list[Chapter] = []
    nodes = forward_nodes(trace)
    last = {
        tower: max((layer_of(node) or 0 for node in nodes if tower_of(node) == tower), default=0)
        for tower in ("", *TOWERS)
    }
    for node in nodes:
        layer, tower = layer_of(node), tower_of(node)
        if not result or (result[-1].layer, result[-1].tower) != (layer, tower):
            result.append(Chapter(_title(layer, tower, last[tower], result), layer, tower))
        title = _section_title(node)
        sections = result[-1].sections
        if not sections or sections[-1].title != title:
            sections.append(Section(title))
        sections[-1].nodes.append(node)
    return result


def _title(layer: int | None, tower: str, last: int, before: list[Chapter]) -> str:
    if layer is not None:
        title = f"Layer {layer} (layers are 0 to {last})" if last else "The one layer"
        return f"{tower.capitalize()}: {title[0].lower()}{title[1:]}" if tower else title
    if not tower:
        return "Numbers become a prediction" if before else "Tokens become vectors"
    begins = all(chapter.tower != tower for chapter in before)
    return TOWERS[tower] if begins else f"{tower.capitalize()}: the end"


def _section_title(node: Node) -> str:
    part = node.name.split(".")[-2] if "." in node.name else ""
    return "Norm" if part in ("ln_embed", "ln_final") else _SECTIONS.get(part, "")


def is_between(node: Node) -> bool:
    """Whether a node is a stage on the way to one that is shown."""
    return node.role in BETWEEN


def matching(trace: Trace, pattern: str) -> list[Node]:
    """Forward nodes whose name, and values whose kind/name, fit a pattern (`*` is any text)."""
    return [
        node
        for node in trace.nodes.values()
        if fnmatchcase(node.path, pattern)
        or (node.kind == "fwd" and fnmatchcase(node.name, pattern))
    ]


def groups(nodes: list[Node]) -> Iterator[list[Node]]:
    """Nodes told together: those with one number per token (mean, variance), else one by one."""
    together: list[Node] = []
    for node in nodes:
        if node.axes in (("batch", "pos"), ("batch", "source_pos")):
            together.append(node)
            continue
        if together:
            yield together
            together = []
        yield [node]
    if together:
        yield together
