"""Under bf16 autocast on the CPU, training's attention goes the quicker way, and is the same."""

import subprocess
import sys

import pytest
import torch

from glassformer.kernels.attention import LONG
from glassformer.ops import attention


def operands(wanted: bool, n: int = 5) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    shape = (2, n, 3, 4)  # [batch, pos, head, d_head]
    return [
        torch.randn(shape, generator=generator).bfloat16().requires_grad_(wanted) for _ in "qkv"
    ]


def test_with_gradients_it_is_the_fp32_attention_of_the_same_numbers():
    q, k, v = operands(wanted=True)
    with torch.autocast("cpu", torch.bfloat16):
        z = attention.kernel(q, k, v, None, causal=True)
    exact = attention.kernel(q.float(), k.float(), v.float(), None, causal=True)
    assert z.dtype == torch.bfloat16
    assert torch.equal(z, exact.bfloat16())


@pytest.mark.parametrize(("wanted", "n"), [(False, 5), (True, LONG)])
def test_without_gradients_and_for_long_texts_it_is_torchs_own(wanted, n):
    q, k, v = operands(wanted, n)
    with torch.autocast("cpu", torch.bfloat16):
        z = attention.kernel(q, k, v, None, causal=True)
    assert torch.equal(z, attention.kernel(q, k, v, None, causal=True))


@pytest.mark.heavy  # guards the processors of one maker
def test_compiled_it_goes_by_blocks_of_queries_and_differs_by_rounding_only():
    # a process of its own: the tests' type checks do not go with torch.compile
    code = """
import torch
import glassformer.kernels.attention as module
from glassformer.ops import attention
module.IN_BLOCKS = True  # whatever suits this processor
module.QUERIES = 5  # two whole blocks and a part of one
torch.manual_seed(0)
q, k, v, upstream = (torch.randn(2, 13, 3, 8).bfloat16() for _ in range(4))
def z_and_gradients(kernel, *operands):
    operands = [x.detach().requires_grad_() for x in operands]
    with torch.autocast("cpu", torch.bfloat16):
        z = kernel(*operands, None, True)
    return [z, *torch.autograd.grad(z, operands, upstream.to(z.dtype))]
calls = []
in_blocks = module._in_blocks
module._in_blocks = lambda *x: calls.append(1) or in_blocks(*x)
found = z_and_gradients(torch.compile(attention.kernel, backend="aot_eager"), q, k, v)
assert calls, "the compiled kernel went another way"
exact = z_and_gradients(attention.kernel, q.float(), k.float(), v.float())
for a, b in zip(found, exact):
    # 8 bits of mantissa through two products and a softmax: a few parts in 256
    assert (a.float() - b).abs().max() <= 0.03 * b.abs().max(), (a, b)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.heavy  # guards the processors of one maker
def test_the_fast_recipe_compiles_to_the_gradient_of_its_eager_pass_on_this_processor():
    # torch's compiler has made gradients of uninitialized memory out of attention by blocks
    code = """
import torch
from glassformer.interop.open import load_preset
from glassformer.model import Config, Decoder
from glassformer.training.compiling import compiled
torch.manual_seed(0)
model = Decoder(Config.from_dict({**load_preset("fast")["model"], "vocab_size": 65})).train()
for parameter in model.parameters():
    torch.nn.init.normal_(parameter, std=0.05)
ids, targets = torch.randint(65, (2, 24, model.config.n_ctx))
def gradients(loss, narrow):
    with torch.autocast("cpu", torch.bfloat16, enabled=narrow):
        value = loss(ids, targets)
    return torch.autograd.grad(value, list(model.parameters()))
found, exact = gradients(compiled(model.loss), True), gradients(model.loss, False)
for (name, _), a, b in zip(model.named_parameters(), found, exact, strict=True):
    # one direction: 8 bits of mantissa through every layer
    assert torch.cosine_similarity(a.flatten(), b.flatten(), 0) > 0.99, name
    assert abs(a.norm() / b.norm() - 1) < 0.05, name
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
