"""The same training step again and again: what becomes of the loss."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from torch import Tensor

from glassformer.describe import counted
from glassformer.errors import GlassformerError
from glassformer.formula.spelling import number
from glassformer.ops import IGNORED
from glassformer.show.sheet import QUIET, Sheet
from glassformer.show.surprise import over_updates
from glassformer.show.table import Bars, Cell, Column, print_table
from glassformer.training.snapshots import log_spaced
from glassformer.training.train_state import TrainState

ROWS = 12  # of the table at most

More = dict[str, Any]
"""What a pass reads beside tokens and targets."""


def repeat(
    state: TrainState, ids: Tensor, targets: Tensor, more: More, steps: int
) -> tuple[list[int], list[float], TrainState]:
    """Make the same update again and again, as long as the loss is a number.

    Returns how many updates the model had, and its loss then: before the first and after each; and
    the state after the last.
    """
    loss = state.model.watch(ids, targets, keep="loss", **more)["fwd/loss"].item()
    refuse_no_number(loss)
    updates, losses = [state.done], [loss]
    while len(losses) <= steps and math.isfinite(loss):
        _, state = state.train_step(ids, targets, **more)
        loss = state.model.watch(ids, targets, keep="loss", **more)["fwd/loss"].item()
        updates.append(state.done)
        losses.append(loss)
    return updates, losses, state


def print_repeated(
    state: TrainState,
    targets: Tensor,
    updates: list[int],
    losses: list[float],
    sheet: Sheet,
) -> None:
    many = int((targets != IGNORED).sum()) > 1
    what = "typical probability of what is asked" if many else f"p({target_text(state, targets)})"
    if len(targets) > 1:
        many, what = False, "the probability that the reply is preferred"
    sheet.prose(
        f"The same step {counted(len(updates) - 1, 'time')}: what becomes of {what}", "bold"
    )
    sheet.line()
    chosen = log_spaced(len(updates) - 1, ROWS)
    shown = [losses[i] for i in chosen]
    printed = zip(*over_updates(np.array(shown)), shown, strict=True)
    rows: list[list[Cell]] = [
        [str(updates[i]), prob, loss, math.exp(-exact)]
        for i, (prob, loss, exact) in zip(chosen, printed, strict=True)
    ]
    right = {"right": True}
    title = "probability" if many or len(targets) > 1 else what
    columns = [Column("updates", **right), Column(title, **right)]
    print_table(sheet, [*columns, Column("loss", **right), Bars(total=1.0)], rows)
    if many:
        sheet.prose("typical: exp(-loss), the geometric mean over what is asked", QUIET, indent=2)
    if 0.0 in shown:
        sheet.prose(
            "loss 0: what all other tokens have is too little for fp32 to tell from 0",
            QUIET,
            indent=2,
        )
    print_overshoot(state, updates, losses, sheet)


def print_overshoot(
    state: TrainState, updates: list[int], losses: list[float], sheet: Sheet
) -> None:
    """Say it in words where an update made the loss larger, or no number at all."""
    rises = (i for i in range(1, len(losses)) if not losses[i] <= losses[i - 1])
    first = next(rises, None)
    if first is None:
        return
    was, now = over_updates(np.array(losses))[1][first - 1 : first + 1]  # as the table has them
    words = (
        f"Update {updates[first]} overshot: the loss rose from {was} to {now}. At learning rate"
        f" {state.next_lr:g} a step goes past the place where the loss is smallest."
    )
    if not math.isfinite(losses[-1]):
        words += (
            f" After update {updates[-1]} it is {number(losses[-1])}: it diverged, beyond what fp32"
            " can hold, so there is no next step."
        )
    sheet.line()
    sheet.prose(f"{words} A smaller --lr takes smaller steps.")


def refuse_no_number(loss: float, length: float = 0.0) -> None:
    if not math.isfinite(loss + length):
        raise GlassformerError(
            f"the loss of this text is {number(loss)}, its gradient's length {number(length)}:"
            " with these weights the numbers overflow, so there is no step to make; take a"
            " --from-step before they did, or train again at a smaller --lr"
        )


def target_text(state: TrainState, targets: Tensor) -> str:
    if len(targets) > 1:
        return "the chosen reply"
    tokens = targets[targets != IGNORED].tolist()
    return state.tokenizer.token(tokens[0]) if len(tokens) == 1 else "what is asked"
