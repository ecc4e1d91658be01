"""One training step: guess, measure the surprise, trace the blame, change the weights."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from threading import Lock

import torch
from torch import Tensor

from glassformer.errors import GlassformerError
from glassformer.model.evaluating import evaluating
from glassformer.model.kinds import AnyModel
from glassformer.training.data import Batch
from glassformer.training.device import autocast, sent
from glassformer.training.ranks import ALONE, Ranks, full_tensor
from glassformer.training.recipe import Recipe

LossFunction = Callable[..., Tensor]
"""Of ids and targets, and of what a batch gives beside them by name."""


class NonFiniteError(GlassformerError):
    """The loss or its gradient is not a number: stopped before the weights were changed."""


_drawing = Lock()  # torch draws dropout from one generator, which all threads share


@contextmanager
def seeded_dropout(recipe: Recipe, step: int, micro: int, rank: int = 0) -> Iterator[None]:
    """Seed torch for one forward pass, so that dropout is a function of (seed, step, pass, rank).

    A resumed or replayed step then draws the same masks, also while another thread replays, and no
    generator state needs saving.
    """
    with _drawing:
        torch.manual_seed(dropout_seed(recipe.seed, step, micro, rank))
        yield


def dropout_seed(seed: int, step: int, micro: int, rank: int = 0) -> int:
    """A number of 64 bits for one forward pass: another for each pass, step and rank of a run.

    Passes are counted in rounds of 1,009, and each further round begins far from all steps.
    """
    round_, pass_ = divmod(micro, 1_009)
    number = (seed * 1_000_003 + step) * 1_009 + pass_
    return (number + round_ * 0xD1B54A32D192ED03 + rank * 0x9E3779B97F4A7C15) % 2**64


@contextmanager
def seeded_sampling(recipe: Recipe, step: int) -> Iterator[None]:
    """Seed torch for what is sampled after a step; its generator is then as if nothing had been.

    A resumed run's samples are those of an uninterrupted one, whatever was drawn before.
    """
    with _drawing, torch.random.fork_rng():
        torch.manual_seed((recipe.seed * 1_000_003 + step) % 2**64)
        yield


def accumulate_gradient(
    model: AnyModel,
    loss_of: LossFunction,
    batches: Sequence[Batch],
    recipe: Recipe,
    step: int,
    ranks: Ranks = ALONE,
) -> Tensor:
    """Set every parameter's gradient to that of the mean loss over all batches; return that loss.

    loss = sum over batches of loss_i * n_i / n, with n_i what is asked in batch i: what one big
    batch would give. Of several ranks each takes its rows, and n counts those of all.
    """
    device = next(model.parameters()).device
    model.zero_grad(set_to_none=True)
    counts = [batch.n_asked for batch in batches]
    if not sum(counts):
        raise GlassformerError(
            f"step {step}: no target is asked for in any of its {len(batches)} batches; mask fewer"
        )
    loss = torch.zeros((), device=device)
    last = max(micro for micro, count in enumerate(counts) if count)
    for micro, (batch, count) in enumerate(zip(batches, counts, strict=True)):
        if not count:
            continue  # the mean over nothing is no number
        share = ranks.share(batch)
        n_local = count if share is batch else share.n_asked
        local = share.map(lambda tensor: sent(tensor, device))
        # where no row of this rank's is asked for, others wait for it
        targets = local.targets if n_local else local.targets.clamp(min=0)
        drops = model.config.dropout
        dropping = seeded_dropout(recipe, step, micro, ranks.rank) if drops else nullcontext()
        with exchanging(loss_of, micro == last):
            with dropping, autocast(device, recipe.dtype):
                part = loss_of(local.ids, targets, **local.extra)
            if len(batches) > 1 or ranks.size > 1:
                part = part * (n_local / sum(counts))
            (part if ranks.size == 1 else part * ranks.size).backward()  # ranks take the mean
        loss += part.detach()
    return ranks.total(loss)


def exchanging(loss_of: LossFunction, last: bool) -> AbstractContextManager[object]:
    """Around a pass whose gradient DDP exchanges only with that of the last batch."""
    wait = getattr(loss_of, "no_sync", None)
    return nullcontext() if last or wait is None else wait()


def clip_and_check(
    model: AnyModel,
    loss: Tensor,
    batches: Sequence[Batch],
    recipe: Recipe,
    step: int,
    ranks: Ranks = ALONE,
) -> tuple[float, float]:
    """Clip the gradient to its greatest allowed norm; return the loss and the norm before that.

    Raises NonFiniteError, which names where the first number went wrong, if either is not finite.
    Source: Pascanu et al. 2013, algorithm 1.
    """
    norm = torch.nn.utils.get_total_norm([p.grad for p in model.parameters() if p.grad is not None])
    norm = full_tensor(norm)
    loss_value, norm_value = torch.stack((loss, norm.to(loss.dtype))).tolist()  # the one wait
    if not (math.isfinite(loss_value) and math.isfinite(norm_value)):
        what = (
            f"the loss is {loss_value}"
            if not math.isfinite(loss_value)
            else f"the loss is {loss_value:.4f} but the gradient's norm is {norm_value}"
        )
        examined = ranks.whole_model(model)

        def refuse() -> None:
            assert examined is not None
            raise NonFiniteError(
                f"step {step}: {what}; {find_non_finite(examined, batches, recipe, step)};"
                f" stopped before the update, so the weights are those after step {step - 1};"
                " a lower lr, a longer warm-up or a smaller clip is the usual cure"
            )

        ranks.first_does(refuse)
    greatest = recipe.clip or math.inf
    if norm_value > 0.99 * greatest:  # else every number would be multiplied by 1
        torch.nn.utils.clip_grads_with_norm_(model.parameters(), greatest, norm)
    return loss_value, norm_value


def find_non_finite(model: AnyModel, batches: Sequence[Batch], recipe: Recipe, step: int) -> str:
    """Say which weight, recorded value or gradient is the first that is not finite."""
    for view in model.views():
        if not view.value.isfinite().all():
            return f"the weight {view.name} is not finite"
    device = next(model.parameters()).device
    result: dict[str, int] = {}  # name -> the node's index in the pass
    with evaluating(model):
        for batch in batches:
            for row in range(0, len(batch.ids), batch.together):  # a block at a time bounds memory
                rows = slice(row, row + batch.together)
                ids, targets, extra = batch.map(lambda tensor, some=rows: tensor[some].to(device))
                step_targets = targets if (targets >= 0).any() else None
                with autocast(device, recipe.dtype):
                    trace = model.watch(ids, step_targets, **extra)
                for index, recorded in enumerate(trace.computed):
                    value = trace.value_of(recorded)
                    masked = recorded.name.endswith("attn_scores")  # -inf by design
                    if not (value.nan_to_num(neginf=0.0) if masked else value).isfinite().all() or (
                        masked and value.isnan().any()
                    ):
                        result.setdefault(recorded.path, index)
                        break
    if result:
        return f"the first value that is not finite is {min(result, key=result.__getitem__)}"
    accumulate_gradient(model, model.loss, batches, recipe, step)
    largest = {
        view.name: float(view.value.abs().max())
        for view in model.views(lambda p: p if p.grad is None else p.grad)
    }
    wrong = [name for name, value in largest.items() if not math.isfinite(value)]
    if wrong:  # gradients travel from the loss down: the last of the forward pass is the first
        return f"every forward value is finite; the gradient of {wrong[-1]} is not"
    name = max(largest, key=largest.__getitem__)
    return f"every value is finite, but the gradient of {name} reaches {largest[name]:.3g}"
