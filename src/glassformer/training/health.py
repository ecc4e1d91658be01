"""Is the run healthy? Gradients and updates layer by layer, dead units, and two plain guesses."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from glassformer.model.evaluating import evaluating
from glassformer.model.kinds import AnyModel
from glassformer.training.data import Batch
from glassformer.training.ranks import full_tensor

_LAYER = re.compile(r"^((?:encoder\.|decoder\.)?)(blocks\.\d+|[^.]*)")


def layer_of(name: str) -> str:
    """The layer a parameter belongs to.

    >>> [layer_of(name) for name in ("blocks.3.attn.W_O", "embed.W_E", "encoder.blocks.0.mlp.W_in")]
    ['blocks.3', 'embed', 'encoder.blocks.0']
    """
    return "".join(_LAYER.findall(name)[0])


def layer_norms(named: Iterable[tuple[str, Tensor]]) -> dict[str, float]:
    """The Euclidean norm over all tensors of each layer."""
    squares: dict[str, Tensor] = {}
    for name, tensor in named:
        square = tensor.detach().float().square().sum()
        layer = layer_of(name)
        squares[layer] = squares[layer] + square if layer in squares else square
    sums = torch.stack([full_tensor(square) for square in squares.values()])
    return dict(zip(squares, sums.sqrt().tolist(), strict=True))


def gradient_norms(model: nn.Module) -> dict[str, float]:
    """The gradient's norm in every layer, as it stands."""
    return layer_norms((n, p.grad) for n, p in model.named_parameters() if p.grad is not None)


def update_to_weight(model: nn.Module, before: dict[str, Tensor]) -> dict[str, float]:
    """|change| / |weight| of every layer since `before`; around 1e-3 is usual while learning."""
    now = dict(model.named_parameters())
    change = layer_norms((name, now[name] - old) for name, old in before.items())
    weight = layer_norms(before.items())
    return {layer: change[layer] / max(weight[layer], 1e-30) for layer in change}


@torch.no_grad()
def dead_units(model: AnyModel, batch: Batch) -> dict[str, float]:
    """The fraction of each layer's neurons whose activation is above 0 at no token of the batch."""
    device = next(model.parameters()).device
    with evaluating(model):
        local = batch.map(lambda tensor: tensor.to(device))
        trace = model.watch(local.ids, keep="*.mlp.post,*.mlp.experts", **local.extra)
    names = [node.name for node in trace.computed]
    dead: dict[str, float] = {}
    for layer in (name.removesuffix(".mlp.post") for name in names if name.endswith(".mlp.post")):
        post = trace[f"{layer}.mlp.post"]
        above = (post > 0).float().reshape(-1, post.shape[-1])
        if f"{layer}.mlp.experts" in names:  # each expert's neurons count, by the tokens it got
            experts = trace[f"{layer}.mlp.experts"].flatten()
            n_experts = len(model.weights()[f"{layer}.mlp.W_in"])
            by_expert = above.new_zeros(n_experts, above.shape[-1])
            above = by_expert.index_add_(0, experts, above)[None]
        dead[layer] = float((above == 0).all(0).float().mean())
    return dead


def uniform_loss(vocab_size: int) -> float:
    """The loss of a guess that gives every token the same probability: ln(vocab_size), in nats.

    A model that has learned nothing starts near it.
    """
    return math.log(vocab_size)


def unigram_loss(counts: Int[Tensor, " vocab"], held_out: Iterable[Batch]) -> float:
    """The held-out loss, in nats, of a guess that knows only how often each token occurs.

    -mean of ln((count + 1) / (total + vocab)); a model that does not beat it has learned nothing
    from the order of the tokens.
    """
    smoothed = counts.double() + 1
    surprise: Float[Tensor, " vocab"] = -(smoothed / smoothed.sum()).log()
    total, n = 0.0, 0
    for batch in held_out:
        targets = batch.targets[batch.targets >= 0]
        total += float(surprise[targets].sum())
        n += targets.numel()
    return total / n
