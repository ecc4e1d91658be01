"""A gradient checked from outside: nudge the number, run again, see how the loss moves."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from torch import Tensor

from glassformer.errors import GlassformerError
from glassformer.trace.address import Address

STEP = 1e-4
"""The nudge, relative to numbers of size 1: truncation and rounding errors are both small there."""

ROUNDING = 2.0**-52


@runtime_checkable  # so that the tests can check annotations
class Rerun(Protocol):
    """The recorded pass again in float64, with one number changed."""

    @property
    def held(self) -> list[Tensor]:
        """The weights that it keeps for itself."""
        ...

    def value(self, where: Address) -> float:
        """The number at an address, in float64."""
        ...

    def loss(self, where: Address, value: float) -> float:
        """The loss if that number were `value`."""
        ...


@dataclass(frozen=True)
class FiniteDifference:
    """The slope of the loss along one number, without any calculus.

    `value` = (4 D(h/2) - D(h)) / 3 with D(h) = (loss(x + h) - loss(x - h)) / 2h, all in float64;
    `step` is h; `error` estimates its own error: what extrapolation changed, plus rounding.
    Source: Richardson 1911; Press et al., Numerical Recipes, 3rd ed., section 5.7.
    """

    value: float
    step: float
    error: float

    def __str__(self) -> str:
        return f"{self.value:.10g} (step {self.step:.0e}, its own error about {self.error:.1e})"


def finite_difference(rerun: Rerun, where: Address) -> FiniteDifference:
    """Nudge the number at `where` (a value or a weight) up and down by h and by h/2."""
    at = rerun.value(where)
    if not math.isfinite(at):
        raise GlassformerError(
            f"{where} is {at}, which no nudge changes, so its gradient has no finite difference;"
            " check that of a finite number"
        )
    h = STEP * max(1.0, abs(at))

    def slope(h: float) -> tuple[float, float]:
        above, below = rerun.loss(where, at + h), rerun.loss(where, at - h)
        # the losses' own rounding, divided by the step
        return (above - below) / (2 * h), ROUNDING * (abs(above) + abs(below)) / h

    estimate, _ = slope(h)
    half, rounding = slope(h / 2)
    value = (4 * half - estimate) / 3
    return FiniteDifference(value, h, abs(value - half) + 4 * rounding)
