"""The embedding table as a space: which tokens lie near each other, and a - b + c."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from glassformer.checked import COUNT, whole
from glassformer.errors import GlassformerError
from glassformer.formula.arithmetic import Joined, Line, Put, line

TINY = 1e-300
"""Stands for a length of zero in a division."""

ROWS = 4096  # of a table, turned into float64 at a time


@dataclass(frozen=True)
class Neighbor:
    """A token and how nearly its vector points the way that was asked about.

    cosine = dot / (length * asked): `length` is that of the token's vector, `asked` of the other.
    `word` is the token's text, where that is known.
    """

    token: int
    cosine: float
    dot: float
    length: float
    other_length: float
    word: str = ""

    @property
    def arithmetic(self) -> Line:
        """The cosine with the numbers put in: dot / (length * length)."""
        lengths = Joined("*", Put(self.other_length), Put(self.length))
        return line(Joined("/", Put(self.dot), lengths), self.cosine)


def neighbors(W_E: Tensor, vector: Tensor, n: int, without: frozenset[int]) -> list[Neighbor]:
    """The n tokens whose embeddings point most nearly the same way as `vector` [d_model].

    W_E [vocab, d_model]; everything in float64.
    """
    n = whole("n", n, COUNT)
    table, vector = W_E.detach().double(), vector.detach().double()
    dots, lengths, other_length = table @ vector, table.norm(dim=1), vector.norm()
    cosines = dots / (lengths * other_length).clamp_min(TINY)
    order = torch.argsort(cosines, descending=True, stable=True).tolist()
    return [
        Neighbor(i, cosines[i].item(), dots[i].item(), lengths[i].item(), other_length.item())
        for i in order
        if i not in without
    ][:n]


def nearest(W_E: Tensor, token: int, n: int = 10) -> list[Neighbor]:
    """The n tokens nearest to one token, itself left out."""
    return neighbors(W_E, W_E[token], n, frozenset({token}))


def analogy(W_E: Tensor, a: int, b: int, c: int, n: int = 10) -> list[Neighbor]:
    """The tokens nearest to a - b + c: as a is to b, so is ... to c; the three are left out.

    The words' vectors are brought to length 1 first, so that frequent words do not win by length.
    Source: Mikolov et al. 2013, "Linguistic Regularities in Continuous Space Word Representations".
    """
    if len({a, b, c}) < 3:
        raise GlassformerError("an analogy needs three different tokens: a - b + c")
    unit = W_E.detach().double()
    unit = unit / unit.norm(dim=1, keepdim=True).clamp_min(TINY)
    return neighbors(W_E, unit[a] - unit[b] + unit[c], n, frozenset({a, b, c}))


@dataclass(frozen=True)
class Flattened:
    """A table's rows in two dimensions, with the share of their variance that each holds."""

    x: Tensor
    y: Tensor
    shares: tuple[float, float]


def flattened(table: Tensor) -> Flattened:
    """Rows [n, width] seen along the two directions in which they differ most, in float64.

    (row - mean) @ direction, with the eigenvectors of largest eigenvalue of the rows' covariance.
    A direction's largest entry is positive, so that the same table always gives the same picture.
    Source: Pearson 1901, "On Lines and Planes of Closest Fit to Systems of Points in Space".

    >>> result = flattened(torch.tensor([[0.0, 1.0], [2.0, 1.0], [4.0, 1.0]]))
    >>> result.x.tolist(), result.shares
    ([-2.0, 0.0, 2.0], (1.0, 0.0))
    """
    if table.ndim != 2 or table.shape[1] < 2:
        raise GlassformerError(f"{tuple(table.shape)} is no table of vectors; give [rows, width]")
    table = table.detach()
    if not table.isfinite().all():
        raise GlassformerError("the table holds numbers that are not finite: it has no directions")
    center = table.mean(0, dtype=torch.float64)
    covariance = torch.zeros(len(center), len(center), dtype=torch.float64)
    for rows in _centered(table, center):
        covariance.addmm_(rows.T, rows)
    strengths, directions = torch.linalg.eigh(covariance / len(table))  # the weakest first
    strongest = directions[:, [-1, -2]]
    peaks = strongest.gather(0, strongest.abs().argmax(0, keepdim=True))
    strongest = strongest * torch.where(peaks < 0, -1.0, 1.0)
    coordinates = torch.cat([rows @ strongest for rows in _centered(table, center)])
    shares = (strengths[[-1, -2]] / strengths.sum().clamp_min(TINY)).tolist()
    return Flattened(coordinates[:, 0], coordinates[:, 1], (shares[0], shares[1]))


def _centered(table: Tensor, center: Tensor) -> Iterator[Tensor]:
    for rows in torch.split(table, ROWS):
        yield rows.double() - center
