"""Who was routed where: the experts that each token went to, and with what weight."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from glassformer.show.stages import layer_of
from glassformer.trace import Node


def routes(nodes: Iterable[Node]) -> dict[int, Node]:
    """The weights [batch, pos, expert] of every layer that has experts, 0 where nobody goes."""
    return {
        layer: node  # the last one of a layer: those before it are of all experts
        for node in nodes
        if node.role == "probability"
        and node.axes[-1:] == ("expert",)
        and (layer := layer_of(node)) is not None
    }


def chosen(weights: np.ndarray) -> list[tuple[int, float]]:
    """The experts of one token that have a weight [expert], the largest first.

    >>> chosen(np.array([0.0, 0.25, 0.0, 0.75]))
    [(3, 0.75), (1, 0.25)]
    """
    order = np.argsort(-weights, kind="stable")
    return [(int(i), float(weights[i])) for i in order if weights[i] > 0]
