"""Two passes beside each other: what an edit did to the prediction, and where it travelled."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from glassformer import ops
from glassformer.errors import GlassformerError
from glassformer.lab.edits import Edit
from glassformer.model import Transformer
from glassformer.ops.loss import surprise_steps
from glassformer.trace import Address, Recorder, Step, Trace


@dataclass(frozen=True)
class Shift:
    """One token's probability at the last position, before and after."""

    token: int
    before: float
    after: float


@dataclass(frozen=True)
class Change:
    """How far one step's value moved.

    `largest`: the change of the number that changed most, with its sign, found at `address`;
    `relative`: the length of the change divided by the length of the value before; `numbers`: how
    many changed, of `of`; `edited`: changed by hand.
    """

    path: str
    largest: float
    address: str
    relative: float
    numbers: int
    of: int
    edited: bool


def watch_text(model: Transformer, ids: Tensor, edit: Edit | None = None) -> Trace:
    """One pass over ids [batch, pos] that ends in `probs`, and in `loss` over its own next tokens.

    A single token has no next one: its trace has no loss.
    """
    trace = model.watch(ids, edit=edit)
    if ids.shape[1] > 1:
        targets = torch.full_like(ids, ops.IGNORED)
        targets[:, :-1] = ids[:, 1:]
        tape = Recorder(trace)
        tape.leaf("token", "targets", targets, ("batch", "pos"))
        logits, largest, total = (
            trace.value_of(trace.step(f"fwd/{name}"))
            for name in ("logits", "logits_max", "logits_sum")
        )
        surprise_steps(tape, "loss", logits, largest, total, targets)
    return trace


def next_token_shifts(before: Trace, after: Trace, n: int = 10) -> list[Shift]:
    """The n most probable next tokens of either pass, the largest changes first.

    The position is the last one; both traces need `probs`, and the first text counts.
    """
    p, q = (trace.value_of(trace.step("fwd/probs"))[0, -1].double() for trace in (before, after))
    tokens = {int(i) for probs in (p, q) for i in probs.topk(min(n, len(probs))).indices}
    shifts = [Shift(token, p[token].item(), q[token].item()) for token in tokens]
    return sorted(shifts, key=lambda s: (-abs(s.after - s.before), s.token))


def changes(before: Trace, after: Trace) -> list[Change]:
    """Every step whose value differs, in the order of the pass."""
    found = []
    for step in before.steps:
        other = after.nodes.get(step.path)
        if other is None or other.value is None or step.value is None:
            continue
        if step.shape != other.shape:
            raise GlassformerError(
                f"{step.path} is {[*step.shape]} in one pass and {[*other.shape]} in the other;"
                " compare texts with as many tokens"
            )
        change = _change(other, before.value_of(step), after.value_of(other))
        if change is not None:
            found.append(change)
    return found


def _change(step: Step, before: Tensor, after: Tensor) -> Change | None:
    # masked scores are minus infinity on both sides: no change
    gap = torch.where(before == after, 0.0, after.double() - before.double())
    moved = int((gap != 0).sum())
    if not moved:
        return None
    flat = int(gap.abs().argmax())
    index = torch.unravel_index(torch.tensor(flat), gap.shape)
    where = Address(
        step.kind, step.name, tuple((a, int(i)) for a, i in zip(step.axes, index, strict=True))
    )
    size = before.double().nan_to_num(neginf=0.0).norm().item()
    length = gap.nan_to_num(neginf=0.0, posinf=0.0).norm().item()
    relative = length / size if size else float("inf")
    largest = gap.flatten()[flat].item()
    return Change(step.path, largest, str(where), relative, moved, gap.numel(), step.edited)
