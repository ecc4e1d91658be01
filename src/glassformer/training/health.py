"""Is the run healthy? Gradients and updates layer by layer, dead units, and two plain guesses."""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from glassformer.model import Decoder
from glassformer.model.evaluating import evaluating
from glassformer.training.data import Batch
from glassformer.training.ranks import whole


def layer_of(name: str) -> str:
    """The layer a parameter belongs to.

    >>> layer_of("blocks.3.attn.W_O"), layer_of("embed.W_E")
    ('blocks.3', 'embed')
    """
    parts = name.split(".")
    return ".".join(parts[:2]) if parts[0] == "blocks" else parts[0]


def layer_norms(named: Iterable[tuple[str, Tensor]]) -> dict[str, float]:
    """The Euclidean norm over all tensors of each layer."""
    squares: dict[str, Tensor] = {}
    for name, tensor in named:
        square = tensor.detach().float().square().sum()
        layer = layer_of(name)
        squares[layer] = squares[layer] + square if layer in squares else square
    sums = torch.stack([whole(square) for square in squares.values()])
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
def dead_units(model: Decoder, batch: Batch) -> dict[str, float]:
    """The fraction of each layer's neurons whose activation is above 0 at no token of the batch."""
    device = next(model.parameters()).device
    with evaluating(model):
        there = batch.map(lambda tensor: tensor.to(device))
        trace = model.watch(there.ids, keep="*.mlp.post,*.mlp.experts", **there.given)
    dead: dict[str, float] = {}
    for layer in range(model.config.n_layers):
        post = trace[f"blocks.{layer}.mlp.post"]
        above = (post > 0).float().reshape(-1, post.shape[-1])
        if model.config.has_experts(layer):  # each expert's neurons count, by the tokens it got
            experts = trace[f"blocks.{layer}.mlp.experts"].flatten()
            own = above.new_zeros(model.config.n_experts, above.shape[-1])
            above = own.index_add_(0, experts, above)[None]
        dead[f"blocks.{layer}"] = float((above == 0).all(0).float().mean())
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
