"""What an object says of itself in one line."""

import dataclasses
from typing import Any


def short_repr(thing: Any) -> str:
    """A dataclass as it could be written: the fields that differ from their defaults.

    >>> @dataclasses.dataclass
    ... class Ink:
    ...     color: str
    ...     width: float = 1.0
    >>> short_repr(Ink("blue"))
    "Ink(color='blue')"
    """
    fields = [field for field in dataclasses.fields(thing) if field.repr]
    values = {field.name: getattr(thing, field.name) for field in fields}
    changed = (f.name for f in fields if values[f.name] != f.default)
    inside = ", ".join(f"{name}={values[name]!r}" for name in changed)
    return f"{type(thing).__name__}({inside})"


def counted(n: int, noun: str, nouns: str = "") -> str:
    """A number of things; `nouns`, where the plural does more than end in s.

    >>> counted(1, "step"), counted(2000, "step")
    ('1 step', '2,000 steps')
    """
    return f"{n:,} {noun if n == 1 else nouns or noun + 's'}"


def about(value: float, digits: int = 2) -> str:
    """A rough number that is not small, to so many digits and never with an exponent.

    >>> about(4.125), about(144.2), about(1534.0, 3)
    ('4.1', '140', '1,530')
    """
    rounded = float(f"{value:.{digits}g}")
    return f"{rounded:,.0f}" if rounded >= 10 ** (digits - 1) else f"{rounded:.{digits}g}"
