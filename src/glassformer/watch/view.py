"""Named views of the stored parameters: one storage, the field's names.

A module lists its parameters under TransformerLens's names, after the scope it is in. Fused storage
(queries, keys and values in one matrix) appears as views, so that addresses, gradients and
optimizer state of ``attn.W_Q`` need no copies.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn

Source = Callable[[nn.Parameter], Tensor]
"""What a parameter stands for: itself, or its gradient, or its optimizer state."""


class View(NamedTuple):
    """A parameter, or a part of one, under its own name and axes."""

    name: str
    value: Tensor
    axes: tuple[str, ...]


def itself(parameter: nn.Parameter) -> Tensor:
    return parameter


def learned(model: nn.Module) -> dict[str, nn.Parameter]:
    """The stored parameters that training changes: all but frozen ones."""
    return {name: p for name, p in model.named_parameters() if p.requires_grad}


def is_matrix(name: str, parameter: Tensor) -> bool:
    """Whether it is a matrix: gains of all heads and biases of all experts have two axes, too."""
    last = name.rpartition(".")[2]
    return parameter.ndim >= 2 and last != "w" and not last.startswith("b_")


def as_matrix(value: Tensor, axes: tuple[str, ...]) -> Tensor:
    """A weight seen as [d_model, rest]."""
    return value.movedim(axes.index("d_model"), 0).flatten(1)


def in_shape(matrix: Tensor, view: View) -> Tensor:
    """A matrix [d_model, rest] in the shape of the weight that it stands for."""
    first = view.axes.index("d_model")
    rest = [n for axis, n in zip(view.axes, view.value.shape, strict=True) if axis != "d_model"]
    return torch.unflatten(matrix, 1, rest).movedim(0, first)
