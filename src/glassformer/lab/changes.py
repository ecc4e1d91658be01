"""Two passes beside each other: what an edit did to the prediction, and where it traveled."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from glassformer.checked import COUNT, whole
from glassformer.errors import GlassformerError
from glassformer.kernels.finite import refuse_no_numbers
from glassformer.lab.edits import Edit
from glassformer.lab.numbers import AT_A_TIME
from glassformer.model import EncoderDecoder
from glassformer.model.ids import refuse_outside
from glassformer.model.kinds import AnyModel
from glassformer.model.texts import Texts, known_tokenizer, next_tokens
from glassformer.ops.loss import surprise_steps
from glassformer.trace import Address, Recorder, Trace
from glassformer.trace.predicted import asked_pos, sees_both_ways
from glassformer.training.translation import translated


@dataclass(frozen=True)
class Shift:
    """One token's probability at the last position, before and after."""

    token: int
    word: str
    before: float
    after: float


@dataclass(frozen=True)
class Change:
    """How far one node's value moved.

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


def watch_text(model: AnyModel, text: Texts, edit: Edit | None = None) -> Trace:
    """One pass over a text that ends in `probs`, and in `loss` over its own next tokens.

    A single token has no next one: its trace has no loss, nor has an encoder's. Two towers read the
    text as their source, and then their own translation, whose words they are asked for; without
    an edit it is written.
    """
    targets: Tensor | None = None
    if isinstance(model, EncoderDecoder):
        if not isinstance(text, str):
            raise GlassformerError("of a model with two towers give the source as a text")
        ids, targets, source = translated(model, known_tokenizer(model.tokenizer), text)
        trace = model.watch(ids, source=source, edit=edit or {})
    else:
        trace = model.watch(text, edit=edit)
        ids = trace.value_of(trace.node("token/ids"))
        if ids.shape[1] > 1 and not sees_both_ways(trace):
            targets = next_tokens(ids)
    refuse_no_numbers(trace.value_of(trace.node("fwd/logits")))
    if targets is not None:
        tape = Recorder(trace)
        tape.leaf("token", "targets", targets, ("batch", "pos"))
        logits, largest, total = (
            trace.value_of(trace.node(f"fwd/{name}"))
            for name in ("logits", "logits_max", "logits_sum")
        )
        surprise_steps(tape, "loss", logits, largest, total, targets)
    return trace


def next_token_shifts(before: Trace, after: Trace, n: int = 10) -> list[Shift]:
    """The n most probable next tokens of either pass, the largest changes first.

    The position is the last one, of an encoder its first blank; both traces need `probs`, and the
    first text counts.
    """
    n = whole("n", n, COUNT)
    both = [trace.value_of(trace.node("fwd/probs"))[0] for trace in (before, after)]
    at = asked_pos(before, len(both[0]))
    p, q = (probs[at].double() for probs in both)
    tokens = {int(i) for probs in (p, q) for i in probs.topk(min(n, len(probs))).indices}
    shifts = [
        Shift(token, word_of(before, token), p[token].item(), q[token].item()) for token in tokens
    ]
    return sorted(shifts, key=lambda s: (-abs(s.after - s.before), s.token))


def surprise_at_the_end(trace: Trace, token: int) -> float:
    """-ln p of a token after the last one of the first text, or in its blank, in float64."""
    each = trace.value_of(trace.node("fwd/logits"))[0]
    logits = each[asked_pos(trace, len(each))].double()
    refuse_outside(torch.tensor(token), len(logits))
    return (logits.logsumexp(0) - logits[token]).item()


def word_of(trace: Trace, token: int) -> str:
    """A token's text as the trace's labels have it, or its id.

    >>> word_of(Trace(), 7)
    'id 7'
    """
    words = trace.labels.get("vocab", ())
    return words[token] if token < len(words) else f"id {token}"


def changes(before: Trace, after: Trace) -> list[Change]:
    """Every node whose value differs, in the order of the pass."""
    kept = [
        {node.path for node in trace.computed if node.value is not None}
        for trace in (before, after)
    ]
    paths = [node.path for node in before.computed if node.path in kept[0] & kept[1]]
    return [result for path in paths if (result := change(before, after, path)).numbers]


def change(before: Trace, after: Trace, path: str) -> Change:
    """How far the value of one path moved, in float64; nowhere: by 0, at its first number.

    Masked scores are minus infinity on both sides, which is no change.

    Errors: values of different shapes.
    """
    node, other = before.node(path), after.node(path)
    if node.shape != other.shape:
        raise GlassformerError(
            f"{node.path} is {[*node.shape]} in one pass and {[*other.shape]} in the other;"
            " compare texts with as many tokens"
        )
    numbers, moved, length = 0, 0.0, 0.0
    farthest: list[tuple[int, float]] = []  # of every part: where, and by how much
    sides = (before.value_of(node), after.value_of(other))
    parts = (torch.split(side.detach().reshape(-1), AT_A_TIME) for side in sides)
    for k, (was, now) in enumerate(zip(*parts, strict=True)):
        gap = torch.where(was == now, 0.0, now.double() - was.double())
        at = int(gap.abs().argmax())
        farthest.append((k * AT_A_TIME + at, gap[at].item()))
        numbers += int((gap != 0).sum())
        moved += _squares(gap)
        length += _squares(was.double())
    by = torch.tensor([gap for _, gap in farthest], dtype=torch.float64)
    flat, largest = farthest[int(by.abs().argmax())]
    index = torch.unravel_index(torch.tensor(flat), tuple(node.shape))
    where = Address(
        node.kind, node.name, tuple((a, int(i)) for a, i in zip(node.axes, index, strict=True))
    )
    relative = 0.0 if moved == 0 else math.sqrt(moved / length) if length else math.inf
    return Change(
        node.path, largest, str(where), relative, numbers, math.prod(node.shape), other.edited
    )


def _squares(numbers: Tensor) -> float:
    """The sum of the squares of those that are finite."""
    return numbers.nan_to_num(nan=0.0, posinf=0.0, neginf=0.0).square_().sum().item()
