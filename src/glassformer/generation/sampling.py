"""How a token is chosen from the model's probabilities: a frozen description that checks itself."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from functools import lru_cache
from typing import Annotated, Any, ClassVar

from glassformer.checked import Checked, Range
from glassformer.errors import GlassformerError

COLDEST = 1e-6
"""The lowest temperature above 0; scores divided by less could overflow float64."""

LEAST_PENALTY, MOST_PENALTY = 1e-6, 1e6
"""Between these no score of float32 overflows float64."""

MOST_TOKENS = 2**31
"""The largest top-k: more than any vocabulary has, and what an int64 holds."""


@dataclass(frozen=True, repr=False)
class Sampling(Checked):
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

    noun: ClassVar[str] = "way of sampling"

    temperature: Annotated[
        float,
        Range(
            0,
            low="is negative; 0 is greedy, 1 leaves the model's probabilities as they are",
            high="must be finite; 1 leaves the model's probabilities as they are",
        ),
    ] = 1.0
    top_k: Annotated[
        int | None,
        Range(
            1,
            MOST_TOKENS,
            low="leaves no token to draw; give at least 1, or leave it out",
            high="is more than any vocabulary has; leave it out to keep all tokens",
        ),
    ] = None
    top_p: Annotated[
        float | None,
        Range(above=0, most=1, low="is no probability; give more than 0 and at most 1"),
    ] = None
    min_p: Annotated[float | None, Range(0, 1, low="is no share; give 0 to 1")] = None
    repetition_penalty: Annotated[
        float,
        Range(
            LEAST_PENALTY,
            MOST_PENALTY,
            low=f"is below {LEAST_PENALTY:g}; 1 does nothing, 1.2 holds repetitions back",
            high=f"is above {MOST_PENALTY:g}; 1 does nothing, 1.2 holds repetitions back",
        ),
    ] = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if 0 < self.temperature < COLDEST:
            raise GlassformerError(
                f"temperature={self.temperature:g} is too small to divide by; give 0 for greedy,"
                f" or at least {COLDEST:g}"
            )

    @property
    def greedy(self) -> bool:
        return self.temperature == 0

    def params(self) -> dict[str, Any]:
        """The settings as `ops.choose` takes them; what cuts nothing is None."""
        return {
            **self.to_dict(),
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


@lru_cache(256, typed=True)
def sampling_of(**settings: Any) -> Sampling:
    """The description of these settings; those of many requests are the same, and checked once."""
    return Sampling(**settings)


def fresh_seed() -> int:
    """A seed nobody chose, short enough to be typed again."""
    return secrets.randbelow(10**6)
