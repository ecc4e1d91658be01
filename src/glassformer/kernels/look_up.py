"""Rows of a table, looked up by their number."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


def rows(W: Tensor, ids: Tensor) -> Tensor:
    """Row ids[...] of W [n, width], [..., width]."""
    return torch.embedding(W, ids)


def look_up(W_E: Tensor, ids: Tensor) -> Tensor:
    """The same for a table that is trained: with a gradient that compiles well."""
    if torch.compiler.is_compiling() and W_E.requires_grad and W_E.device.type == "cpu":
        rows: Tensor = _LookUp.apply(W_E, ids)
        return rows
    return torch.embedding(W_E, ids)


class _LookUp(torch.autograd.Function):
    """Rows of a table; the compiler calls torch's own gradient as it is.

    The one that it writes itself adds number by number, each addition atomic: 1.3 ms where torch's
    takes 0.12, for 1,536 rows of 128.
    """

    @staticmethod
    def forward(ctx: Any, W_E: Tensor, ids: Tensor) -> Tensor:
        ctx.save_for_backward(ids)
        ctx.n = W_E.shape[0]
        return torch.embedding(W_E, ids)

    @staticmethod
    def backward(ctx: Any, *upstream: Tensor) -> tuple[Tensor, None]:
        (ids,) = ctx.saved_tensors
        gradient: Tensor = torch.ops.glassformer.look_up_gradient(upstream[0], ids, ctx.n)
        return gradient, None


_LIBRARY = torch.library.Library("glassformer", "FRAGMENT")
_LIBRARY.define("look_up_gradient(Tensor upstream, Tensor ids, SymInt n) -> Tensor")
_LIBRARY.impl(
    "look_up_gradient",
    lambda upstream, ids, n: torch.ops.aten.embedding_dense_backward(upstream, ids, n, -1, False),
    "CPU",
)


@torch.library.register_fake("glassformer::look_up_gradient", lib=_LIBRARY)
def _shaped_as_table(upstream: Tensor, _ids: Tensor, n: int) -> Tensor:
    return upstream.new_empty(n, upstream.shape[-1])
