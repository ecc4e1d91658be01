"""What is shown of something long, and the sentence that says exactly what is left out."""

from __future__ import annotations

from dataclasses import dataclass

PLURALS = {
    "asked token": "asked tokens",
    "choice": "choices",
    "expert": "experts",
    "head": "heads",
    "key": "keys",
    "layer": "layers",
    "query": "queries",
    "token": "tokens",
}
"""Axes that are called by a word of English; the others have names."""


@dataclass(frozen=True)
class Fold:
    """Of `n` places the first `head` and the last `tail` are shown.

    >>> fold = Fold.of(12, 2, 1)
    >>> fold.shown, fold.summary("d_model")
    ([0, 1, 11], 'd_model 2 to 10 left out (9 of 12)')
    >>> fold.summary("head"), Fold.of(3, 2, 1).summary("d_model")
    ('heads 2 to 10 left out (9 of 12)', '')
    """

    n: int
    head: int
    tail: int

    @classmethod
    def of(cls, n: int, head: int, tail: int) -> Fold:
        """A fold that hides two places or more; below that, all are shown."""
        return cls(n, head, tail) if n > head + tail + 1 else cls.unfolded(n)

    @classmethod
    def unfolded(cls, n: int) -> Fold:
        return cls(n, n, 0)

    @property
    def missing(self) -> int:
        return self.n - self.head - self.tail

    @property
    def shown(self) -> list[int]:
        return [*range(self.head), *range(self.n - self.tail, self.n)]

    @property
    def places(self) -> list[int | None]:
        """The shown indices in order, with None where some are left out."""
        gap = [None] if self.missing else []
        return [*range(self.head), *gap, *range(self.n - self.tail, self.n)]

    def summary(self, axis: str) -> str:
        """The sentence about what is left out; empty when nothing is."""
        if not self.missing:
            return ""
        first, last = self.head, self.n - self.tail - 1
        reach = f"{first} to {last}" if last > first else f"{first}"
        noun = PLURALS.get(axis, axis) if last > first else axis
        return f"{noun} {reach} left out ({self.missing} of {self.n})"
