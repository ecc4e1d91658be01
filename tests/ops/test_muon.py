"""Orthogonalizing: singular values near 1, singular vectors kept, a stack as each matrix alone."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from glassformer.formula.template import over
from glassformer.ops.muon import orthogonalize, straighten

SHAPES = st.tuples(st.integers(2, 12), st.integers(2, 12))


def random_matrix(shape: tuple[int, int], seed: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator, dtype=torch.float64)


@given(SHAPES, st.integers(0, 999))
@settings(max_examples=40)
def test_singular_values_come_near_one_and_directions_stay(shape, seed):
    # singular values of at least a tenth of the length are brought into the band in five steps
    U, _, Vh = torch.linalg.svd(random_matrix(shape, seed), full_matrices=False)
    n = min(shape)
    matrix = U @ torch.diag(torch.linspace(1.0, 0.2, n, dtype=torch.float64)) @ Vh
    orthogonal = orthogonalize.kernel(matrix, torch.float64)
    inside = U.T @ orthogonal @ Vh.T
    assert (inside - torch.diag(inside.diagonal())).abs().max() < 1e-12
    assert (inside.diagonal() > 0.65).all()
    assert (inside.diagonal() < 1.25).all()


def test_the_polynomial_is_the_same_from_either_side():
    matrix = random_matrix((5, 9), 3)
    theirs, back = (orthogonalize.kernel(m, torch.float64) for m in (matrix, matrix.T))
    torch.testing.assert_close(theirs, back.T, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16], ids=str)
def test_a_stack_is_turned_as_each_of_its_matrices(dtype):
    stack = torch.stack([random_matrix((16, 24), seed) for seed in range(6)]).to(torch.float32)
    together = orthogonalize.kernel(stack, dtype).double()
    alone = torch.stack([orthogonalize.kernel(matrix, dtype) for matrix in stack]).double()
    # entries of size 1; five iterations multiply a rounding by at most 3.4^5 = 480
    assert (together - alone).abs().max() < 500 * torch.finfo(dtype).eps
    relative = (together - alone).norm() / alone.norm()
    assert relative < 4 * torch.finfo(dtype).eps


def test_a_matrix_of_zeros_stays_one():
    assert (orthogonalize.kernel(torch.zeros(3, 4), torch.float32) == 0).all()


def test_a_weight_of_three_axes_is_written_out_in_them():
    formula = over(straighten.outputs[0], ("head", "d_head", "d_model"))
    assert str(formula) == (
        "next[head, d_head, d_model] = a * x[head, d_head, d_model]"
        " + sum(other, poly[d_model, other] * x[head, d_head, other])"
    )
