"""How numbers are written, and with how many digits, so that printed arithmetic is true as printed.

`number` writes one number for people; `spelled` one that is typed into a calculator; `constant` one
of a formula, exactly. All three write the same form:

1. Round the magnitude to `digits` significant digits, a tie to the even digit. The exponent e is
   that of the rounded number, so 9.99996 is 10.00 and not 10.000.
2. From 1e-4 on and below 10^(digits + 1) (-4 <= e <= digits) the number is written out with
   max(digits - 1 - e, 0) places; beyond, with a mantissa and an exponent of two digits or more,
   1.234e-05.
3. `number` keeps the zeros at the end: they line up in columns. `spelled` drops them where the
   text is exactly the number, so 0.5000 says that something was rounded and 0.5 that nothing was.

`fewest_digits` finds how many digits a line needs. It tries results of 6, then 5, then 4 digits,
and for each of them operands of 4, 5, ... 9; the first pair wins with which the operands, as they
are spelled, give a number that rounds to the same text as the result. `Fixed` does the same for
columns that are added up.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache

import numpy as np

OPERAND_DIGITS = range(4, 10)
RESULT_DIGITS = (6, 5, 4)
FULL = 17
"""Digits that tell any float64 from its neighbors; `spelled` then takes the fewest that do."""


def number(value: float, digits: int = 4) -> str:
    """A number for people: `digits` significant digits, no noise, a real minus sign never.

    >>> number(0.30000000000000004), number(-1234567.0), number(float("-inf")), number(0.00001234)
    ('0.3000', '-1.235e+06', '-inf', '1.234e-05')
    """
    if isinstance(value, (bool, int, np.integer)):
        return str(int(value))
    value = float(value)
    if not math.isfinite(value):
        return "nan" if math.isnan(value) else ("inf" if value > 0 else "-inf")
    if value == 0:
        return "0"
    scientific = f"{value:.{digits - 1}e}"
    exponent = int(scientific.partition("e")[2])
    if -4 <= exponent <= digits:
        return f"{value:.{max(digits - 1 - exponent, 0)}f}"
    return scientific


def spelled(value: float, digits: int) -> str:
    """A number to calculate with: `number` without zeros that say nothing.

    With `FULL` digits it is the shortest text that reads back the same float64.

    >>> spelled(0.5, 4), spelled(0.50001, 4), spelled(1 / 3, 7), spelled(0.1 + 0.2, FULL)
    ('0.5', '0.5000', '0.3333333', '0.30000000000000004')
    """
    if digits >= FULL and math.isfinite(value):
        digits = len(repr(float(value)).lstrip("-").partition("e")[0].replace(".", "").strip("0"))
        digits = max(digits, 1)
    text = number(value, digits)
    mantissa, e, exponent = text.partition("e")
    if "." in mantissa and float(text) == value:
        mantissa = mantissa.rstrip("0").removesuffix(".")
    return mantissa + e + exponent


def constant(value: float) -> str:
    """A formula's own constant, exactly.

    >>> constant(3.141592653589793), constant(1e-05), constant(64.0), constant(0.044715)
    ('pi', '1e-05', '64', '0.044715')
    """
    if value == math.pi:
        return "pi"
    integer = abs(value) < 2**53 and float(value).is_integer()
    return str(int(value)) if integer else spelled(value, FULL)


def is_short(value: float) -> bool:
    """Whether a constant is written exactly; one that was computed may have too many digits."""
    return value == math.pi or float(spelled(value, OPERAND_DIGITS[-1])) == value


def same(value: float, result: float, digits: int) -> bool:
    """Whether a value is the result, rounded to so many digits; a whole result is it exactly."""
    if isinstance(result, int):
        return value == result
    return number(float(value), digits) == number(result, digits)


@dataclass(frozen=True)
class Digits:
    """Significant digits of a line's operands and of its result; whether the line then holds."""

    operands: int
    result: int
    holds: bool

    @property
    def relation(self) -> str:
        return "=" if self.holds else "≈"


def fewest_digits(
    result: float,
    evaluated: Callable[[int], float],
    result_digits: Sequence[int] = RESULT_DIGITS,
) -> Digits:
    """With how many digits a line must be printed to be true as printed.

    `evaluated(d)` is the line's value when its operands are spelled with d digits.

    >>> fewest_digits(2 / 3, lambda d: 2 / float(spelled(3.0, d)))
    Digits(operands=4, result=6, holds=True)
    """
    with_digits = cache(evaluated)
    for digits in result_digits:
        for d in OPERAND_DIGITS:
            if same(with_digits(d), result, digits):
                return Digits(d, digits, holds=True)
    return Digits(OPERAND_DIGITS[-1], result_digits[-1], holds=False)


def full_digits(result: float, evaluated: Callable[[int], float]) -> Digits:
    """As `fewest_digits`, with every operand in full and the most digits of the result."""
    value = evaluated(FULL)
    for digits in range(FULL, RESULT_DIGITS[-1] - 1, -1):
        if same(value, result, digits):
            return Digits(FULL, digits, holds=True)
    return Digits(FULL, RESULT_DIGITS[-1], holds=False)


def difference(value: float, less: float, places: int) -> str:
    """value - less of both as they are printed with these places.

    >>> difference(0.5306, 0.4951, 3)  # of 0.531 and 0.495
    '0.036'
    """
    return f"{round(value, places) - round(less, places):.{places}f}"


def compared(before: Sequence[float], after: Sequence[float]) -> list[tuple[str, str, str]]:
    """Rows of two numbers and their difference as printed: before + difference = after.

    All rows have the same places: those that the largest difference needs.

    >>> compared([0.125, 0.5], [0.12512345, 0.49])
    [('0.1250', '0.1251', '+0.0001'), ('0.5000', '0.4900', '-0.0100')]
    >>> compared([0.125], [0.12512345])
    [('0.125000', '0.125123', '+0.000123')]
    """
    pairs = np.array([before, after], np.float64)
    real = np.asarray(np.isfinite(pairs).all(axis=0))
    if not real.any():
        column = Fixed(0)
    else:
        finite = pairs[:, real]
        column = Fixed.of_difference(*finite[:, np.abs(finite[1] - finite[0]).argmax()].tolist())
    rows = []
    for (was, now), known in zip(pairs.T.tolist(), real.tolist(), strict=True):
        unknown = number(was), number(now), number(now - was)
        rows.append(column.compared(was, now) if known else unknown)
    return rows


def _exponent(value: float) -> int:
    """The exponent of a number other than 0, in scientific notation."""
    return int(f"{value:e}".partition("e")[2])


@dataclass(frozen=True)
class Fixed:
    """How the numbers of one column are written: all with the same places, so that they add up.

    A number is a whole number of units of 10^-places. Where the numbers are tiny or huge each is
    written with the same `exponent`, 0.1235e-06.

    >>> column = Fixed.of_sum(np.array([0.5, 0.25004, -0.1]))
    >>> [column.text(unit) for unit in column.units(np.array([0.5, 0.25, 0.75])).tolist()]
    ['0.50000', '0.25000', '0.75000']
    """

    places: int
    exponent: int = 0
    holds: bool = True

    @classmethod
    def of_sum(cls, terms: np.ndarray) -> Fixed:
        """The fewest places with which the terms as printed add up to their sum, rounded.

        The largest term has 4 to 9 significant digits; the sum agrees to 6, else 5, else 4 digits.
        """
        finite = terms[np.isfinite(terms)]
        total = float(finite.sum())
        columns = cls.columns(finite)
        for digits in RESULT_DIGITS:
            for column in columns:
                if same(column.value(int(column.units(finite).sum())), total, digits):
                    return column
        return replace(columns[-1], holds=False)

    @classmethod
    def of_difference(cls, before: float, after: float) -> Fixed:
        """The fewest places with which before + difference = after, 3 digits of it at least.

        Where 9 digits of the larger number are not enough, the difference is that of the numbers
        as printed.
        """
        pair, difference = np.array([before, after]), after - before
        columns = cls.columns(pair)
        for column in columns:
            was, now = column.units(pair)
            change = int(column.units(difference))
            if now - was == change and (difference == 0 or abs(change) >= 100):
                return column
        return columns[-1]

    @classmethod
    def columns(cls, values: np.ndarray) -> list[Fixed]:
        """Columns in which the largest of these numbers has 4, 5, ... 9 significant digits."""
        largest = float(np.abs(values).max(initial=0.0))
        e = _exponent(largest) if largest else 0
        exponent = 0 if -4 <= e <= 5 else e
        decimals = dict.fromkeys(max(digits - 1 - e, -exponent) for digits in OPERAND_DIGITS)
        return [cls(at, exponent) for at in decimals]

    def units(self, values: np.ndarray | float) -> np.ndarray:
        """How many units each number is; ties to the even one, 0 for what is not finite."""
        scaled = np.nan_to_num(_scaled(values, self.places), posinf=0, neginf=0)
        return np.asarray(np.rint(scaled)).astype(np.int64)

    def compared(self, before: float, after: float) -> tuple[str, str, str]:
        """Two numbers and their difference, as they add up."""
        start, end = (int(self.units(value)) for value in (before, after))
        sign = "+" if end > start else ""
        return self.text(start), self.text(end), sign + self.text(end - start)

    def value(self, units: int) -> float:
        """The number that `text` writes."""
        return float(self.text(units))

    def text(self, units: int) -> str:
        """So many units as a decimal number."""
        decimals = self.places + self.exponent
        digits = f"{abs(units):0{decimals + 1}d}"
        text = f"{digits[:-decimals]}.{digits[-decimals:]}" if decimals else digits
        power = f"e{self.exponent:+03d}" if self.exponent else ""
        return f"{'-' if units < 0 else ''}{text}{power}"


def _scaled(values: np.ndarray | float, decimals: int) -> np.ndarray:
    """values x 10^places, where 10^places may be beyond what a float64 holds."""
    half = decimals // 2
    return np.asarray(np.asarray(values, np.float64) * 10.0**half * 10.0 ** (decimals - half))
