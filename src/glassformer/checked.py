"""Frozen descriptions that check themselves: types, ranges, and names that were nearly right."""

from __future__ import annotations

import dataclasses
import math
import operator
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from types import UnionType
from typing import Annotated, Any, ClassVar, TypeVar, Union, get_args, get_origin, get_type_hints

from glassformer.describe import short_repr
from glassformer.errors import GlassformerError, did_you_mean


@dataclass(frozen=True)
class Range:
    """The numbers that a field may be, all of them finite; `low` and `high` say what is wrong."""

    least: float = -math.inf
    most: float = math.inf
    above: float = -math.inf
    below: float = math.inf
    low: str = ""
    high: str = ""

    def complaint(self, value: float) -> str:
        """What is wrong with a number, or nothing."""
        if isinstance(value, float) and math.isnan(value):
            return "is not a number"
        if value < self.least or value <= self.above:
            return self.low or f"must be at least {self.least:,}"
        if value > self.most or value >= self.below:
            return self.high or self.low or f"is more than {self.most:,}, the most there can be"
        return ""


def whole(name: str, value: Any, rule: Range) -> int:
    """A whole number that a caller gave for `name`; another, or one out of range, is refused."""
    try:
        number = operator.index(value)
    except TypeError:
        raise GlassformerError(f"{name}={value!r} must be a whole number") from None
    if complaint := rule.complaint(number):
        raise GlassformerError(f"{name}={number:,} {complaint}")
    return number


COUNT = Range(0, low="is negative; give 0 or more")


@dataclass(frozen=True)
class Choice:
    """The words that a field may be."""

    words: tuple[str, ...]

    def complaint(self, value: str) -> str:
        if value in self.words:
            return ""
        return f"is none of {', '.join(self.words)}.{did_you_mean(value, self.words)}"


Own = TypeVar("Own", bound="Checked")
_KINDS = {int: "a whole number", float: "a number", bool: "true or false", str: "a word"}


@dataclass(frozen=True, repr=False)
class Checked:
    """A dataclass whose fields hold what their types say, or a GlassformerError by name.

    A type may be int, float, bool, str, one of these or None, a tuple of one of these, or another
    description or None; `Annotated` adds a `Range` or a `Choice`, which holds for each of a tuple.
    Rules for several fields stand in the class's own `__post_init__`, after this one's.

    >>> @dataclass(frozen=True, repr=False)
    ... class Ink(Checked):
    ...     noun = "ink"
    ...     width: Annotated[float, Range(0, 9)] = 1
    >>> Ink(2), Ink.from_dict({"width": 3})
    (Ink(width=2.0), Ink(width=3.0))
    >>> Ink(width=10)
    Traceback (most recent call last):
    ...
    glassformer.errors.GlassformerError: width=10 is more than 9, the most there can be
    """

    noun: ClassVar[str] = "description"

    def __post_init__(self) -> None:
        hints = _hints(type(self))
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            object.__setattr__(self, field.name, _typed(field.name, hints[field.name], value))
        for field in dataclasses.fields(self):
            _check(field.name, hints[field.name], getattr(self, field.name))

    def __repr__(self) -> str:
        return short_repr(self)

    def replace(self: Own, **changes: Any) -> Own:
        """A copy with some fields changed."""
        return self.from_dict({**self.to_dict(), **changes})

    def to_dict(self) -> dict[str, Any]:
        """The fields as JSON has them."""
        return {field.name: _plain(getattr(self, field.name)) for field in dataclasses.fields(self)}

    @classmethod
    def check_field(cls, name: str, value: Any, called: str = "") -> None:
        """Raise where a field, alone, can't be this; `called`: its name where it was read."""
        hint = _hints(cls)[name]
        _check(called or name, hint, _typed(called or name, hint, value))

    @classmethod
    def from_dict(cls: type[Own], data: Mapping[str, Any]) -> Own:
        """A description from its fields; an unknown field is refused by name."""
        known = {field.name: field for field in dataclasses.fields(cls)}
        for name in data:
            if name not in known:
                raise GlassformerError(
                    f"{name!r} is not a field of a {cls.noun}.{did_you_mean(name, known)}"
                )
        missing = [name for name in known if name not in data and _is_required(known[name])]
        if missing:
            raise GlassformerError(f"the {cls.noun} lacks {', '.join(missing)}; say what it is")
        hints = _hints(cls)
        return cls(**{name: _typed(name, hints[name], value) for name, value in data.items()})


@cache
def _hints(cls: type[Checked]) -> dict[str, Any]:
    return get_type_hints(cls, include_extras=True)


def _is_required(field: dataclasses.Field[Any]) -> bool:
    return field.default is dataclasses.MISSING


@cache
def _bare(hint: Any) -> tuple[Any, tuple[Any, ...]]:
    """A type and what is added to it; of a type or None, that type."""
    if get_origin(hint) is Annotated:
        inner, *added = get_args(hint)
        return _bare(inner)[0], tuple(added)
    if get_origin(hint) in (Union, UnionType):
        (inner,) = (part for part in get_args(hint) if part is not type(None))
        return _bare(inner)
    return hint, ()


@cache
def _may_be_none(hint: Any) -> bool:
    if get_origin(hint) is Annotated:
        hint = get_args(hint)[0]
    return type(None) in get_args(hint)


def _typed(name: str, hint: Any, value: Any) -> Any:
    """The value as its type has it: a whole number as the number that it is, a list as a tuple."""
    if value is None and _may_be_none(hint):
        return None
    kind, _ = _bare(hint)
    if get_origin(kind) is tuple:
        if not isinstance(value, list | tuple):
            raise GlassformerError(f"{name}={value!r} must be a list")
        return tuple(_typed(name, get_args(kind)[0], each) for each in value)
    if isinstance(kind, type) and issubclass(kind, Checked):
        if not isinstance(value, kind | dict):
            raise GlassformerError(f"{name}={value!r} must be a {kind.noun}")
        return kind.from_dict(value) if isinstance(value, dict) else value
    if kind is float and type(value) is int and abs(value) < 2**53:
        return float(value)
    if type(value) is not kind:
        raise GlassformerError(f"{name}={value!r} must be {_KINDS[kind]}")
    return value


def _check(name: str, hint: Any, value: Any) -> None:
    kind, added = _bare(hint)
    if get_origin(kind) is tuple:
        for each in value:
            _check(name, get_args(kind)[0], each)
            _follow(added, name, each)
        return
    _follow(added, name, value)


def _follow(rules: tuple[Any, ...], name: str, value: Any) -> None:
    for rule in rules if value is not None else ():
        complaint = rule.complaint(value)
        if complaint:
            raise GlassformerError(f"{name}={_spelled(value)} {complaint}")


def _spelled(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:g}"
    return f"{value:,}" if isinstance(value, int) else repr(value)


def _plain(value: Any) -> Any:
    if isinstance(value, Checked):
        return value.to_dict()
    return [_plain(each) for each in value] if isinstance(value, tuple) else value
