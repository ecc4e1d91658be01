"""One training step, watched whole: forward, loss, backward, clipping, the optimizer, on a copy."""

from __future__ import annotations

import math
from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from glassformer.checked import Range, whole
from glassformer.errors import GlassformerError
from glassformer.model.ids import Ids, as_ids
from glassformer.model.language_model import LanguageModel
from glassformer.model.texts import Texts, ids_of, next_tokens
from glassformer.trace import Trace
from glassformer.trace.cancel import CancelCheck, never_cancelled
from glassformer.training.muon import matrices, muon_parameters
from glassformer.training.optimizer import EPS, MOMENTS, muon_lr
from glassformer.training.recipe import Recipe
from glassformer.training.trainable import check_trainable
from glassformer.watch.update import Rule, record_update
from glassformer.watch.view import learned

Moments = Mapping[str, Tensor]
"""``exp_avg.NAME``, and for AdamW ``exp_avg_sq.NAME``, of every stored parameter."""

RATE = Range(0, below=math.inf, low="is negative: it would climb", high="must be finite")
"""Of one update; a schedule may end at 0."""

LAZY = {torch.float32: np.float32, torch.float64: np.float64}


M = TypeVar("M", bound=LanguageModel[Any])


@dataclass(frozen=True, repr=False)
class WatchedStep(Generic[M]):
    """The trace of a training step, and what it led to: the changed model and optimizer state."""

    trace: Trace
    model: M
    moments: dict[str, Tensor]

    def __repr__(self) -> str:
        loss = self.trace["fwd/loss"].item()
        return (
            f"<WatchedStep: loss {loss:.4g} before the update, {len(self.trace.computed):,} values>"
        )


def zero_moments(model: nn.Module) -> dict[str, Tensor]:
    """The optimizer's state before the first step; on a CPU it takes no memory until it changes."""
    return {
        f"{moment}.{name}": _zeros_like(parameter)
        for name, parameter in learned(model).items()
        for moment in MOMENTS.values()
    }


def _zeros_like(parameter: Tensor) -> Tensor:
    """Zeros; on a CPU pages that the system hands out when they are first written to."""
    if parameter.device.type != "cpu" or parameter.dtype not in LAZY:
        return torch.zeros_like(parameter)
    return torch.from_numpy(np.zeros(parameter.shape, LAZY[parameter.dtype]))


def watch_step(
    model: M,
    text: Texts,
    targets: Ids | None = None,
    *,
    recipe: Recipe | None = None,
    moments: Moments | None = None,
    lr: float | None = None,
    t: int = 1,
    is_cancelled: CancelCheck = never_cancelled,
    **more: Any,
) -> WatchedStep[M]:
    """Watch one update of all weights, with everything that leads to it; nothing given is changed.

    text, `is_cancelled`, `more`: as for `Decoder.watch`; an encoder-decoder has a `source`.
    targets [batch, pos]: what is asked after each token; None: the text's own next tokens.
    recipe: optimizer, betas, weight decay and clipping norm (None: those of ``Recipe()``); lr: the
    learning rate (None: the recipe's). moments: the optimizer's state before the step (None: new),
    `t` the step's number, from 1.

    >>> from glassformer.interop.open import load
    >>> model, _ = load("worked_example")
    >>> first = watch_step(model, "the cat sat on", lr=0.01)
    >>> second = watch_step(
    ...     first.model, "the cat sat on", moments=first.moments, lr=0.01, t=2
    ... )
    >>> first.trace["loss"].item() > second.trace["loss"].item()
    True
    >>> first.trace.explain("opt/unembed.W_U[d_model=0,vocab=1]").agrees
    True
    """
    check_trainable(model.config)
    recipe = recipe or Recipe()
    lr = recipe.lr if lr is None else lr
    if complaint := RATE.complaint(lr):
        raise GlassformerError(f"lr={lr:g} {complaint}")
    t = whole("t", t, Range(1, low="is no step; the first is 1"))
    moments = zero_moments(model) if moments is None else moments
    if targets is None:
        ids = as_ids(ids_of(text, model.tokenizer))
        if ids.shape[1] == 1:
            raise GlassformerError(
                "one token has no next one to learn from; give a longer text, or targets"
            )
        text, targets = ids, next_tokens(ids)
    trace = model.watch(text, targets, backward=True, is_cancelled=is_cancelled, **more)
    m_prev, v_prev = (_of_moment(moments, moment) for moment in MOMENTS.values())
    quantities = record_update(trace, model, _rule(model, recipe, lr, t), m_prev, v_prev)
    after = {
        f"{moment}.{name}": value
        for quantity, moment in MOMENTS.items()
        for name, value in quantities.get(quantity, {}).items()
    }
    changed = deepcopy(model)
    with torch.no_grad():
        for view in changed.learned_views():
            view.value.copy_(trace.value_of(trace.node(f"opt/{view.name}")))
    return WatchedStep(trace, changed, after)


def _of_moment(moments: Moments, moment: str) -> dict[str, Tensor]:
    """The part of the optimizer's state that is one average, by the parameters' names."""
    prefix = f"{moment}."
    return {name.removeprefix(prefix): m for name, m in moments.items() if name.startswith(prefix)}


def _rule(model: LanguageModel[Any], recipe: Recipe, lr: float, t: int) -> Rule:
    muon = frozenset(muon_parameters(model, recipe))
    return Rule(
        t=t,
        lr=lr,
        beta1=recipe.beta1,
        beta2=recipe.beta2,
        eps=EPS,
        weight_decay=recipe.weight_decay,
        clip=recipe.clip or float("inf"),
        muon_lr=muon_lr(recipe, lr),
        momentum=recipe.momentum,
        muon=muon,
        scales={matrix.name: matrix.scale for matrix in matrices(model)} if muon else {},
        products=recipe.dtype,
    )
