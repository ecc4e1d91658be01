"""The numbers of a value are counted where they are finite, and a table is flattened."""

import math

import pytest
import torch

from glassformer.errors import GlassformerError
from glassformer.lab.embeddings import flattened
from glassformer.lab.numbers import AT_A_TIME, counted


def test_numbers_that_are_not_finite_are_left_out_of_the_counts():
    result = counted(torch.tensor([math.inf, 1.0, -2.0, math.nan]))
    assert (result.finite, result.mean, result.largest, sum(result.counts)) == (2, -0.5, 2, 2)
    assert counted(torch.tensor([math.nan])).finite == 0


def test_the_largest_is_found_beyond_the_first_part():
    value = torch.zeros(3, AT_A_TIME)
    value[2, 5] = -4.0
    assert counted(value).largest == 2 * AT_A_TIME + 5


def test_a_table_turned_about_zero_has_its_picture_turned_about():
    table = torch.randn(40, 7, generator=torch.Generator().manual_seed(3))
    one, other = flattened(table), flattened(-table)
    assert torch.allclose(one.x, -other.x, atol=1e-12)
    assert torch.allclose(one.y, -other.y, atol=1e-12)


def test_what_is_no_finite_table_is_refused():
    with pytest.raises(GlassformerError, match="no table"):
        flattened(torch.zeros(3))
    with pytest.raises(GlassformerError, match="not finite"):
        flattened(torch.tensor([[1.0, math.nan], [2.0, 3.0]]))
