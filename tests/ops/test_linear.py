"""Products are the same numbers whoever multiplies them, and so are their gradients."""

import subprocess
import sys

import pytest
import torch

from glassformer.ops.linear import LEAST_PRODUCTS, product

SIZES = [
    (64, 128, 384),  # oneDNN's
    (8, 512, 257),
    (3, 1024, 1024),  # MKL's: too few rows
    (7, 9, 11),  # and too few products
]
GAMMA = 2e-6
"""Relative to the sum of absolute terms: sums of 1,024 fp32 terms, rounded in whatever order."""


def terms(left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
    """The sum of absolute terms of each element of left @ right."""
    return left.double().abs() @ right.double().abs()


@pytest.mark.parametrize("turned", [False, True], ids=["as stored", "turned, as when tied"])
@pytest.mark.parametrize("biased", [False, True], ids=["no bias", "bias"])
@pytest.mark.parametrize(("rows", "width", "out"), SIZES)
def test_a_product_and_its_gradients_are_those_of_float64(rows, width, out, biased, turned):
    torch.manual_seed(0)
    stored = torch.randn(out, width) if turned else torch.randn(width, out)
    stored.requires_grad_()
    W = stored.T if turned else stored
    x = torch.randn(rows, width, requires_grad=True)
    b = torch.randn(out, requires_grad=True) if biased else None
    upstream = torch.randn(rows, out)

    y = product(x, W, b)
    y.backward(upstream)

    exact = x.double() @ W.double() + (0 if b is None else b.double())
    bound = terms(x, W) + (0 if b is None else b.abs())
    assert ((y - exact).abs() <= GAMMA * bound).all()
    d_x, d_W = upstream.double() @ W.double().T, x.double().T @ upstream.double()
    assert x.grad is not None
    assert ((x.grad - d_x).abs() <= GAMMA * terms(upstream, W.T)).all()
    assert stored.grad is not None
    d_stored, d_bound = d_W, terms(x.T, upstream)
    if turned:
        d_stored, d_bound = d_W.T, d_bound.T
    assert ((stored.grad - d_stored).abs() <= GAMMA * d_bound).all()
    assert stored.grad.is_contiguous(), "in the weight's own memory order"
    if b is not None:
        assert b.grad is not None
        assert torch.allclose(b.grad.double(), upstream.double().sum(0), atol=1e-4)


def test_a_product_of_its_own_is_compiled_into_one_graph():
    # without the tests' type checks, which do not go with torch.compile
    code = f"""
import torch
from glassformer.ops.linear import product
x = torch.randn(64, 128, requires_grad=True)
W = torch.randn(128, {LEAST_PRODUCTS // 128 // 64 + 1}, requires_grad=True)
eager = product(x, W, None)
gradients = torch.autograd.grad(eager.square().sum(), (x, W))
compiled = torch.compile(product, fullgraph=True)(x, W, None)
assert torch.equal(eager, compiled)
for a, b in zip(gradients, torch.autograd.grad(compiled.square().sum(), (x, W))):
    assert torch.allclose(a, b, rtol=1e-5, atol=1e-4)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
