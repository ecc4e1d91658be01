"""Where a trace's probabilities are a prediction: after the last token, or in every blank."""

from __future__ import annotations

from glassformer.trace.graph import Graph
from glassformer.trace.node import Node

BLANKS = ("[MASK]", "<mask>")
"""Words of tokens that hide another one."""


def is_attention(node: Node) -> bool:
    """Whether a value is who attends to whom, query by key."""
    return node.role == "probability" and {"query", "key"} <= set(node.axes)


def looks(node: Node) -> bool:
    """The same of any attention, within a source and from a translation to it too."""
    axes = {axis.removeprefix("source_") for axis in node.axes}
    return node.role == "probability" and {"query", "key"} <= axes


def sees_both_ways(trace: Graph) -> bool:
    """Whether tokens attend to later ones: then logits say what stands here, not what comes."""
    if any(word in BLANKS for word in trace.labels.get("pos", ())):
        return True
    patterns = (node for node in trace.computed if is_attention(node) and node.value is not None)
    pattern = next(patterns, None)
    return pattern is not None and bool((trace.value_of(pattern)[..., 0, 1:] > 0).any())


def predicted(trace: Graph, n: int) -> list[int]:
    """The positions, of n, at which a prediction stands.

    The last one; where tokens see those after them too, those of the blanks.
    """
    if not sees_both_ways(trace):
        return [n - 1]
    return [pos for pos, word in enumerate(trace.labels.get("pos", ())) if word in BLANKS]


def asked_pos(trace: Graph, n: int) -> int:
    """The position, of n, whose prediction is looked at: the first blank, else the last token."""
    return (predicted(trace, n) or [n - 1])[0]
