"""Ways to lay a packed matrix out: as it is stored, in oneDNN's blocks, in 8 bits.

Each is made of W [in, out] and b, and called with x [..., in]; it gives x W + b [..., out].
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from glassformer.kernels import choices

Product = Callable[[Tensor], Tensor]
"""x [..., in] to x W + b [..., out]."""


class Stored:
    """The matrix as it is stored."""

    def __init__(self, W: Tensor, b: Tensor | None) -> None:
        self.W, self.b = W.T, b

    def __call__(self, x: Tensor) -> Tensor:
        return F.linear(x, self.W, self.b)


class Blocked:
    """The matrix in `dtype`, in oneDNN's layout where oneDNN knows one.

    In bfloat16 it stays in rows where `kernels.choices` has PyTorch's own product for one token.
    """

    def __init__(self, W: Tensor, b: Tensor | None, dtype: torch.dtype) -> None:
        self.dtype = dtype
        self.b = None if b is None else b.to(dtype)
        W = W.T.to(dtype).contiguous()
        on_cpu = W.device.type == "cpu"
        self.in_rows = on_cpu and dtype == torch.bfloat16 and choices.BF16_ROW_BY_TORCH.value
        self.blocked = on_cpu and not self.in_rows and _onednn_multiplies(dtype)
        self.W = torch.ops.mkldnn._reorder_linear_weight(W, 1) if self.blocked else W

    def __call__(self, x: Tensor) -> Tensor:
        narrow = x.to(self.dtype)
        if self.blocked:
            y: Tensor = torch.ops.mkldnn._linear_pointwise(narrow, self.W, self.b, "none", [], "")
        elif self.in_rows and narrow.numel() == narrow.shape[-1]:
            y = _without_onednn(narrow, self.W, self.b)
        else:
            y = F.linear(narrow, self.W, self.b)
        return y.to(x.dtype)


def _without_onednn(x: Tensor, W: Tensor, b: Tensor | None) -> Tensor:
    """W x + b by PyTorch itself; the switch is everyone's, and is set back by who turned it."""
    if not torch._C._get_mkldnn_enabled():
        return F.linear(x, W, b)
    torch._C._set_mkldnn_enabled(False)
    try:
        return F.linear(x, W, b)
    finally:
        torch._C._set_mkldnn_enabled(True)


def _onednn_multiplies(dtype: torch.dtype) -> bool:
    if not torch.backends.mkldnn.is_available():
        return False
    return dtype == torch.float32 or torch.ops.mkldnn._is_mkldnn_bf16_supported()


class Int8:
    """Whole numbers times a scale per output channel; their products are added up in bfloat16.

    Source: Dettmers et al. 2022 (LLM.int8), section 2.1, with one scale for each row of W.T.
    """

    STRIDE = 16
    """PyTorch's kernel reads so many inputs at once, and does not check that there are."""

    def __init__(self, W: Tensor, b: Tensor | None) -> None:
        # the scale is rounded first, so that it carries no error of its own
        self.scale = (W.abs().amax(0) / 127).clamp(min=1e-30).bfloat16()
        integers = (W / self.scale).round().clamp(-127, 127)
        self.padding = (0, -len(W) % self.STRIDE)
        self.W = F.pad(integers.T, self.padding).to(torch.int8).contiguous()
        self.b = b

    def __call__(self, x: Tensor) -> Tensor:
        rows = x.reshape(-1, x.shape[-1]).bfloat16()
        rows = F.pad(rows, self.padding) if any(self.padding) else rows.contiguous()
        y: Tensor = torch.ops.aten._weight_int8pack_mm(rows, self.W, self.scale).to(x.dtype)
        y = y if self.b is None else y + self.b
        return y.view(*x.shape[:-1], -1)
