"""Probabilities beside their surprise, -log p, so that each follows from the other as printed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from glassformer.formula.spelling import OPERAND_DIGITS, Fixed, number, same


@dataclass(frozen=True)
class Surprises:
    """Two columns of a table; `column` says how surprises are written."""

    probabilities: list[str]
    surprises: list[str]
    column: Fixed

    def together(self, losses: np.ndarray) -> str:
        """What these surprises sum to, as they are printed."""
        return self.column.text(int(self.column.units(losses).sum()))


def surprises(losses: np.ndarray, shown: Sequence[int], mean: float | None = None) -> Surprises:
    """Columns for the losses at these places.

    Surprises have the fewest places with which all of them, as printed, have the printed mean;
    probabilities the fewest digits with which -log p is the surprise beside it.

    >>> told = surprises(np.array([0.693147, 2.302585]), [0, 1])
    >>> told.probabilities, told.surprises
    (['0.5000', '0.1000'], ['0.693', '2.303'])
    """
    real = losses[np.isfinite(losses)]
    columns = Fixed.columns(np.append(real, 0.1))  # at first no finer than four places
    fitting = (c for c in columns if mean is None or same(_mean(losses, c), mean, 4))
    column = next(fitting, columns[-1])
    chosen = losses[list(shown)]
    units = column.units(chosen)
    texts: list[str] = []
    for digits in OPERAND_DIGITS:
        texts = [number(p, digits) for p in np.exp(-chosen).tolist()]
        with np.errstate(divide="ignore"):
            again = -np.log(np.array([float(text) for text in texts]))
        if (column.units(again) == units).all():
            break
    pairs = zip(chosen.tolist(), units.tolist(), strict=True)
    spelled = [column.text(u) if np.isfinite(loss) else number(loss) for loss, u in pairs]
    return Surprises(texts, spelled, column)


def _mean(losses: np.ndarray, column: Fixed) -> float:
    """The mean of these numbers as they are printed."""
    return column.value(int(column.units(losses).sum())) / len(losses)


def with_rest(shown: np.ndarray) -> tuple[list[str], str]:
    """Probabilities as they are printed, and what all others have together.

    The others have what the printed ones leave of 1, to four places.

    >>> with_rest(np.array([0.6, 0.3]))
    (['0.6000', '0.3000'], '0.1000')
    """
    rest = f"{max(1 - float(shown.astype(np.float64).sum()), 0.0):.4f}"
    texts: list[str] = []
    for digits in OPERAND_DIGITS:
        texts = [number(p, digits) for p in shown.tolist()]
        if f"{max(1 - sum(map(float, texts)), 0.0):.4f}" == rest:
            break
    return texts, rest if float(rest) else "less than 0.0001"


def odds(probability: float) -> str:
    """A small probability for people.

    >>> odds(5.94e-05), odds(0.25)
    ('1 in 17,000', '1 in 4')
    """
    return f"1 in {float(f'{1 / probability:.1e}'):,.0f}"
