"""Before the start: how large, how long, and is the text enough?"""

from __future__ import annotations

import copy
import os
import resource
import statistics
import time
from typing import NamedTuple

import torch

from glassformer.describe import about, counted
from glassformer.errors import GlassformerError
from glassformer.kernels.threads import one_thread
from glassformer.memory import machine_memory
from glassformer.model import Config, TowersConfig, size
from glassformer.model.kinds import AnyModel
from glassformer.model.size import adapter_parameters, parameter_count
from glassformer.training.data import Data
from glassformer.training.device import precision
from glassformer.training.loop import Loop, is_small
from glassformer.training.ranks import ALONE, Ranks
from glassformer.training.recipe import Recipe
from glassformer.watch.view import learned

TRIAL_STEPS = 12  # the first warms up and is not counted; of few, one that waited tells too much
TRIAL_BATCHES = 4  # of a step's, at most
TRIAL_SECONDS = 6.0  # no further trial step after so many
BYTES_PER_PARAMETER = 16  # weight, gradient and AdamW's two moments, each fp32
ENOUGH = 20  # tokens per parameter: Hoffmann et al. 2022, table 3


class Plan(NamedTuple):
    """What a run will cost, and how much it can learn from."""

    parameters: int
    tokens_per_step: int
    steps: int
    n_tokens: int
    """Tokens in the training part."""
    seconds_per_step: float
    state_bytes: int
    """Weights, gradients and optimizer state."""
    peak_bytes: int
    """The most this process (on CUDA: the device) held in the trial steps."""
    precision: str = "weights and products in float32"
    """What is computed and kept in which dtype."""
    holds_out: bool = True
    """Whether a part of the text is kept to be measured on."""
    learned: int = 0
    """Parameters that are trained, where the others stay as they are; 0: all are."""

    @property
    def seconds(self) -> float:
        return self.steps * self.seconds_per_step

    @property
    def tokens_seen(self) -> int:
        return self.steps * self.tokens_per_step

    @property
    def epochs(self) -> float:
        return self.tokens_seen / self.n_tokens

    def verdict(self) -> str:
        """Whether the text is enough, in one sentence.

        >>> plan = Plan(1_000_000, 4_096, 1_000, 300_000, 0.05, 16_000_000, 50_000_000)
        >>> plan.verdict()
        '4.1 tokens seen per parameter, each about 14 times: expect the held-out loss to turn\
 upwards; --patience 3 stops there, more text or a smaller model goes further'
        """
        share = self.tokens_seen / self.parameters
        per_parameter = f"{share:{'.2g' if share < 99 else ',.0f'}} tokens seen per parameter"
        if not self.holds_out:
            return f"{per_parameter}, each about {self.epochs:,.0f} times: learned by heart"
        if self.epochs > 8:
            return (
                f"{per_parameter}, each about {self.epochs:,.0f} times: expect the held-out loss to"
                " turn upwards; --patience 3 stops there, more text or a smaller model goes further"
            )
        seen = (
            f"{per_parameter}, each about {about(self.epochs)} times"
            if self.epochs > 1
            else (f"{per_parameter}, {self.epochs:.0%} of the text")
        )
        if self.tokens_seen < ENOUGH * self.parameters:
            return (
                f"{seen}: enough text; more --steps would still help (about {ENOUGH} per parameter)"
            )
        return f"{seen}: enough"


def make_plan(model: AnyModel, data: Data, recipe: Recipe, ranks: Ranks = ALONE) -> Plan:
    """Try a few steps on a copy that is thrown away, and count what they took.

    Of a step of many batches a few are tried, and the others taken to be like them.
    """
    parameters = parameter_count(model.config)
    n_learned = sum(parameter.numel() for parameter in learned(model).values())
    device = next(model.parameters()).device
    tried = min(recipe.accumulate, TRIAL_BATCHES)
    trial = Loop(
        copy.deepcopy(model),
        data,
        # evaluation and samples apart; compiling takes longer than it tells
        recipe.replace(accumulate=tried, eval_every=0, sample_every=0, save_every=0, compile=False),
        ranks=ranks,
    )
    trial.model.train()
    seconds: list[float] = []
    tokens_per_step = trial.tokens_per_step // tried * recipe.accumulate
    with one_thread(is_small(model, tokens_per_step)):  # as in training
        for _ in range(min(TRIAL_STEPS, recipe.steps)):
            started = time.perf_counter()
            trial.advance()
            seconds.append(time.perf_counter() - started)
            if ranks.any(sum(seconds) > TRIAL_SECONDS):
                break
    return Plan(
        parameters,
        tokens_per_step,
        recipe.steps,
        data.n_tokens,
        statistics.median(seconds[1:] or seconds) * recipe.accumulate / tried,
        state_bytes(parameters, n_learned),
        peak_bytes(device),
        precision(model, recipe.dtype),
        data.holds_out,
        0 if n_learned == parameters else n_learned,
    )


def state_bytes(parameters: int, n_learned: int) -> int:
    """Bytes of weights, gradients and optimizer state; of a frozen weight only itself is kept."""
    return BYTES_PER_PARAMETER * n_learned + 4 * (parameters - n_learned)


def refuse_larger_than_memory(config: Config | TowersConfig, batch_size: int) -> None:
    """Raise before anything is allocated if the machine can't hold what training takes at least.

    Of a batch, what the backward pass reads again of every block: queries, keys, values, what is
    mixed of them, and the neurons.
    """
    towers = (config.encoder, config.decoder) if isinstance(config, TowersConfig) else (config,)
    each = sum(c.n_layers * (4 * c.n_heads * c.d_head + c.d_mlp) for c in towers)
    values = 4 * batch_size * config.n_ctx * each
    what = f"weights, gradient, optimizer and a batch of {batch_size:,} x {config.n_ctx:,} tokens"
    parameters = parameter_count(config)
    more = state_bytes(parameters, adapter_parameters(config) or parameters) - 4 * parameters
    size.refuse_larger_than_memory(config, 4, what, values + more)


def refuse_steps_larger_than_memory(data: Data, recipe: Recipe) -> None:
    """Raise before any is made if the machine can't hold the ids and targets of one step."""
    needed = 2 * 8 * data.batch(0, 1).n_tokens * recipe.blocks_per_step
    if needed > size.SHARE * machine_memory():
        raise GlassformerError(
            f"one step reads {counted(recipe.accumulate, 'batch', 'batches')} of"
            f" {recipe.batch_size:,}, whose ids and targets would take {needed / 1e9:,.0f} GB, more"
            f" than {size.SHARE:.0%} of this machine's {machine_memory() / 1e9:,.3g} GB; give a"
            " smaller accumulate or batch_size"
        )


def peak_bytes(device: torch.device) -> int:
    """The most memory in use so far."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if os.uname().sysname == "Darwin" else peak * 1024
