"""How lessons write numbers and words."""

from __future__ import annotations

import shlex
import unicodedata
from collections.abc import Sequence

import numpy as np

from glassformer.formula.spelling import Fixed, number
from glassformer.show.surprise import odds

ISOLATED, TO_HERE = "\u2068", "\u2069"  # first strong isolate, pop directional isolate


SPECIAL = '"$`\\!'  # to a shell, within double quotes


def percent(share: float) -> str:
    """A probability as people say it.

    >>> percent(0.9731), percent(0.0613), percent(0.00004), percent(1.0), percent(2e-7)
    ('97%', '6.1%', '0.004%', '100%', '1 in 5 million')
    """
    scaled = share * 100
    if scaled >= 10:
        return f"{scaled:.0f}%" if scaled > 99.95 or scaled < 99.5 else f"{scaled:.1f}%"
    text = number(scaled, 2 if scaled >= 1 else 1)
    return odds(share) if "e-" in text else f"{text}%"


def rounded(value: float, digits: int) -> float:
    """A number to calculate with by hand; one that rounds to nothing is 0, not -0.

    >>> rounded(-0.001, 2), rounded(-0.129, 2)
    (0.0, -0.13)
    """
    return round(value, digits) + 0.0


def added(one: Sequence[float], other: Sequence[float]) -> list[list[str]]:
    """Numbers, others and their sums, with the fewest places with which each sum is so as printed.

    >>> added([0.12, 3.0], [0.5004, -1.25])
    [['0.120', '3.000'], ['0.500', '-1.250'], ['0.620', '1.750']]
    """
    terms = np.array([one, other], np.float64)
    columns = Fixed.columns(terms)
    adds = (c for c in columns if (c.units(terms).sum(0) == c.units(terms.sum(0))).all())
    column = next(adds, columns[-1])
    units = column.units(terms)
    return [[column.text(n) for n in row.tolist()] for row in (*units, units.sum(0))]


def code(text: str) -> str:
    """A piece of text as it is, between backticks; spaces at its ends and marks can be seen.

    >>> code("cat"), code(" cat"), code("\\n")
    ('`cat`', '`␣cat`', '`⏎`')
    """
    return f"`{visible(text)}`"


def visible(text: str) -> str:
    """Text in which every space at an end, and every line's end, is a sign.

    What is written from right to left is isolated, so that numbers beside it keep their order.

    >>> visible(" the end "), visible("a\\nb"), visible("`")
    ('␣the end␣', 'a⏎b', 'ˋ')
    """
    inner = text.strip(" ")
    left = len(text) - len(text.lstrip(" ")) if inner else len(text)
    right = len(text) - len(text.rstrip(" ")) if inner else 0
    spelled = "␣" * left + inner + "␣" * right
    spelled = spelled.replace("\n", "⏎").replace("\t", "⇥").replace("`", "ˋ")
    right_to_left = any(unicodedata.bidirectional(letter) in ("R", "AL") for letter in spelled)
    return f"{ISOLATED}{spelled}{TO_HERE}" if right_to_left else spelled


def quoted(text: str) -> str:
    """A text as one word of a command that is typed.

    >>> print(quoted("the cat"), quoted('say "a.k.a."'))
    "the cat" 'say "a.k.a."'
    """
    return shlex.quote(text) if {*text} & {*SPECIAL} else f'"{text}"'


def term(spelled: str | float) -> str:
    """A number within a sum or a product: a negative one stands in parentheses.

    >>> term(0.5), term("-2.0")
    ('0.5', '(-2.0)')
    """
    return f"({spelled})" if str(spelled).startswith("-") else str(spelled)


def listed(words: Sequence[str], last: str = "and") -> str:
    """Words in a row.

    >>> listed(["a", "b", "c"]), listed(["a"])
    ('a, b and c', 'a')
    """
    if len(words) < 2:
        return "".join(words)
    return f"{', '.join(words[:-1])} {last} {words[-1]}"
