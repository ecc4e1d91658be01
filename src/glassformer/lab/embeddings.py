"""The embedding table as a space: which tokens lie near each other, and a - b + c."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from glassformer.errors import GlassformerError

TINY = 1e-300
"""Stands for a length of zero in a division."""


@dataclass(frozen=True)
class Neighbour:
    """A token and how nearly its vector points the way that was asked about.

    cosine = dot / (length * asked): `length` is that of the token's vector, `asked` of the other.
    """

    token: int
    cosine: float
    dot: float
    length: float
    asked: float


def neighbours(W_E: Tensor, vector: Tensor, n: int, without: frozenset[int]) -> list[Neighbour]:
    """The n tokens whose embeddings point most nearly the same way as `vector` [d_model].

    W_E [vocab, d_model]; everything in float64.
    """
    table, vector = W_E.detach().double(), vector.detach().double()
    dots, lengths, asked = table @ vector, table.norm(dim=1), vector.norm()
    cosines = dots / (lengths * asked).clamp_min(TINY)
    order = torch.argsort(cosines, descending=True, stable=True).tolist()
    return [
        Neighbour(i, cosines[i].item(), dots[i].item(), lengths[i].item(), asked.item())
        for i in order
        if i not in without
    ][:n]


def nearest(W_E: Tensor, token: int, n: int = 10) -> list[Neighbour]:
    """The n tokens nearest to one token, itself left out."""
    return neighbours(W_E, W_E[token], n, frozenset({token}))


def analogy(W_E: Tensor, a: int, b: int, c: int, n: int = 10) -> list[Neighbour]:
    """The tokens nearest to a - b + c: as a is to b, so is ... to c; the three are left out.

    The words' vectors are brought to length 1 first, so that frequent words do not win by length.
    Source: Mikolov et al. 2013, "Linguistic Regularities in Continuous Space Word Representations".
    """
    if len({a, b, c}) < 3:
        raise GlassformerError("an analogy needs three different tokens: a - b + c")
    unit = W_E.detach().double()
    unit = unit / unit.norm(dim=1, keepdim=True).clamp_min(TINY)
    return neighbours(W_E, unit[a] - unit[b] + unit[c], n, frozenset({a, b, c}))
