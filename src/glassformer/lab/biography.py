"""One number, weight or value through training, down to the single update that moved it most."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from glassformer.errors import GlassformerError, did_you_mean
from glassformer.model.evaluating import evaluating
from glassformer.model.kinds import AnyModel, kind_of
from glassformer.text.tokenizer import Tokenizer
from glassformer.trace import Address
from glassformer.trace.cancel import CancelCheck, Cancelled, never_cancelled
from glassformer.training.data import Batch
from glassformer.training.muon import matrices
from glassformer.training.optimizer import muon_lr
from glassformer.training.replay import Replay, nearest, saved_states, state_at
from glassformer.training.run import read_description, read_metrics

SECONDS = 60.0
"""How much of training is replayed in search of an update, unless the caller says otherwise."""

Reader = Callable[[AnyModel], Tensor]


@dataclass(frozen=True)
class Point:
    """What was followed, after `step` updates; `moved`: its way per update since the point before.

    The way is the length of the change: its size, where it is one number.
    """

    step: int
    value: Tensor
    moved: float


@dataclass(frozen=True)
class Turn:
    """The update that moved it most, and what it was made with.

    `gradient`: of what was followed, clipped as the optimizer saw it; None for a value that is no
    weight. `rates`: the learning rates of what moves it, by optimizer. `grad_norm`: of all weights,
    before clipping.
    """

    step: int
    before: Tensor
    after: Tensor
    gradient: Tensor | None
    rates: dict[str, float]
    loss: float
    grad_norm: float
    batches: list[Batch]

    @property
    def moved(self) -> float:
        return way(self.before, self.after)


class Part(NamedTuple):
    """Letters of a text that was learned from; the loss asks for all of their tokens, or none."""

    text: str
    asked: bool


def parts_of(batch: Batch, tokenizer: Tokenizer, causal: bool = True) -> Iterator[list[Part]]:
    """Each text of a batch; of a chat, up to the last token that is asked for, in its parts.

    Of two towers it is the source, and the translation that is asked for.

    >>> words = Tokenizer.from_words(["user", "hello", "model", "goodbye"])
    >>> batch = Batch(torch.tensor([[0, 1, 2, 0]]), torch.tensor([[-100, -100, 3, -100]]))
    >>> [[(part.text, part.asked) for part in text] for text in parts_of(batch, words)]
    [[('user hello model', False), ('goodbye', True)]]
    """
    sources = batch.extra["source"].tolist() if "source" in batch.extra else []
    for source, targets in zip(sources, batch.targets.tolist(), strict=bool(sources)):
        translation = tokenizer.decode(token for token in targets if token >= 0)
        yield [Part(f"{tokenizer.decode(source)} → ", False), Part(translation, True)]
    if sources:
        return
    for ids, targets in zip(batch.ids.tolist(), batch.targets.tolist(), strict=True):
        positions = [pos for pos, target in enumerate(targets) if target >= 0]
        if not causal or not positions or len(positions) == len(targets):
            yield [Part(with_blanks(ids, tokenizer), True)]
            continue
        end = positions[-1] + 1
        tokens = [*ids[:end], targets[end - 1]]
        asked = [False, *(target >= 0 for target in targets[:end])]
        runs = groupby(zip(tokens, asked, strict=True), key=lambda one: one[1])
        yield [
            Part(tokenizer.decode(token for token, _ in run), is_asked) for is_asked, run in runs
        ]


def with_blanks(ids: list[int], tokenizer: Tokenizer) -> str:
    """The text of ids, and in it the blanks, which are no text and have no part in `decode`.

    >>> words = Tokenizer.of_masked_words(["the cat sat"])
    >>> with_blanks(words.encode_blanks("the [MASK] sat"), words)
    'the [MASK] sat'
    """
    parts: list[list[int]] = [[]]
    for token in ids:
        if token == tokenizer.mask_id:
            parts.append([])
        else:
            parts[-1].append(token)
    return f" {tokenizer.mask} ".join(tokenizer.decode(part).strip() for part in parts).strip()


Stretch = tuple[int, int]
"""A saved step and the next one: what lies between is known by replaying it."""


@dataclass(frozen=True)
class Biography:
    """`points` at every saved step; `turn`: the update with the largest change of all replayed.

    `axes` are those of the followed values. `path`: every step of the stretch that `turn` is in.
    `searched`: the stretches that were replayed, in order.
    """

    address: Address
    axes: tuple[str, ...]
    points: list[Point]
    path: list[Point]
    turn: Turn
    searched: list[Stretch]

    @property
    def updates(self) -> int:
        """How many updates were replayed."""
        return sum(end - start for start, end in self.searched)


def biography(
    folder: Path,
    where: Address,
    ids: Tensor | None = None,
    more: Mapping[str, Any] | None = None,
    report: Callable[[int, int], None] = lambda start, end: None,
    seconds: float = SECONDS,
) -> Biography:
    """Follow what is at an address through a run's saved steps, then update by update.

    ids [1, pos]: the prompt that a value of the forward pass is read on; a weight needs none. more:
    what the model reads beside it, as the source of a translation.
    report: called with the first and last step of each stretch before it is replayed.
    seconds: how much of training, in the time it took then, is replayed: the stretches with the
    largest movement per update first, and one at least.
    """
    followed = Followed(folder, where, ids, more)
    points = followed.points()
    seconds_at = _seconds_of(folder)
    left = seconds
    best: tuple[list[Point], Turn] | None = None
    searched: list[Stretch] = []
    for start, end in stretches(points):
        known = end in seconds_at and (start in seconds_at or not start)
        cost = seconds_at[end] - seconds_at.get(start, 0.0) if known else math.inf
        if best is not None and not cost <= left:
            continue
        left -= cost
        report(start, end)
        result = followed.replay(start, end)
        searched.append((start, end))
        if best is None or (result[1].moved, -result[1].step) > (best[1].moved, -best[1].step):
            best = result
    assert best is not None, "two points have a stretch between them"
    return Biography(followed.where, followed.axes, points, *best, sorted(searched))


def stretches(points: list[Point]) -> list[Stretch]:
    """The stretches between points, the one with the largest movement per update first."""
    order = sorted(range(1, len(points)), key=lambda i: -points[i].moved)
    return [(points[i - 1].step, points[i].step) for i in order]


def _seconds_of(folder: Path) -> dict[int, float]:
    """What training had taken after each step."""
    rows = read_metrics(folder / "metrics.jsonl")
    return {row["step"]: row["seconds"] for row in rows if "seconds" in row}


class Followed:
    """One address of a run, read at any step of its training."""

    def __init__(
        self,
        folder: Path,
        where: Address,
        ids: Tensor | None = None,
        more: Mapping[str, Any] | None = None,
    ) -> None:
        nearest(folder, 0)  # refuses a folder whose past is not known
        self.folder = folder
        self.where = _resolved(folder, where, ids)
        self.steps = list(saved_states(folder))
        if len(self.steps) < 2:
            saved = f"one step only, {self.steps[0]}" if self.steps else "no step"
            raise GlassformerError(
                f"{folder} has saved {saved}; a biography takes two or more,"
                " so train on or leave snapshot_mb above 0"
            )
        self.axes, self.read = _reader(
            state_at(folder, self.steps[0]).model, self.where, ids, more or {}
        )

    def points(self) -> list[Point]:
        """What it was at every saved step."""
        return _points((step, self.read(state_at(self.folder, step).model)) for step in self.steps)

    def replay(
        self, start: int, end: int, is_cancelled: CancelCheck = never_cancelled
    ) -> tuple[list[Point], Turn]:
        """Train from one saved step to another again, reading after each update."""
        replay = Replay(self.folder, start)
        path = [Point(start, self.read(replay.model), 0.0)]
        turn: Turn | None = None
        largest = -1.0
        while replay.step < end:
            if is_cancelled():
                raise Cancelled(f"nobody waits for this any more; it ends at {replay.step}")
            row = replay.advance()
            before, after = path[-1].value, self.read(replay.model)
            path.append(Point(replay.step, after, way(before, after)))
            if path[-1].moved > largest:
                largest = path[-1].moved
                is_weight = self.where.kind == "weight"
                turn = Turn(
                    replay.step,
                    before,
                    after,
                    weight_slice(replay.model, self.where, gradient=True) if is_weight else None,
                    self._rates(replay, row.get("lr", math.nan)),
                    row.get("loss", math.nan),
                    row.get("grad_norm", math.nan),
                    replay.batches(replay.step),
                )
        assert turn is not None, "a stretch has a step"
        return path, turn

    def _rates(self, replay: Replay, lr: float) -> dict[str, float]:
        """The learning rates of what moves it: of a weight one, of a value those of all weights."""
        rates = {"AdamW": lr}
        if replay.recipe.optimizer != "muon":
            return rates
        muons = {"Muon": muon_lr(replay.recipe, lr)}
        if self.where.kind != "weight":
            return muons | rates
        return muons if self.where.name in {m.name for m in matrices(replay.model)} else rates


def _points(values: Iterable[tuple[int, Tensor]]) -> list[Point]:
    points: list[Point] = []
    for step, value in values:
        moved = 0.0
        if points:
            last = points[-1]
            moved = way(last.value, value) / (step - last.step)
        points.append(Point(step, value, moved))
    return points


def way(before: Tensor, after: Tensor) -> float:
    """The length of a change; equal infinities have not moved.

    >>> way(torch.tensor([3.0, float("-inf")]), torch.tensor([1.0, float("-inf")]))
    2.0
    """
    return float(torch.where(before == after, 0.0, after.double() - before.double()).norm())


def _resolved(folder: Path, where: Address, ids: Tensor | None) -> Address:
    """The address with its true kind: a weight's name may be written without one."""
    if where.step is not None or where.token is not None:
        raise GlassformerError(
            f"{where}: a biography is about all steps; leave out @step and @token"
        )
    config = read_description(folder).model
    with torch.device("meta"):
        weights = [view.name for view in kind_of(config)(config).views()]
    if where.kind not in ("fwd", "weight"):
        raise GlassformerError(
            f"{where} can't be followed; give a weight (weight/...) or a value (fwd/...)"
        )
    if where.name in weights:
        return replace(where, kind="weight")
    if where.kind == "weight" or ids is None:
        raise GlassformerError(
            f"this model has no weight {where.name!r}.{did_you_mean(where.name, weights)} A value"
            " of the forward pass needs --prompt TEXT to read"
        )
    return where


def _reader(
    model: AnyModel, where: Address, ids: Tensor | None, more: Mapping[str, Any]
) -> tuple[tuple[str, ...], Reader]:
    """The axes that are left at the address, and what reads it from a model."""

    def weight(model: AnyModel) -> Tensor:
        return weight_slice(model, where)

    def value(model: AnyModel) -> Tensor:
        assert ids is not None, "a value is read on a prompt"
        with evaluating(model):
            return model.watch(ids, keep=where.name, **more)[where].clone()

    if where.kind == "weight":
        view = next(view for view in model.views() if view.name == where.name)
        axes, shape = view.axes, tuple(view.value.shape)
    else:
        assert ids is not None, "a value is read on a prompt"
        node = model.watch(ids, keep=where.name, **more).node(where)
        axes, shape = node.axes, node.shape
    slices = where.slices(axes, shape)
    left = tuple(a for a, index in zip(axes, slices, strict=True) if isinstance(index, slice))
    return left, weight if where.kind == "weight" else value


def weight_slice(model: AnyModel, where: Address, gradient: bool = False) -> Tensor:
    """A copy of a weight, or of its gradient, at an address."""
    views = model.views(_gradient) if gradient else model.views()
    view = next(view for view in views if view.name == where.name)
    index = where.slices(view.axes, tuple(view.value.shape))
    return view.value.detach()[index].clone()


def _gradient(parameter: torch.nn.Parameter) -> Tensor:
    return torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
