"""A node's value as matrices: what leads, what goes down, what goes across."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import torch

from glassformer.show.labels import word_at
from glassformer.trace import Node, Trace
from glassformer.trace.predicted import is_attention as is_attention


@dataclass(frozen=True)
class Layout:
    """Which axis of a value leads (one matrix per index), which are its rows and columns.

    Attention is query row by key column; else rows are tokens and columns dimensions.
    """

    lead: tuple[str, ...]
    row: str | None
    column: str | None


def layout(node: Node) -> Layout:
    """How to lay out a node; of a batch the first text is shown."""
    axes = [axis for axis in node.axes if axis != "batch"]
    rows: Iterable[str] = ("pos", "query", "source_query")
    row = next((axis for axis in rows if axis in axes), None)
    if row is None:
        if len(axes) < 2:
            return Layout((), None, axes[0] if axes else None)
        row = axes[-2]
    rest = [axis for axis in axes if axis != row]
    keys = [axis for axis in rest if axis in ("key", "source_key")]
    column = [*rest, *keys][-1] if rest else None
    return Layout(tuple(axis for axis in rest if axis != column), row, column)


def array(trace: Trace, node: Node) -> np.ndarray:
    """The value in numpy, exactly: a narrower float is widened, whole numbers stay whole."""
    value = trace.value_of(node).detach().cpu()
    return (value.double() if value.is_floating_point() else value.to(torch.int64)).numpy()


def first_text(node: Node, value: np.ndarray) -> tuple[list[str], np.ndarray]:
    """The axes without the batch, and the value of its first text."""
    if "batch" not in node.axes:
        return list(node.axes), value
    batch = node.axes.index("batch")
    return [axis for axis in node.axes if axis != "batch"], value.take(0, batch)


def matrices(trace: Trace, node: Node) -> Iterator[tuple[tuple[int, ...], np.ndarray]]:
    """(leading index, [row, column]) for every leading index; an absent axis has length 1."""
    axes, value = first_text(node, array(trace, node))
    shape = layout(node)
    order = [*shape.lead, *(axis for axis in (shape.row, shape.column) if axis is not None)]
    value = value.transpose([axes.index(axis) for axis in order])
    lead = value.shape[: len(shape.lead)]
    if shape.row is None:
        value = value.reshape(*lead, 1, -1)
    elif shape.column is None:
        value = value[..., None]
    for index in np.ndindex(*lead):
        yield index, value[index]


def axis_labels(trace: Trace, axis: str | None, n: int) -> list[str]:
    """A label for each index of an axis: its number, and its word where the trace has one."""
    if axis is None:
        return [""] * n
    digits = len(str(n - 1))
    return [f"{i:>{digits}} {word_at(trace, axis, i)}".rstrip() for i in range(n)]


def size(node: Node, axis: str | None) -> int:
    return 1 if axis is None else node.shape[node.axes.index(axis)]


def masked_cells(trace: Trace, node: Node) -> np.ndarray:
    """Which [query, key] cells are masked: keys that nobody may look at, or not this query."""
    scores = trace.nodes.get(f"{node.path.rpartition('.')[0]}.attn_scores")
    shape = size(node, "query"), size(node, "key")
    if scores is None or scores.role != "masked_score" or node.role == "score":
        return np.zeros(shape, dtype=bool)
    if scores.value is None:
        return np.triu(np.ones(shape, dtype=bool), 1)
    axes = scores.axes
    index = tuple(slice(None) if axis in ("query", "key") else 0 for axis in axes)
    hidden: np.ndarray = np.isneginf(array(trace, scores)[index])
    return hidden


def has_sink(trace: Trace, node: Node) -> bool:
    """Whether attention weights sum to less than 1: a score of the head's own takes the rest."""
    return f"{node.path.rpartition('.')[0]}.sink_exp" in trace.nodes


def why_masked(*masks: np.ndarray) -> str:
    """What the masked cells of one or several maps [query, key] are.

    >>> why_masked(np.array([[False, True], [False, False]]))
    'a later token'
    >>> why_masked(np.array([[False, True], [False, True]]))
    'padding'
    >>> why_masked(np.tri(3, k=-2) + np.triu(np.ones((3, 3)), 1) > 0)
    'a later token or a token outside its window'
    """
    reasons = {reason for masked in masks for reason in _reasons(masked)}
    if DOCUMENT in reasons:
        reasons.discard(WINDOW)
    return " or ".join(reason for reason in REASONS if reason in reasons)


LATER, PADDING, WINDOW = "a later token", "padding", "a token outside its window"
DOCUMENT = "a token outside its window or document"
REASONS = LATER, PADDING, WINDOW, DOCUMENT


def _reasons(masked: np.ndarray) -> Iterator[str]:
    later = np.triu(np.ones(masked.shape, dtype=bool), 1)
    padding = np.broadcast_to(masked.all(0), masked.shape)
    causal = bool(masked[later].all()) and not padding[:, -1:].any()
    rest = masked & ~later if causal else masked
    outside = rest & ~padding
    if causal and later.any():
        yield LATER
    if (rest & padding).any():
        yield PADDING
    if outside.any():
        yield WINDOW if _is_window(outside, ~padding & ~(causal & later)) else DOCUMENT


def _is_window(outside: np.ndarray, others: np.ndarray) -> bool:
    """Whether those outside [query, key] are all that are so far away, or farther."""
    query, key = np.indices(outside.shape)
    far = np.abs(query - key)
    return bool(outside[others & (far >= far[outside].min())].all())


def probabilities(trace: Trace) -> np.ndarray | None:
    """Probabilities [pos, vocab] of the next token; None where the trace kept no way to them."""
    nodes = trace.nodes
    if "fwd/probs" in nodes and nodes["fwd/probs"].value is not None:
        return array(trace, nodes["fwd/probs"])[0]
    if "fwd/logits" in nodes and nodes["fwd/logits"].value is not None:
        logits = array(trace, nodes["fwd/logits"])[0]
        exponentials = np.exp(logits - logits.max(-1, keepdims=True))
        shares: np.ndarray = exponentials / exponentials.sum(-1, keepdims=True)
        return shares
    return None
