"""The loss over a large vocabulary: the plain one's value and gradients, without all its logits."""

import gc

import pytest
import torch
import torch.nn.functional as F

from bench.measure import peak_bytes
from glassformer.kernels import cross_entropy
from glassformer.model import Config, Decoder
from glassformer.ops import IGNORED, unembed_cross_entropy


def operands(n: int, vocab: int, dtype: torch.dtype, bias: bool = True):
    generator = torch.Generator().manual_seed(0)
    x, W, b = (
        torch.randn(shape, generator=generator, dtype=torch.float64).to(dtype).requires_grad_()
        for shape in ((2, n // 2, 6), (6, vocab), (vocab,))
    )
    targets = torch.randint(vocab, (2, n // 2), generator=generator)
    targets[0, :3] = IGNORED
    return x, W, b if bias else None, targets


def plain(x, W, b, targets, cap=0.0):
    logits = x @ W if b is None else x @ W + b
    logits = torch.tanh(logits / cap) * cap if cap else logits
    return F.cross_entropy(
        logits.flatten(0, 1).float() if logits.dtype == torch.bfloat16 else logits.flatten(0, 1),
        targets.flatten(),
        ignore_index=IGNORED,
    )


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("rows", [1, 3, 100])
@pytest.mark.parametrize("cap", [0.0, 2.0])
@pytest.mark.parametrize("compiling", [True, False])
def test_loss_and_gradients_are_those_of_all_logits_at_once(
    monkeypatch, rows, bias, cap, compiling
):
    x, W, b, targets = operands(20, 11, torch.float64, bias)
    leaves = [p for p in (x, W, b) if p is not None]
    expected = plain(x, W, b, targets, cap)
    gradients = torch.autograd.grad(3 * expected, leaves)
    monkeypatch.setattr(cross_entropy, "CHUNK", rows * 11 if rows < 20 else 219)
    monkeypatch.setattr(torch.compiler, "is_compiling", lambda: compiling)  # what it is given then
    assert not cross_entropy.fits_whole(x, W)
    loss = unembed_cross_entropy.kernel(x, W, b, targets, cap=cap)
    # float64, sums of twenty numbers of size 1
    torch.testing.assert_close(loss, expected, rtol=1e-13, atol=0)
    for gradient, reference in zip(torch.autograd.grad(3 * loss, leaves), gradients, strict=True):
        torch.testing.assert_close(gradient, reference, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("trained", ["x", "W", "b", "xW", "xb", "Wb"])
def test_what_is_trained_alone_learns_and_for_the_rest_no_gradient_is_made(monkeypatch, trained):
    x, W, b, targets = operands(20, 11, torch.float64)
    named = {"x": x, "W": W, "b": b}
    leaves = [named[name] for name in trained]
    gradients = torch.autograd.grad(plain(x, W, b, targets), leaves)
    for name, tensor in named.items():
        tensor.requires_grad_(name in trained)
    monkeypatch.setattr(cross_entropy, "CHUNK", 50)
    made = []
    add = cross_entropy._add_gradients
    monkeypatch.setattr(
        cross_entropy,
        "_add_gradients",
        lambda grads, *rest: (made.append(grads), add(grads, *rest)),
    )
    loss = unembed_cross_entropy.kernel(x, W, b, targets)
    for own, reference in zip(torch.autograd.grad(loss, leaves), gradients, strict=True):
        torch.testing.assert_close(own, reference, rtol=1e-12, atol=1e-14)
    asked = [name in trained for name in named]
    assert [grad is not None for grad in made[0]] == asked


def test_without_gradients_it_is_the_loss_alone(monkeypatch):
    x, W, b, targets = operands(20, 11, torch.float64)
    expected = plain(x, W, b, targets)
    monkeypatch.setattr(cross_entropy, "CHUNK", 50)
    with torch.no_grad():
        loss = unembed_cross_entropy.kernel(x, W, b, targets)
    torch.testing.assert_close(loss, expected.detach(), rtol=1e-13, atol=0)
    assert not loss.requires_grad


def test_in_bf16_it_stays_within_bf16_of_the_fp32_loss(monkeypatch):
    x, W, b, targets = operands(40, 11, torch.float32)
    expected = torch.autograd.grad(plain(x, W, b, targets), [x, W])
    monkeypatch.setattr(cross_entropy, "CHUNK", 50)
    with torch.autocast("cpu", torch.bfloat16):
        loss = unembed_cross_entropy.kernel(x, W, b, targets)
    assert loss.dtype == torch.float32
    for gradient, reference in zip(torch.autograd.grad(loss, [x, W]), expected, strict=True):
        assert gradient.dtype == torch.float32
        # 2^-8 per rounding of bfloat16, in products of six terms
        assert (gradient - reference).norm() < 0.02 * reference.norm()


def test_a_tied_model_learns_the_same_from_chunks(monkeypatch):
    torch.manual_seed(0)
    config = Config(vocab_size=13, n_ctx=8, d_model=12, n_layers=1, n_heads=2)
    model = Decoder(config).double()
    ids, targets = torch.randint(13, (2, 3, 8))
    unchunked = torch.autograd.grad(model.loss(ids, targets), [*model.parameters()])
    monkeypatch.setattr(cross_entropy, "CHUNK", 40)
    chunked = torch.autograd.grad(model.loss(ids, targets), [*model.parameters()])
    for gradient, reference in zip(chunked, unchunked, strict=True):
        torch.testing.assert_close(gradient, reference, rtol=1e-11, atol=1e-14)


def test_a_gpu_takes_more_logits_at_once():
    """Every chunk costs it the gradient of W_U, read and written."""
    cpu, gpu = (cross_entropy.at_once(torch.device(kind)) for kind in ("cpu", "cuda"))
    assert gpu == 8 * cpu


def test_the_logits_of_a_batch_are_never_all_there():
    n, vocab = 1024, 50257  # 206 MB of logits in fp32
    generator = torch.Generator().manual_seed(0)
    x, W = (
        torch.randn(shape, generator=generator).requires_grad_() for shape in ((n, 16), (16, vocab))
    )
    targets = torch.randint(vocab, (n,), generator=generator)
    both = {
        "chunked": lambda: torch.autograd.grad(
            unembed_cross_entropy.kernel(x, W, None, targets), [x, W]
        ),
        "plain": lambda: torch.autograd.grad(F.cross_entropy(x @ W, targets), [x, W]),
    }
    peaks = {}
    for name, once in both.items():
        once()
        gc.collect()
        peaks[name] = peak_bytes(once)
    if peaks["plain"] is None:
        pytest.fail("peak memory is measured on Linux only; run this test there")
    assert peaks["chunked"] < 4 * n * vocab  # below the logits alone
    assert peaks["chunked"] < 0.5 * peaks["plain"]
