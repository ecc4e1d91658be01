"""Questions: the right answer among wrong ones, in an order that gives nothing away."""

from __future__ import annotations

from collections.abc import Mapping

from glassformer.course.lesson import Guess


def guess(question: str, right: str, wrong: Mapping[str, str], reveal: str) -> Guess:
    """A question with its choices in order: numbers by size, words by the alphabet.

    wrong: what else could be chosen, and what to say to it. What is the right answer too, is none.

    >>> asked = guess("1 + 1?", "2", {"11": "No sum.", "2": ""}, "It is two.")
    >>> asked.choices, asked.answer, asked.misses
    (['2', '11'], 0, ['', 'No sum.'])
    """
    others = {choice: miss for choice, miss in wrong.items() if choice != right}
    choices = sorted([right, *others], key=_order)
    return Guess(
        question=question,
        choices=choices,
        answer=choices.index(right),
        reveal=reveal,
        misses=[others.get(choice, "") for choice in choices],
    )


def _order(choice: str) -> tuple[float, str]:
    try:
        return float(choice.replace(",", "").rstrip("%")), choice
    except ValueError:
        return float("inf"), choice.lower()
