"""AdamW over a model's parameters; its state under the parameters' names."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from glassformer.training.recipe import Recipe

EPS = 1e-8
MOMENTS = ("exp_avg", "exp_avg_sq")  # m and v of Kingma & Ba 2015, algorithm 1


def make_optimizer(model: nn.Module, recipe: Recipe) -> torch.optim.AdamW:
    """AdamW whose decay, decoupled from the gradient, shrinks matrices only.

    w <- w - lr * weight_decay * w - lr * m_hat / (sqrt(v_hat) + eps), with weight_decay = 0 for
    gains and biases, which have no scale to keep small.

    Source: Loshchilov & Hutter 2019, algorithm 2.
    """
    parameters = list(model.parameters())
    groups = [
        {"params": [p for p in parameters if p.ndim >= 2], "weight_decay": recipe.weight_decay},
        {"params": [p for p in parameters if p.ndim < 2], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(
        [group for group in groups if group["params"]],
        lr=recipe.lr,
        betas=(recipe.beta1, recipe.beta2),
        eps=EPS,
        fused=True,  # one kernel over all parameters, on every device that torch has it for
    )


def optimizer_tensors(model: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """Both moments of every parameter, as `exp_avg.NAME` and `exp_avg_sq.NAME`."""
    return {
        f"{moment}.{name}": optimizer.state[parameter][moment]
        if parameter in optimizer.state
        else torch.zeros_like(parameter)
        for name, parameter in model.named_parameters()
        for moment in MOMENTS
    }


def restore_optimizer(
    model: nn.Module, optimizer: torch.optim.Optimizer, tensors: dict[str, Tensor], step: int
) -> None:
    """Continue as after `step` updates; the inverse of `optimizer_tensors`."""
    for name, parameter in model.named_parameters():
        state = {m: tensors[f"{m}.{name}"].to(parameter) for m in MOMENTS}
        # the bias corrections' count: AdamW keeps it as a tensor beside the parameter when fused
        count = torch.tensor(float(step), device=parameter.device)
        optimizer.state[parameter] = {"step": count, **state}
