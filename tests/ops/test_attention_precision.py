"""Under bf16 autocast on the CPU, training keeps attention in fp32, where it is quicker."""

import torch

from glassformer.ops import attention


def operands(wanted: bool) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    shape = (2, 5, 3, 4)  # [batch, pos, head, d_head]
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


def test_without_gradients_it_is_torchs_own():
    q, k, v = operands(wanted=False)
    with torch.autocast("cpu", torch.bfloat16):
        z = attention.kernel(q, k, v, None, causal=True)
    assert torch.equal(z, attention.kernel(q, k, v, None, causal=True))
