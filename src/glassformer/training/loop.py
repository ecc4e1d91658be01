"""The loop: steps, and between them evaluation, samples, checkpoints and snapshots."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import torch

from glassformer.errors import GlassformerError
from glassformer.kernels.threads import one_thread
from glassformer.metrics import Health, Row
from glassformer.model.evaluating import evaluating
from glassformer.model.kinds import AnyModel
from glassformer.training import checkpoint as ck
from glassformer.training.compiling import compiled
from glassformer.training.data import Batch, Data
from glassformer.training.device import widen
from glassformer.training.evaluate import evaluate
from glassformer.training.health import (
    dead_units,
    gradient_norms,
    uniform_loss,
    unigram_loss,
    update_to_weight,
)
from glassformer.training.ranks import ALONE, Ranks
from glassformer.training.recipe import Recipe
from glassformer.training.recompute import recompute_blocks
from glassformer.training.resumable import Resumable
from glassformer.training.run import Run
from glassformer.training.schedule import learning_rate
from glassformer.training.step import (
    LossFunction,
    NonFiniteError,
    accumulate_gradient,
    clip_and_check,
    seeded_sampling,
)
from glassformer.training.trainable import check_trainable
from glassformer.watch.view import learned

SMALL = 2e7
"""Weights times tokens of a step that one core gets through before a second one is up.

300 steps on six sentences (1,000 weights, 128 tokens) take 4 s on one thread and on two, and on two
cores that other programs keep busy 4 s on one and 36 on two.
"""
EARLY_FROM = 8  # the first snapshot whose held-out loss tells more than that of step 0


def is_small(model: AnyModel, tokens_per_step: int) -> bool:
    """Whether a step is too short for several threads."""
    weights = sum(parameter.numel() for parameter in model.parameters())
    return weights * tokens_per_step <= SMALL


class Outcome(NamedTuple):
    """How training ended: `reason` is finished, stopped or early; every row reported, in order."""

    reason: str
    step: int
    rows: list[Row]

    @property
    def val_loss(self) -> float:
        """The last held-out loss, nats per token; nan where nothing was held out."""
        return next((row["val_loss"] for row in reversed(self.rows) if "val_loss" in row), math.nan)


def train(
    model: AnyModel,
    data: Data,
    recipe: Recipe,
    *,
    run: Run | None = None,
    report: Callable[[Row], None] = lambda row: None,
    should_stop: Callable[[], bool] = lambda: False,
    sample: Callable[[AnyModel], str] | None = None,
    ranks: Ranks = ALONE,
) -> Outcome:
    """Train `model` in place, on the device it is on; in a `run`, leave checkpoints and metrics.

    Weights in half precision become float32 first, and stay so.

    report: called with every row of metrics, those that metrics.jsonl holds: `loss`, `lr`,
    `grad_norm`, `tokens_per_second`, `seconds` of each step; now and then `val_loss` and `floor`
    (nats per token; `text_loss` of the whole text, where none is held out), `health`, `sample`.
    What it raises is raised again once the step is done and saved.
    should_stop: asked between steps; if true, training saves
    and returns. A run with checkpoints goes on from the newest, bit for bit (fp32, CPU).
    ranks: the processes that train together, each of which calls this.

    Raises NonFiniteError before an update that would spoil the weights, or where one has: nothing
    that is not finite is saved.

    >>> import tempfile
    >>> from glassformer.model import Config, Decoder
    >>> from glassformer.text.blocks import Blocks
    >>> from glassformer.text.shard_writing import write_shard
    >>> from glassformer.text.tokenizer import Tokenizer
    >>> from glassformer.training.data import BlocksData
    >>> words = Tokenizer.from_words(["one", "two", "three", "four"])
    >>> shard = write_shard(tempfile.mkdtemp(), ["one two three four " * 100], words)
    >>> data = BlocksData(Blocks(shard, n_ctx=8))
    >>> config = Config(vocab_size=4, n_ctx=8, d_model=16, n_layers=1, n_heads=2)
    >>> model = Decoder(config, torch.Generator().manual_seed(0))
    >>> outcome = train(model, data, Recipe(steps=60, batch_size=8, lr=1e-2, warmup_steps=5))
    >>> outcome.reason, outcome.val_loss < 0.1
    ('finished', True)
    """
    loop = Loop(model, data, recipe, run, report, sample, ranks)
    with one_thread(loop.is_small):
        return loop.go(should_stop)


class Loop(Resumable):
    """One training run: its steps, and what falls due between them."""

    def __init__(
        self,
        model: AnyModel,
        data: Data,
        recipe: Recipe,
        run: Run | None = None,
        report: Callable[[Row], None] = lambda row: None,
        sample: Callable[[AnyModel], str] | None = None,
        ranks: Ranks = ALONE,
    ) -> None:
        check_trainable(model.config)
        widen(model)
        if recipe.checkpoint_activations:
            recompute_blocks(model)
        # before the optimizer takes the weights: ranks may divide them among themselves
        self.eager: LossFunction = ranks.loss_of(model)
        self.compiles = recipe.compile
        """Whether the next step compiles, as the first of a sitting does."""
        self.loss = compiled(self.eager) if self.compiles else self.eager
        super().__init__(model, data, recipe, run, report, ranks)
        self.sample = sample
        self.tokens_per_step = recipe.accumulate * data.batch(0, recipe.batch_size).n_tokens

    @property
    def is_small(self) -> bool:
        """Whether its steps are too short for several threads."""
        return is_small(self.model, self.tokens_per_step)

    def go(self, should_stop: Callable[[], bool]) -> Outcome:
        if self.run is not None and ck.steps_saved(self.run.checkpoints):
            self.resume(self.run)
        else:
            self.begin()
        self.model.train()
        if self.ranks.size > 1 and self.step < self.recipe.steps:
            # DDP sums in an order that it takes from its first backward pass: this one is thrown
            # away, so that a resumed run's first step is summed like an uninterrupted one's
            self.gradient(self.batches(self.step + 1), self.step + 1)
        reason = "finished"
        while self.step < self.recipe.steps:
            if self.recipe.patience and self.waited >= self.recipe.patience:
                reason = "early"
                break
            if self.ranks.any(should_stop() or self.unheard is not None):
                reason = "stopped"
                break
            self.advance()
        self.save()
        outcome = self.end(reason)
        if self.unheard is not None:
            raise self.unheard
        return outcome

    def begin(self) -> None:
        """Before the first step: what plain guesses lose, and what the untrained model does."""
        if self.run is not None:
            self.run.forget_after(-1)  # what a start that was ended had measured
        if self.ranks.is_first:
            self.report(self.plain_guesses())
        self.evaluate()
        self.snapshot()
        self.save()  # from here on the run can be resumed

    def plain_guesses(self) -> Row:
        """What a guess loses that knows nothing, and one that knows only how often tokens occur.

        Of replies that are compared it is a guess that prefers neither.
        """
        if self.data.batch(0, 1).together == 2:
            return {"step": 0, "uniform_loss": math.log(2)}
        held_out = self.data.held_out(self.recipe.batch_size)
        return {
            "step": 0,
            "uniform_loss": uniform_loss(self.model.config.vocab_size),
            "unigram_loss": unigram_loss(self.data.counts(), held_out),
        }

    def advance(self) -> None:
        """One step, and what falls due after it."""
        recipe, started = self.recipe, time.perf_counter()
        step = self.step + 1
        last = step == recipe.steps
        due = falls_due(step, recipe.eval_every, last)
        batches = self.batches(step)
        loss = self.gradient(batches, step)
        layers = gradient_norms(self.model) if due else {}
        try:
            loss_value, norm = clip_and_check(self.model, loss, batches, recipe, step, self.ranks)
        except NonFiniteError as error:
            raise self.with_batch_saved(error, batches, step) from error
        before = {n: p.detach().clone() for n, p in learned(self.model).items()} if due else {}
        lr = learning_rate(recipe, step)
        self.optimizer.step(lr)
        self.step = step
        seconds = time.perf_counter() - started
        self.seconds += seconds
        self.report(
            {
                "step": step,
                "loss": loss_value,
                "lr": lr,
                "grad_norm": norm,
                "tokens_per_second": self.tokens_per_step / seconds,
                "seconds": self.seconds,
            }
        )
        if due:
            changes = update_to_weight(self.model, before)
            self.evaluate(health={"grad_norm": layers, "update_to_weight": changes})
        elif EARLY_FROM <= step < recipe.eval_every and self.keeps(step):
            self.measure()  # the loss falls fastest before the first evaluation is due
        if self.sample is not None and falls_due(step, recipe.sample_every, last):
            self.show_sample(self.sample, step)
        self.snapshot()
        if not last and falls_due(step, recipe.save_every):
            self.save()

    def batches(self, step: int) -> list[Batch]:
        """What update number `step` (the first is 1) learns from."""
        n = self.recipe.accumulate
        numbers = range((step - 1) * n, step * n)
        return [self.data.batch(number, self.recipe.batch_size) for number in numbers]

    def gradient(self, batches: list[Batch], step: int) -> torch.Tensor:
        """The gradient of one step; compiling, which the first does, may fail: then eagerly."""
        step_of = partial(accumulate_gradient, self.model)
        try:
            gradient = step_of(self.loss, batches, self.recipe, step, self.ranks)
        except (GlassformerError, torch.OutOfMemoryError):
            raise
        except Exception as error:  # the compiler's errors share no class of their own
            is_compilers = type(error).__module__.startswith(("torch._dynamo", "torch._inductor"))
            if not self.compiles or (self.ranks.size > 1 and not is_compilers):
                raise  # of several ranks one may be gone, which is told by who waits for it
            reason = (str(error).strip() or type(error).__name__).splitlines()[0]
            if self.ranks.size > 1:  # the others wait for what this one was about to exchange
                raise GlassformerError(
                    f"compiling failed: {reason}; start again with --no-compile"
                ) from error
            self.report(
                {"step": self.step, "note": f"compiling failed, going on eagerly: {reason}"}
            )
            self.loss, self.compiles = self.eager, False
            return self.gradient(batches, step)
        self.compiles = False
        return gradient

    def evaluate(self, health: Health | None = None) -> None:
        """Measure, look at the model's health, and go by the loss where patience asks for it."""
        loss = self.measure()
        if health is not None:
            self.look_at_health(health)
        if loss < self.best_loss:
            self.best_loss, self.best_step, self.waited = loss, self.step, 0
            if self.recipe.patience:
                self.save()  # the one to go back to
        else:
            self.waited += 1

    def look_at_health(self, health: Health) -> None:
        model = self.ranks.whole_model(self.model)
        if model is not None:
            dead = dead_units(model, next(iter(self.data.held_out(8))))
            self.report({"step": self.step, "health": {**health, "dead_units": dead}})

    def show_sample(self, sample: Callable[[AnyModel], str], step: int) -> None:
        model = self.ranks.whole_model(self.model)
        if model is not None:
            with evaluating(model), seeded_sampling(self.recipe, step):
                text = sample(model)
            self.report({"step": step, "sample": text})

    def measure(self) -> float:
        """The mean loss over the held-out blocks, beside the floor where that is known.

        Where none are held out, it is the loss over the whole text, and its row says so.
        """
        started = time.perf_counter()
        held_out = self.data.held_out(self.recipe.batch_size)
        score = evaluate(self.model, held_out, dtype=self.recipe.dtype, ranks=self.ranks)
        loss = score.loss
        of = "held-out" if self.data.holds_out else "text's"
        if not math.isfinite(loss):
            raise NonFiniteError(self.diverged(f"the {of} loss is {loss}"))
        row: Row = {"step": self.step}
        if self.data.holds_out:
            row["val_loss"] = loss
        else:
            row["text_loss"] = loss
        if self.data.floor is not None:
            row["floor"] = self.data.floor
        row["eval_seconds"] = time.perf_counter() - started
        self.report(row)
        return loss

    def end(self, reason: str) -> Outcome:
        goes_back = self.recipe.keeps_best and self.best_step < self.step and reason != "stopped"
        if goes_back and self.run is not None:
            folder = ck.step_folder(self.run.checkpoints, self.best_step)
            ck.fill(self.model, self.recipe, ck.load_checkpoint(folder), folder)
            self.export(self.run)
        self.model.eval()
        return Outcome(reason, self.step, self.rows)


def falls_due(step: int, every: int, last: bool = False) -> bool:
    return every > 0 and (last or step % every == 0)
