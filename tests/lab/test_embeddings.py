"""Neighbors and analogies against a plain NumPy computation."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from glassformer.errors import GlassformerError
from glassformer.lab.embeddings import analogy, nearest


def table(seed: int, n: int = 9, d: int = 5) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(seed).normal(size=(n, d))).float()


def ranked(W_E: np.ndarray, vector: np.ndarray, without: set[int]) -> list[tuple[int, float]]:
    cosines = [float(row @ vector / np.linalg.norm(row) / np.linalg.norm(vector)) for row in W_E]
    order = sorted(range(len(W_E)), key=lambda i: -cosines[i])
    return [(i, cosines[i]) for i in order if i not in without]


@given(st.integers(0, 999), st.integers(0, 8))
def test_the_nearest_are_those_of_plain_numpy(seed, token):
    W_E = table(seed)
    expected = ranked(W_E.double().numpy(), W_E[token].double().numpy(), {token})
    result = nearest(W_E, token, 4)
    assert [neighbor.token for neighbor in result] == [i for i, _ in expected[:4]]
    for neighbor, (_, cosine) in zip(result, expected, strict=False):
        # float64, five terms
        assert neighbor.cosine == pytest.approx(cosine, abs=1e-13)
        assert neighbor.cosine == neighbor.dot / (neighbor.length * neighbor.other_length)


@given(st.integers(0, 999), st.permutations(range(9)))
def test_an_analogy_is_that_of_plain_numpy(seed, order):
    a, b, c = order[:3]
    W_E = table(seed)
    unit = W_E.double().numpy()
    unit = unit / np.linalg.norm(unit, axis=1, keepdims=True)
    expected = ranked(W_E.double().numpy(), unit[a] - unit[b] + unit[c], {a, b, c})
    result = analogy(W_E, a, b, c)
    assert [neighbor.token for neighbor in result] == [i for i, _ in expected]
    assert [neighbor.cosine for neighbor in result] == pytest.approx(
        [x for _, x in expected], abs=1e-13
    )


def test_the_fourth_corner_of_a_parallelogram_is_found():
    king, man, woman, queen, tree = [1.0, 1, 0], [0.0, 1, 0], [0.0, 0, 1], [1.0, 0, 1], [-1.0, 0, 0]
    W_E = torch.tensor([king, man, woman, queen, tree])
    assert analogy(W_E, 0, 1, 2, 1)[0].token == 3


def test_a_word_of_length_zero_is_near_nothing_and_no_error():
    W_E = torch.tensor([[0.0, 0], [1.0, 0], [0.0, 1]])
    assert [neighbor.cosine for neighbor in nearest(W_E, 0)] == [0, 0]
    assert nearest(W_E, 1)[0].cosine == 0


def test_an_analogy_of_a_word_with_itself_is_refused():
    with pytest.raises(GlassformerError, match="three different tokens"):
        analogy(table(0), 1, 1, 2)
