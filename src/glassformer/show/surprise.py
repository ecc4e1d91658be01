"""Probabilities beside their surprise, -log p, so that each follows from the other as printed."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from glassformer.formula.spelling import OPERAND_DIGITS, Fixed, number, same

SMALLEST = 1e-300  # of the probabilities that are written as numbers; below it float64 has no more


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

    >>> result = surprises(np.array([0.693147, 2.302585]), [0, 1])
    >>> result.probabilities, result.surprises
    (['0.5000', '0.1000'], ['0.693', '2.303'])
    """
    real = losses[np.isfinite(losses)]
    columns = Fixed.columns(np.append(real, 0.1))  # at first no finer than four places
    fitting = (c for c in columns if mean is None or same(_mean(losses, c), mean, 4))
    column = next(fitting, columns[-1])
    chosen = losses[list(shown)]
    units = column.units(chosen)
    texts = _probabilities(chosen, lambda some: column.units(some).tolist())
    pairs = zip(chosen.tolist(), units.tolist(), strict=True)
    spelled = [column.text(u) if np.isfinite(loss) else number(loss) for loss, u in pairs]
    return Surprises(texts, spelled, column)


def over_updates(losses: np.ndarray) -> tuple[list[str], list[str]]:
    """Columns for the losses of a model that learns: probabilities, and losses in one form.

    Losses have three places, or as many, up to six, as the largest needs for four digits; a smaller
    one says so, and 0 is exactly 0. Where that is more than nine digits all have an exponent.

    >>> over_updates(np.array([2.0799, 0.1165, 0.0]))
    (['0.1249', '0.8900', '1.000'], ['2.080', '0.117', '0'])
    >>> over_updates(np.array([2.0799, 3e6]))
    (['0.1249', '<1e-300'], ['2.080e+00', '3.000e+06'])
    """
    largest = float(losses[np.isfinite(losses)].max(initial=0.0))
    decimals = min(max(Fixed.columns(np.array([largest]))[0].places, 3), 6)
    plain = largest < 10 ** (OPERAND_DIGITS[-1] - decimals)

    def written(loss: float) -> str:
        return f"{loss:.{decimals}f}" if plain else f"{loss:.3e}"

    def text(loss: float) -> str:
        if loss == 0 or not math.isfinite(loss):
            return number(loss)
        return written(loss) if float(written(loss)) else f"<{10.0**-decimals:.{decimals}f}"

    probs = _probabilities(losses, lambda some: list(map(written, some.tolist())))
    return probs, [text(loss) for loss in losses.tolist()]


def _probabilities(losses: np.ndarray, written: Callable[[np.ndarray], list[Any]]) -> list[str]:
    """exp(-loss) with the fewest digits with which every -log is written as its loss is."""
    tiny = np.isfinite(losses) & (losses > -math.log(SMALLEST))
    held = np.isfinite(losses) & ~tiny
    texts: list[str] = []
    for digits in OPERAND_DIGITS:
        texts = [number(p, digits) for p in np.exp(-losses).tolist()]
        with np.errstate(divide="ignore"):
            again = 0.0 - np.log(np.array([float(text) for text in texts]))
        if written(again[held]) == written(losses[held]):
            break
    return [f"<{SMALLEST:g}" if t else text for text, t in zip(texts, tiny.tolist(), strict=True)]


def _mean(losses: np.ndarray, column: Fixed) -> float:
    """The mean of these numbers as they are printed."""
    return column.value(int(column.units(losses).sum())) / len(losses)


def with_rest(shown: np.ndarray) -> tuple[list[str], str]:
    """Probabilities as they are printed, and what all others have together.

    The others have what the printed ones leave of 1, to four places.

    >>> with_rest(np.array([0.6, 0.3]))
    (['0.6000', '0.3000'], '0.1000')
    >>> with_rest(np.array([0.6, 0.00005]))
    (['0.6000', '1 in 20,000'], '0.4000')
    """
    rest = f"{max(1 - float(shown.astype(np.float64).sum()), 0.0):.4f}"
    texts: list[str] = []
    for digits in OPERAND_DIGITS:
        texts = [chance(p, digits) for p in shown.tolist()]
        if f"{max(1 - sum(map(read_chance, texts)), 0.0):.4f}" == rest:
            break
    return texts, rest if float(rest) else "less than 0.0001"


def chance(probability: float, digits: int = 4) -> str:
    """A probability for people: where it would take a power of ten, as one in so many.

    >>> chance(0.6), chance(0.00012), chance(0.0000594), chance(0.0)
    ('0.6000', '0.0001200', '1 in 17,000', '0')
    """
    text = number(probability, digits)
    return odds(probability, max(digits - 2, 2)) if "e-" in text else text


def per_cent(probability: float) -> str:
    """A probability in per cent, a small one as one in so many.

    >>> per_cent(0.976), per_cent(0.00021), per_cent(0.0)
    ('97.6%', '1 in 4,800', '0%')
    """
    if 0 < probability < 0.001:
        return odds(probability)
    return f"{probability:.1%}" if probability else "0%"


LARGE = ("million", "billion", "trillion")


def odds(probability: float, digits: int = 2) -> str:
    """A small probability for people.

    >>> odds(5.94e-05), odds(3.1e-07), odds(7.6e-12), odds(1e-20)
    ('1 in 17,000', '1 in 3.2 million', '1 in 130 billion', '1 in 10^20')
    """
    of = float(f"{1 / probability:.{digits - 1}e}")
    group = math.floor(math.log10(of)) // 3 - 2
    if group < 0:
        return f"1 in {of:,.0f}"
    if group >= len(LARGE):
        return f"1 in 10^{round(-math.log10(probability))}"
    return f"1 in {of / 1000 ** (group + 2):.{max(digits, 3)}g} {LARGE[group]}"


def read_chance(text: str) -> float:
    """The probability that is printed so."""
    one, _, of = text.partition(" in ")
    if not of:
        return float(text)
    amount, _, name = of.replace(",", "").partition(" ")
    if amount.startswith("10^"):
        return 10.0 ** -int(amount[3:])
    return float(one) / (float(amount) * (1000 ** (LARGE.index(name) + 2) if name else 1))
