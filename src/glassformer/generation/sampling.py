"""How a token is chosen from the model's probabilities: a frozen description that checks itself."""

from __future__ import annotations

import dataclasses
import math
import secrets
from dataclasses import dataclass
from typing import Any

from glassformer.describe import short_repr
from glassformer.errors import GlassformerError

COLDEST = 1e-6
"""The lowest temperature above 0; scores divided by less could overflow float64."""


@dataclass(frozen=True, repr=False)
class Sampling:
    """Which tokens may be drawn, and how their probabilities are bent first.

    `temperature` divides the scores: 1 leaves the model's probabilities as they are, 0 always takes
    the most probable token (greedy; no cut changes that). `top_k` keeps the k most probable tokens,
    `top_p` the smallest set that has this probability together, `min_p` those at least this many
    times as probable as the most probable one; None keeps all. `repetition_penalty` divides the
    positive scores of tokens that the text already has and multiplies negative ones (1: nothing).

    >>> Sampling(temperature=0.7, top_k=40).summary()
    'temperature 0.7, top-k 40'
    >>> Sampling(top_p=1.5)
    Traceback (most recent call last):
    ...
    glassformer.errors.GlassformerError: top_p=1.5 is no probability; give more than 0 and at most 1
    """

    temperature: float = 1.0
    top_k: int | None = None
    top_p: float | None = None
    min_p: float | None = None
    repetition_penalty: float = 1.0

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            self._check_number(field.name, whole=field.name == "top_k")
        if self.temperature < 0:
            raise GlassformerError(
                f"temperature={self.temperature:g} is negative; 0 is greedy, 1 leaves the model's"
                " probabilities as they are"
            )
        if 0 < self.temperature < COLDEST:
            raise GlassformerError(
                f"temperature={self.temperature:g} is too small to divide by; give 0 for greedy,"
                f" or at least {COLDEST:g}"
            )
        if self.top_k is not None and self.top_k < 1:
            raise GlassformerError(
                f"top_k={self.top_k} leaves no token to draw; give at least 1, or leave it out"
            )
        if self.top_p is not None and not 0 < self.top_p <= 1:
            raise GlassformerError(
                f"top_p={self.top_p:g} is no probability; give more than 0 and at most 1"
            )
        if self.min_p is not None and not 0 <= self.min_p <= 1:
            raise GlassformerError(f"min_p={self.min_p:g} is no share; give 0 to 1")
        if self.repetition_penalty <= 0:
            raise GlassformerError(
                f"repetition_penalty={self.repetition_penalty:g} must be positive; 1 does nothing,"
                " 1.2 holds repetitions back"
            )

    def _check_number(self, name: str, whole: bool) -> None:
        value = getattr(self, name)
        if value is None and name in ("top_k", "top_p", "min_p"):
            return
        allowed = int if whole else (int, float)
        if isinstance(value, bool) or not isinstance(value, allowed) or not math.isfinite(value):
            kind = "a whole number" if whole else "a number"
            raise GlassformerError(f"{name}={value!r} is not {kind}; give for example {name}=1")

    def __repr__(self) -> str:
        return short_repr(self)

    @property
    def greedy(self) -> bool:
        return self.temperature == 0

    def params(self) -> dict[str, Any]:
        """The settings as `ops.choose` takes them; what cuts nothing is None."""
        given = dataclasses.asdict(self)
        return {
            **given,
            "top_p": None if self.top_p == 1 else self.top_p,
            "min_p": self.min_p or None,
        }

    def summary(self) -> str:
        """The settings that do something, in the order in which they do it."""
        if self.greedy:
            words = ["greedy"]
        else:
            words = [f"temperature {self.temperature:g}"] if self.temperature != 1 else []
            for name in ("top_k", "top_p", "min_p"):
                value = self.params()[name]
                if value is not None:
                    words.append(f"{name.replace('_', '-')} {value:g}")
        if self.repetition_penalty != 1:
            words.insert(0, f"repetition penalty {self.repetition_penalty:g}")
        return ", ".join(words) or "the model's own probabilities"


def fresh_seed() -> int:
    """A seed nobody chose, short enough to be typed again."""
    return secrets.randbelow(10**6)
