"""Muon over the matrices of the blocks, all of one shape orthogonalized in one stack."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from glassformer.kernels.newton_schulz import work_dtype
from glassformer.model.language_model import LanguageModel
from glassformer.ops import muon as ops
from glassformer.training.recipe import Recipe
from glassformer.watch.view import Source, as_matrix, is_matrix, itself


class Matrix(NamedTuple):
    """A weight as a matrix [d_model, rest], a view; `scale` multiplies its learning rate."""

    name: str
    value: Tensor
    scale: float


def muon_parameters(model: LanguageModel[Any], recipe: Recipe) -> dict[str, nn.Parameter]:
    """The stored parameters that Muon changes: the matrices inside the blocks."""
    if recipe.optimizer != "muon":
        return {}
    named = model.named_parameters()
    return {name: p for name, p in named if _in_a_block(name) and is_matrix(name, p)}


def _in_a_block(name: str) -> bool:
    """Whether it is a block's own, of whichever tower."""
    return "blocks." in name


def matrices(model: LanguageModel[Any], source: Source = itself) -> Iterator[Matrix]:
    """Every weight that Muon changes, on its own: queries, keys and values apart.

    The scale sqrt(max(1, out / in)) gives every output about the same change.
    Source: Jordan et al. 2024, Muon.
    """
    for name, value, axes in model.views(source):
        if _in_a_block(name) and is_matrix(name, value):
            matrix = as_matrix(value, axes)
            d_model, rest = matrix.shape
            growth = d_model / rest if axes[-1] == "d_model" else rest / d_model
            yield Matrix(name, matrix, max(1.0, growth) ** 0.5)


class Muon:
    """m <- m + (1 - momentum) (g - m); w <- w (1 - lr decay) - lr scale orthogonal(ahead).

    ahead = g + momentum (m - g). The model must stay on its device. Source: `ops.muon`.
    """

    def __init__(self, model: LanguageModel[Any], recipe: Recipe) -> None:
        self.parameters = muon_parameters(model, recipe)
        self.momentum, self.decay = recipe.momentum, recipe.weight_decay
        self.averages = {name: torch.zeros_like(p) for name, p in self.parameters.items()}
        self._ahead = [torch.empty_like(p) for p in self.parameters.values()]
        ahead = {id(p): a for p, a in zip(self.parameters.values(), self._ahead, strict=True)}
        orthogonal = matrices(model, lambda p: ahead.get(id(p), p))
        self._stacks: dict[torch.Size, list[tuple[Matrix, Tensor]]] = {}
        for weight, (_, to_turn, _) in zip(matrices(model), orthogonal, strict=True):
            self._stacks.setdefault(to_turn.shape, []).append((weight, to_turn))

    @torch.no_grad()
    def step(self, lr: float) -> None:
        """One update, from the parameters' gradients."""
        weights: list[Tensor] = [*self.parameters.values()]
        averages = [*self.averages.values()]
        gradients = [torch.zeros_like(p) if p.grad is None else p.grad for p in weights]
        for w, g, m, ahead in zip(weights, gradients, averages, self._ahead, strict=True):
            m.lerp_(g, 1 - self.momentum)
            ops.look_ahead.kernel(g, m, momentum=self.momentum, out=ahead)
            w.mul_(1 - lr * self.decay)
        for members in self._stacks.values():
            stack = torch.stack([ahead for _, ahead in members])  # [weight, d_model, rest]
            steps = ops.orthogonalize.kernel(stack, work_dtype(stack)).to(stack.dtype)
            for (weight, _), step in zip(members, steps.unbind(), strict=True):
                weight.value.sub_(step, alpha=lr * weight.scale)
