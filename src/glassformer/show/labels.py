"""The words beside the numbers: tokens as people can see them, and what an index stands for."""

from __future__ import annotations

import unicodedata

from glassformer.trace.graph import Graph

SPACE = "␣"
_CONTROL = {"\n": "⏎", "\r": r"\r", "\t": "⇥"}  # signs that common fonts have
_PLAIN = {
    SPACE: "_",
    "⏎": r"\n",
    "⇥": r"\t",
    "…": "...",
    "─": "-",
    "│": "|",
    "├": "|",
    "└": "`",
    "×": "x",
    "░": ".",
    "▒": ":",
    "▓": "*",
    "█": "#",
    "╱": "/",
    "↳": ">",
}
_LABELED_AS = {
    "query": "pos",
    "key": "pos",
    "source_query": "source_pos",
    "source_key": "source_pos",
}


def visible(token: str) -> str:
    """A token as people can see it: spaces at its ends show, control characters are spelled.

    >>> visible(" cat"), visible("a\\n"), visible("\\x1b[31m"), visible("")
    ('␣cat', 'a⏎', '\\\\x1b[31m', '""')
    """
    if not token:
        return '""'
    inner = token.strip(" ")
    start = len(token) - len(token.lstrip(" "))
    end = len(token) - start - len(inner)
    written = "".join(_written(letter) for letter in inner)
    if written and unicodedata.category(written[0]) in ("Mn", "Mc", "Me"):
        written = "◌" + written  # a lone accent would sit on what stands before it
    return SPACE * start + written + SPACE * end


def _written(letter: str) -> str:
    if letter in _CONTROL:
        return _CONTROL[letter]
    if letter == " " or unicodedata.category(letter)[0] not in "CZ":
        return letter
    return letter.encode("unicode_escape").decode() if ord(letter) > 31 else f"\\x{ord(letter):02x}"


def plain(text: str) -> str:
    """The text in ASCII: our own signs have stand-ins, any other letter is escaped.

    >>> plain("␣cat⏎ … é")
    '_cat\\\\n ... \\\\xe9'
    """
    text = "".join(_PLAIN.get(letter, letter) for letter in text)
    return text.encode("ascii", "backslashreplace").decode()


def word_at(trace: Graph, axis: str, index: int) -> str:
    """What the trace's labels call an index of an axis, visible; "" where they have no name for it.

    >>> trace = Graph()
    >>> trace.labels = {"pos": ["the", " cat"]}
    >>> word_at(trace, "key", 1), word_at(trace, "d_model", 1)
    ('␣cat', '')
    """
    words = trace.labels.get(_LABELED_AS.get(axis, axis), ())
    return visible(words[index]) if index < len(words) else ""


def index_label(trace: Graph, axis: str, index: int) -> str:
    """An index with its word: ``3 ␣cat``, or ``3``."""
    return f"{index} {word_at(trace, axis, index)}".rstrip()
