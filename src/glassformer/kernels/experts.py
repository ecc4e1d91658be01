"""Experts: every token goes through a few of many MLPs.

Tokens that go to the same expert are multiplied with its matrices together. Where sizes may not
follow from numbers, compiled or on the meta device, every expert reads every token instead.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from glassformer.kernels.product import product

Gate = Callable[[Tensor, Tensor], Tensor]
"""A neuron's output from the sum of its gate and the sum that may pass."""


def opened_by(activation: Callable[[Tensor], Tensor], limit: float, slope: float) -> Gate:
    """activation(pre) pre_linear; with a limit GPT-OSS's own gate, whose sigmoid is steeper."""

    def limited(pre: Tensor, pre_linear: Tensor) -> Tensor:
        pre, pre_linear = pre.clamp(max=limit), pre_linear.clamp(-limit, limit)
        return (pre_linear + 1) * (pre * torch.sigmoid(pre * slope))

    return limited if limit else lambda pre, pre_linear: pre_linear * activation(pre)


def _by_expert(experts: Tensor, n_experts: int) -> tuple[Tensor, list[int]]:
    """The order of experts [n] that brings equal ones together, and how many there are of each."""
    order = experts.argsort(stable=True)
    return order, experts.bincount(minlength=n_experts).tolist()


def _parts(rows: Tensor, counts: list[int]) -> Iterator[tuple[int, Tensor]]:
    """Each expert that has rows, and its rows."""
    for expert, part in enumerate(torch.split(rows, counts)):
        if len(part):
            yield expert, part


def _of(b: Tensor | None, expert: int) -> Tensor | None:
    return None if b is None else b[expert]


def _in_order(sorted_rows: list[Tensor], order: Tensor) -> Tensor:
    """Rows that were sorted by `order`, as they were before."""
    return torch.cat(sorted_rows)[order.argsort()]


def expert_linear(x: Tensor, W: Tensor, b: Tensor | None, experts: Tensor) -> Tensor:
    """x times the matrix of each chosen expert, [batch, pos, choice, out].

    x [batch, pos, in], or [batch, pos, choice, in]; W [expert, in, out], b [expert, out]; experts
    [batch, pos, choice].
    """
    if x.is_meta:
        return x.new_empty(*experts.shape, W.shape[-1])
    if x.ndim == experts.ndim:
        x = x[..., None, :].expand(*experts.shape, -1)
    order, counts = _by_expert(experts.flatten(), len(W))
    rows = x.reshape(-1, x.shape[-1])[order]
    done = [product(part, W[e], _of(b, e)) for e, part in _parts(rows, counts)]
    return _in_order(done, order).view(*experts.shape, -1)


def mix_experts(expert_out: Tensor, expert_weights: Tensor, experts: Tensor) -> Tensor:
    """expert_out [batch, pos, choice, d_model], each times its weight of [batch, pos, expert]."""
    weights = expert_weights.gather(-1, experts)
    return (weights[..., None, :] @ expert_out).squeeze(-2)


def mixture(
    x: Tensor,
    expert_weights: Tensor,
    experts: Tensor,
    W_gate: Tensor,
    W_in: Tensor,
    W_out: Tensor,
    b_gate: Tensor | None,
    b_in: Tensor | None,
    b_out: Tensor | None,
    gate: Gate,
) -> Tensor:
    """x [batch, pos, d_model] through its experts [batch, pos, choice], [batch, pos, d_model].

    expert_weights [batch, pos, expert], 0 where a token does not go.
    """
    if x.is_meta or torch.compiler.is_compiling():
        return _of_all(x, expert_weights, W_gate, W_in, W_out, b_gate, b_in, b_out, gate)
    weights = expert_weights.gather(-1, experts).flatten()
    order, counts = _by_expert(experts.flatten(), len(W_in))
    rows, token = x.reshape(-1, x.shape[-1]), order // experts.shape[-1]
    done, up = [], ((W_gate, b_gate), (W_in, b_in))
    for e, part in _parts(rows[token], counts):
        pre, pre_linear = (product(part, W[e], _of(b, e)) for W, b in up)
        done.append(product(gate(pre, pre_linear), W_out[e], _of(b_out, e)))
    weighted = torch.cat(done) * weights[order, None]
    total = torch.zeros_like(rows, dtype=weighted.dtype).index_add_(0, token, weighted)
    return total.view(x.shape)


def _of_all(
    x: Tensor,
    expert_weights: Tensor,
    W_gate: Tensor,
    W_in: Tensor,
    W_out: Tensor,
    b_gate: Tensor | None,
    b_in: Tensor | None,
    b_out: Tensor | None,
    gate: Gate,
) -> Tensor:
    """The same with every token read by every expert, most of them weighted by 0."""
    rows = x.reshape(1, -1, x.shape[-1])
    opened = gate(_each(rows, W_gate, b_gate), _each(rows, W_in, b_in))
    out = _each(opened, W_out, b_out)  # [expert, row, d_model]
    weights = expert_weights.reshape(-1, expert_weights.shape[-1]).mT[..., None]
    return (out * weights).sum(0).view(x.shape)


def _each(rows: Tensor, W: Tensor, b: Tensor | None) -> Tensor:
    y = rows @ W
    return y if b is None else y + b[:, None]
