"""The optimizer over a model's parameters; its state under the parameters' names."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from glassformer.model.kinds import AnyModel
from glassformer.training.muon import Muon, muon_parameters
from glassformer.training.ranks import spread
from glassformer.training.recipe import Recipe
from glassformer.watch.view import is_matrix, learned

EPS = 1e-8
MOMENTS = {"m": "exp_avg", "v": "exp_avg_sq"}  # as Kingma & Ba 2015, algorithm 1, and torch


class Optimizer:
    """AdamW over all parameters, or Muon over the blocks' matrices and AdamW over the rest."""

    def __init__(self, model: AnyModel, recipe: Recipe) -> None:
        self.recipe = recipe
        self.named = learned(model)
        self.muon = Muon(model, recipe) if recipe.optimizer == "muon" else None
        matrices = muon_parameters(model, recipe)
        rest = {name: p for name, p in self.named.items() if name not in matrices}
        self.adamw = adamw(rest, recipe)

    def step(self, lr: float) -> None:
        """Change the weights; `lr` is AdamW's learning rate now, and Muon's has the same share."""
        for group in self.adamw.param_groups:
            group["lr"] = lr
        self.adamw.step()
        if self.muon is not None:
            self.muon.step(muon_lr(self.recipe, lr))

    def tensors(self) -> dict[str, Tensor]:
        """The state as `exp_avg.NAME` and, of AdamW's parameters, `exp_avg_sq.NAME`."""
        averages = self.muon.averages if self.muon is not None else {}
        result: dict[str, Tensor] = {}
        for name, parameter in self.named.items():
            if name in averages:
                result[f"exp_avg.{name}"] = averages[name]
                continue
            state = self.adamw.state.get(parameter, {})
            for moment in MOMENTS.values():
                empty = moment not in state
                result[f"{moment}.{name}"] = torch.zeros_like(parameter) if empty else state[moment]
        return result

    def restore(self, tensors: dict[str, Tensor], step: int) -> None:
        """Continue as after `step` updates; the inverse of `tensors`."""
        averages = self.muon.averages if self.muon is not None else {}
        for name, parameter in self.named.items():
            if name in averages:
                averages[name].copy_(spread(tensors[f"exp_avg.{name}"], parameter))
                continue
            state = {m: spread(tensors[f"{m}.{name}"], parameter) for m in MOMENTS.values()}
            # the bias corrections' count: AdamW keeps it as a tensor beside the parameter if fused
            count = torch.tensor(float(step), device=parameter.device)
            self.adamw.state[parameter] = {"step": count, **state}


def moments_of(model: AnyModel, recipe: Recipe) -> dict[str, Tensor]:
    """The names of the optimizer's tensors, each with the parameter whose shape it has."""
    averaged = muon_parameters(model, recipe)  # Muon keeps one moment, AdamW two
    return {
        f"{moment}.{name}": parameter
        for name, parameter in learned(model).items()
        for quantity, moment in MOMENTS.items()
        if quantity == "m" or name not in averaged
    }


def muon_lr(recipe: Recipe, lr: float) -> float:
    """Muon's learning rate where AdamW's is `lr`: both follow the one schedule."""
    return recipe.muon_lr * lr / recipe.lr


def adamw(named: Mapping[str, nn.Parameter], recipe: Recipe) -> torch.optim.AdamW:
    """AdamW whose decay, decoupled from the gradient, shrinks matrices only.

    w <- w - lr * weight_decay * w - lr * m_hat / (sqrt(v_hat) + eps), with weight_decay = 0 for
    gains and biases, which have no scale to keep small.

    Source: Loshchilov & Hutter 2019, algorithm 2.
    """
    matrices = [p for name, p in named.items() if is_matrix(name, p)]
    others = [p for name, p in named.items() if not is_matrix(name, p)]
    groups = [
        {"params": matrices, "weight_decay": recipe.weight_decay},
        {"params": others, "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(
        [group for group in groups if group["params"]],
        lr=recipe.lr,
        betas=(recipe.beta1, recipe.beta2),
        eps=EPS,
        fused=True,  # one kernel over all parameters, on every device that torch has it for
    )
