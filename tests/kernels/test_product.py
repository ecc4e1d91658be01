"""Products are the same numbers whoever multiplies them, and so are their gradients."""

import subprocess
import sys

import pytest
import torch

from glassformer.kernels import product as kernels
from glassformer.kernels.product import LEAST_PRODUCTS, product

SIZES = [
    (64, 128, 384),  # oneDNN's
    (8, 512, 257),
    (3, 1024, 1024),  # MKL's: too few rows
    (7, 9, 11),  # and too few products
]
GAMMA = 2e-6
"""Relative to the sum of absolute terms: sums of 1,024 fp32 terms, rounded in whatever order."""


@pytest.fixture(autouse=True, params=[False, True], ids=["MKL", "oneDNN"])
def multiplier(request, monkeypatch):
    """Both, whichever suits the processor of this machine."""
    monkeypatch.setattr(kernels, "ONEDNN", request.param)
    return request.param


def terms(left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
    """The sum of absolute terms of each element of left @ right."""
    return left.double().abs() @ right.double().abs()


@pytest.mark.parametrize("transposed", [False, True], ids=["as stored", "turned, as when tied"])
@pytest.mark.parametrize("biased", [False, True], ids=["no bias", "bias"])
@pytest.mark.parametrize(("rows", "width", "out"), SIZES)
def test_a_product_and_its_gradients_are_those_of_float64(rows, width, out, biased, transposed):
    torch.manual_seed(0)
    stored = torch.randn(out, width) if transposed else torch.randn(width, out)
    stored.requires_grad_()
    W = stored.T if transposed else stored
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
    if transposed:
        d_stored, d_bound = d_W.T, d_bound.T
    assert ((stored.grad - d_stored).abs() <= GAMMA * d_bound).all()
    assert stored.grad.is_contiguous(), "in the weight's own memory order"
    if b is not None:
        assert b.grad is not None
        assert torch.allclose(b.grad.double(), upstream.double().sum(0), atol=1e-4)


@pytest.mark.parametrize("wanted", ["rows", "W", "b", "rows b", "W b"])
def test_whatever_asks_for_a_gradient_gets_one(wanted):
    torch.manual_seed(0)
    shapes = {"rows": (64, 128), "W": (128, 384), "b": (384,)}
    operands = {n: torch.randn(s, requires_grad=n in wanted.split()) for n, s in shapes.items()}
    product(**operands).square().mean().backward()
    assert {name for name, tensor in operands.items() if tensor.grad is not None} == {
        *wanted.split()
    }


def test_a_gradient_has_a_gradient():
    torch.manual_seed(0)
    x, W = torch.randn(64, 128, requires_grad=True), torch.randn(128, 384, requires_grad=True)

    def curvature(x: torch.Tensor, W: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        (d_x,) = torch.autograd.grad(y.square().sum(), x, create_graph=True)
        return torch.autograd.grad(d_x.square().sum(), W)[0]

    ours = curvature(x, W, product(x, W, None))
    exact_x, exact_W = (t.detach().double().requires_grad_() for t in (x, W))
    exact = curvature(exact_x, exact_W, exact_x @ exact_W)
    assert (ours - exact).abs().max() <= 1e-5 * exact.abs().max()  # four fp32 products in a row


def test_onednn_that_is_switched_off_is_not_asked():
    x, W = torch.randn(64, 128), torch.randn(128, 384)
    with torch.backends.mkldnn.flags(enabled=False):
        assert torch.equal(product(x, W, None), x @ W)


@pytest.mark.heavy  # it compiles, for what one maker's processors multiply with
def test_a_product_of_its_own_is_compiled_into_one_graph(multiplier):
    # without the tests' type checks, which do not go with torch.compile
    code = f"""
import torch
from glassformer.kernels import product as kernels
from glassformer.kernels.product import product
kernels.ONEDNN = {multiplier}
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
