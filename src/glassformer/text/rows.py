"""Rows of a data set: objects by name, a document each; a bad one is answered with its place."""

from __future__ import annotations

import json
import re
import string
from collections.abc import Iterator, Sequence
from io import BufferedIOBase
from typing import Any, NamedTuple, Protocol

from glassformer.errors import GlassformerError, did_you_mean
from glassformer.jsons import kind
from glassformer.text.reading import Utf8


class Row(NamedTuple):
    """A row's values by field, and where it stands, for an error about it."""

    where: str
    values: dict[str, Any]


ALONE = "messages are learned from rows of chats alone; leave the other files out"


LIKE_OTHERS = "earlier rows have it; add it to this row, or leave the row out"


class Document(Protocol):
    """How a row becomes a document."""

    @property
    def fields(self) -> Sequence[str]:
        """The fields that it reads."""
        ...

    def __call__(self, row: Row) -> str:
        """The row's text; raises, with the row's place, where there is none."""
        ...


class Field:
    """The text in one field.

    >>> Field("text")(Row("rows.jsonl:1", {"text": "One day."}))
    'One day.'
    """

    def __init__(self, name: str) -> None:
        self.fields: Sequence[str] = (name,)
        self._is_known = False

    def __call__(self, row: Row) -> str:
        name = self.fields[0]
        is_chat = "messages" in row.values
        fix = LIKE_OTHERS if self._is_known else "name the one that holds the text with --field"
        value = value_of(row, name, ALONE if is_chat else fix)
        self._is_known = True
        if not isinstance(value, str):
            raise GlassformerError(
                f"{row.where}: the field {name!r} is {kind(value)}, not text; name the one that"
                " holds the text with --field, or leave this row out"
            )
        return whole_characters(value, row.where, name)


class Template:
    r"""Text with a row's fields in it: texts, numbers, and true and false as JSON spells them.

    >>> Template("{question}\n{answer}")(Row("rows.jsonl:1", {"question": "6 x 7?", "answer": 42}))
    '6 x 7?\n42'
    """

    def __init__(self, template: str) -> None:
        try:
            parts = [*string.Formatter().parse(template)]
        except ValueError as error:
            raise GlassformerError(
                f"the template {template!r} can't be read ({error}); write {{FIELD}} for a field,"
                " and {{ or }} doubled for a brace"
            ) from error
        for _, name, format_spec, conversion in parts:
            if name is not None and (not name.strip() or format_spec or conversion):
                raise GlassformerError(
                    f"the template {template!r} has {{{name}{'!' if conversion else ''}"
                    f"{conversion or ''}{':' if format_spec else ''}{format_spec}}}; write the name"
                    " of a field alone, as in '{question} {answer}'"
                )
        self._parts = [(before, name) for before, name, *_ in parts]
        self.fields: Sequence[str] = tuple(
            dict.fromkeys(name for _, name in self._parts if name is not None)
        )
        self._known: set[str] = set()
        if not self.fields:
            raise GlassformerError(
                f"the template {template!r} names no field, so every row would be the same text;"
                " write {FIELD} where a row's text belongs"
            )

    def __call__(self, row: Row) -> str:
        return "".join(
            before + ("" if name is None else self._spelled(row, name))
            for before, name in self._parts
        )

    def _spelled(self, row: Row, name: str) -> str:
        fix = LIKE_OTHERS if name in self._known else "write a field's name as the rows have it"
        value = value_of(row, name, fix)
        self._known.add(name)
        if isinstance(value, str):
            return whole_characters(value, row.where, name)
        if isinstance(value, bool | int | float):
            return json.dumps(value)
        raise GlassformerError(
            f"{row.where}: the field {name!r} is {kind(value)}, and a template takes text and"
            " numbers; leave this row out"
        )


def value_of(row: Row, name: str, fix: str) -> Any:
    """A row's value; raises with the nearest name where it has none."""
    if name not in row.values:
        names = ", ".join(map(repr, row.values)) or "none"
        raise GlassformerError(
            f"{row.where} has no field {name!r}; its fields are {names}."
            f"{did_you_mean(name, row.values)} {fix[0].upper()}{fix[1:]}"
        )
    return row.values[name]


def whole_characters(text: str, where: str, field: str) -> str:
    """The text; raises for half a character, which JSON can write and UTF-8 can't."""
    if text.isascii():
        return text
    surrogate = re.search("[\ud800-\udfff]", text)
    if surrogate:
        raise GlassformerError(
            f"{where}: character {surrogate.start():,} of {field!r} is the lone surrogate "
            f"U+{ord(surrogate[0]):04X}, half of a character; leave it out"
        )
    return text


def json_rows(file: BufferedIOBase, name: str) -> Iterator[Row]:
    """Yield the object in each line; empty lines are left out."""
    for number, line in enumerate(file, start=1):
        text = Utf8(name, line=number).decode(line, final=True)
        if text.strip():
            yield Row(f"{name}:{number}", _object(text, f"{name}:{number}"))


def _object(line: str, where: str) -> dict[str, Any]:
    example = 'each line must be one object, as in {"text": "Once upon a time ..."}'
    try:
        row = json.loads(line)
    except (ValueError, RecursionError) as error:
        cause = str(error)
        if isinstance(error, json.JSONDecodeError):
            cause = f"{error.msg.removesuffix(' at')} at column {error.colno}"
        raise GlassformerError(f"{where} is not JSON: {cause}; {example}") from error
    if not isinstance(row, dict):
        raise GlassformerError(f"{where} is {kind(row)}, not an object; {example}")
    return row
