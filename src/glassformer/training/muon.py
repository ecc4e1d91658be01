"""Muon over the matrices of the blocks, all of one shape orthogonalized in one stack."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from itertools import groupby
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from glassformer.errors import GlassformerError
from glassformer.kernels.newton_schulz import work_dtype
from glassformer.model.language_model import LanguageModel
from glassformer.ops import muon as ops
from glassformer.training.ranks import full_tensor, local, spread
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
    if any(not p.requires_grad for p in model.parameters()):
        raise GlassformerError(
            "Muon makes the updates of all blocks' matrices orthogonal, each as a whole; adapters,"
            " and parts alone, are trained with AdamW: choose --optimizer adamw"
        )
    named = model.named_parameters()
    return {name: p for name, p in named if _in_a_block(name) and is_matrix(name, p)}


def _in_a_block(name: str) -> bool:
    """Whether it is a block's own, of whichever tower."""
    return "blocks." in name


def _block_of(name: str) -> str:
    """The beginning of a name that all parameters of its block share.

    >>> _block_of("encoder.blocks.3.attn.W_O")
    'encoder.blocks.3.'
    """
    tower, _, rest = name.partition("blocks.")
    return f"{tower}blocks.{rest.partition('.')[0]}."


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
        self._ahead = {name: torch.empty_like(p) for name, p in self.parameters.items()}
        ahead = {p: self._ahead[name] for name, p in self.parameters.items()}
        in_parts = any(local(p) is not p for p in ahead)
        self._update = (ShardedUpdate if in_parts else FullUpdate)(model, ahead, recipe.dtype)

    @torch.no_grad()
    def step(self, lr: float) -> None:
        """One update, from the parameters' gradients."""
        for name, parameter in self.parameters.items():
            w, m, ahead = map(local, (parameter, self.averages[name], self._ahead[name]))
            g = torch.zeros_like(w) if parameter.grad is None else local(parameter.grad)
            m.lerp_(g, 1 - self.momentum)
            ops.look_ahead.kernel(g, m, momentum=self.momentum, out=ahead)
            w.mul_(1 - lr * self.decay)
        self._update(lr)


Stacks = dict[torch.Size, list[tuple[Matrix, Tensor]]]
"""By their shape, matrices to be changed, each with what is to be made orthogonal for it."""


def stacks_of(
    model: LanguageModel[Any], changed: Source, ahead: Source, within: str = ""
) -> Stacks:
    """Every matrix of what `changed` stands for, with the same part of what `ahead` stands for."""
    result: Stacks = {}
    for weight, (_, step, _) in zip(matrices(model, changed), matrices(model, ahead), strict=True):
        if weight.name.startswith(within):
            result.setdefault(step.shape, []).append((weight, step))
    return result


def subtract_orthogonal(stacks: Stacks, products: str, lr: float) -> None:
    """w <- w - lr scale orthogonal(ahead), of one shape in one stack."""
    for members in stacks.values():
        stack = torch.stack([ahead for _, ahead in members])  # [weight, d_model, rest]
        steps = ops.orthogonalize.kernel(stack, work_dtype(stack, products)).to(stack.dtype)
        for (weight, _), step in zip(members, steps.unbind(), strict=True):
            weight.value.sub_(step, alpha=lr * weight.scale)


class FullUpdate:
    """The model's matrices, changed where they are."""

    def __init__(
        self, model: LanguageModel[Any], ahead: dict[nn.Parameter, Tensor], products: str
    ) -> None:
        self.stacks = stacks_of(model, itself, lambda p: ahead.get(p, p))
        self.products = products

    def __call__(self, lr: float) -> None:
        subtract_orthogonal(self.stacks, self.products, lr)


class ShardedUpdate:
    """Matrices of which each rank holds a part: a block's are put together on each, and changed.

    So much memory is taken as the largest block's matrices need twice, whole.
    """

    def __init__(
        self, model: LanguageModel[Any], ahead: dict[nn.Parameter, Tensor], products: str
    ) -> None:
        self.ahead, self.products = ahead, products
        self.blocks: list[tuple[dict[nn.Parameter, tuple[Tensor, Tensor]], Stacks]] = []
        named = {p: name for name, p in model.named_parameters()}
        buffers: dict[tuple[str, torch.Size], tuple[Tensor, Tensor]] = {}  # one block after another
        for block, group in groupby(ahead, lambda p: _block_of(named[p])):
            both: dict[nn.Parameter, tuple[Tensor, Tensor]] = {}
            for p in group:
                key = named[p].removeprefix(block), p.shape
                if key not in buffers:
                    empty = local(p).new_empty
                    buffers[key] = empty(p.shape), empty(p.shape)
                both[p] = buffers[key]
            changes = partial(_of_pair, both, 0)
            steps = partial(_of_pair, both, 1)
            self.blocks.append((both, stacks_of(model, changes, steps, block)))

    def __call__(self, lr: float) -> None:
        for both, stacks in self.blocks:
            for p, (change, step) in both.items():
                change.zero_()
                step.copy_(full_tensor(self.ahead[p]))
            subtract_orthogonal(stacks, self.products, lr)
            for p, (change, _) in both.items():
                local(p).add_(local(spread(change, p)))


def _of_pair(
    pairs: dict[nn.Parameter, tuple[Tensor, Tensor]], index: int, p: nn.Parameter
) -> Tensor:
    """What stands for a parameter; for one of another block, something of its shape."""
    return pairs[p][index] if p in pairs else torch.empty(()).expand(p.shape)
