"""What moved through training, and how far per update, so that each follows as printed."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from glassformer.formula.spelling import OPERAND_DIGITS, number, same

MOVED_DIGITS = (4, 3)


def numbers_per_update(
    values: Sequence[float], steps: Sequence[int], moved: Sequence[float]
) -> tuple[list[str], list[str]]:
    """Values at these steps, and beside all but the first how far it moved per update.

    moved: |value - value before| / updates between. The values have the fewest digits with which
    each of these, computed from the numbers as printed, is the printed one.

    >>> numbers_per_update([0.5, 0.75004, 0.75004], [0, 4, 8], [0.0, 0.06251, 0.0])
    (['0.5000', '0.7500', '0.7500'], ['', '0.0625', '0'])
    """

    def evaluated(digits: int) -> list[float]:
        printed = [float(number(value, digits)) for value in values]
        return [
            0.0 if printed[i] == printed[i - 1] else _by(printed[i] - printed[i - 1], steps, i)
            for i in range(1, len(values))
        ]

    digits, texts = _fewest(moved[1:], evaluated)
    return [number(value, digits) for value in values], ["", *texts]


def lengths_per_update(steps: Sequence[int], moved: Sequence[float]) -> tuple[list[str], list[str]]:
    """The length of each change since the step before, and that by the updates between.

    moved: length / updates between, at each step but the first.

    >>> lengths_per_update([0, 3], [0.0, 1 / 3])
    (['', '1.000'], ['', '0.3333'])
    """
    lengths = [moved[i] * (steps[i] - steps[i - 1]) for i in range(1, len(steps))]

    def evaluated(digits: int) -> list[float]:
        printed = [float(number(length, digits)) for length in lengths]
        return [_by(length, steps, i) for i, length in enumerate(printed, 1)]

    digits, texts = _fewest(moved[1:], evaluated)
    return ["", *(number(length, digits) for length in lengths)], ["", *texts]


def _by(change: float, steps: Sequence[int], i: int) -> float:
    return abs(change) / (steps[i] - steps[i - 1])


def _fewest(
    results: Sequence[float], evaluated: Callable[[int], list[float]]
) -> tuple[int, list[str]]:
    """Digits of the operands with which every result holds, and the results with their digits.

    Nine tell any float32 number from its neighbors. A difference of two that nearly cancel may then
    have fewer digits than others, as many as are right.
    """

    def rounded(digits: int, allowed: Sequence[int]) -> list[str | None]:
        pairs = zip(evaluated(digits), results, strict=True)
        return [_right(value, result, allowed) for value, result in pairs]

    fitting = (digits for digits in OPERAND_DIGITS if None not in rounded(digits, MOVED_DIGITS))
    digits = next(fitting, OPERAND_DIGITS[-1])
    again = zip(rounded(digits, (*MOVED_DIGITS, 2)), evaluated(digits), strict=True)
    return digits, [text or number(value, 1) for text, value in again]


def _right(value: float, result: float, allowed: Sequence[int]) -> str | None:
    """The result with the most of these digits that the value agrees with."""
    return next((number(result, d) for d in allowed if same(value, result, d)), None)
