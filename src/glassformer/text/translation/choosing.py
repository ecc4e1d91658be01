"""A text as a process that makes choices: drawn once, or followed through every choice it has.

A process is a function that asks `choose(options)` for each choice, with weighted options. So one
description both writes texts and tells their probabilities.
"""

from __future__ import annotations

import random
from bisect import bisect
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import accumulate
from typing import Protocol, TypeVar, runtime_checkable

Value = TypeVar("Value")
Options = Sequence[tuple[float, Value]]
"""What there is to choose from, each with its weight."""


@runtime_checkable  # so that the tests can check annotations
class Choose(Protocol):
    """Makes a choice, in proportion to the weights."""

    def __call__(self, options: Options[Value], /) -> Value: ...


Process = Callable[[Choose], Value]


def evenly(values: Iterable[Value]) -> Options[Value]:
    """Options that are equally likely."""
    return [(1, value) for value in values]


def drawing(generator: random.Random) -> Choose:
    """Choices drawn from a generator."""

    def choose(options: Options[Value]) -> Value:
        bounds = [*accumulate(weight for weight, _ in options)]
        return options[bisect(bounds[:-1], generator.random() * bounds[-1])][1]

    return choose


def outcomes(process: Process[Value]) -> Iterator[tuple[float, Value]]:
    """Every way through a process: the probability of its choices, and what comes of them.

    >>> def coins(choose):
    ...     return choose([(3, "head"), (1, "tail")]) + choose([(1, "!"), (1, "?")])
    >>> list(outcomes(coins))
    [(0.375, 'head!'), (0.375, 'head?'), (0.125, 'tail!'), (0.125, 'tail?')]
    """
    path: list[int] = []
    while True:
        followed = _Followed(path)
        value = process(followed)
        yield followed.p, value
        path = followed.taken
        while path and path[-1] + 1 == followed.numbers[len(path) - 1]:
            path.pop()
        if not path:
            return
        path[-1] += 1


class _Followed:
    """Chooses as `path` says, and beyond its end the first option of each."""

    def __init__(self, path: list[int]) -> None:
        self.taken: list[int] = []
        self._ahead = path[::-1]
        self.numbers: list[int] = []  # of options, at each choice
        self.p = 1.0

    def __call__(self, options: Options[Value], /) -> Value:
        self.taken.append(self._ahead.pop() if self._ahead else 0)
        self.numbers.append(len(options))
        weight, value = options[self.taken[-1]]
        self.p *= weight / sum(weight for weight, _ in options)
        return value
