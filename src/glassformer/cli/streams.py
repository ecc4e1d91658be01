"""What a command reads and writes: text that steers no terminal, on consoles of any encoding."""

from __future__ import annotations

import io
import json
import re
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from glassformer.errors import GlassformerError, GlassformerWarning
from glassformer.safe_text import harmless


def spell_what_can_be_spelled() -> None:
    """From here on a letter that a console's encoding lacks is written as an escape."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def say(text: object = "", *, error: bool = False) -> None:
    """Write a line for people, to stderr if it is no part of what was asked for."""
    stream = sys.stderr if error else sys.stdout
    stream.write(f"{harmless(str(text))}\n")
    stream.flush()


def note(text: str) -> None:
    """Something the reader should know, beside what was asked for."""
    sys.stdout.flush()
    say(f"note: {text}", error=True)


@contextmanager
def warnings_as_notes() -> Iterator[None]:
    """Meanwhile our own warnings are notes; those of other packages stay as they are."""
    with warnings.catch_warnings():
        usual = warnings.showwarning

        def show(message: Warning | str, category: type[Warning], *place: Any, **more: Any) -> None:
            if issubclass(category, GlassformerWarning):
                note(str(message))
            else:
                usual(message, category, *place, **more)

        warnings.showwarning = show
        yield


def say_json(data: object) -> None:
    """Write JSON for programs; letters outside ASCII stay as they are where they can be spelled.

    Those that a terminal obeys, or the console's encoding lacks, are written as JSON escapes them.
    """
    encoding = sys.stdout.encoding or "utf-8"

    def spelled(found: re.Match[str]) -> str:
        letter = found[0]
        can_be = letter.encode(encoding, "ignore") and harmless(letter) == letter
        return letter if can_be else json.dumps(letter)[1:-1].replace("\x7f", "\\u007f")

    say(re.sub("[^\n -~]", spelled, json.dumps(data, indent=2, ensure_ascii=False)))


def read_stdin() -> str:
    """All of standard input."""
    try:
        return sys.stdin.read()
    except UnicodeDecodeError as error:
        raise GlassformerError(
            f"standard input is not {error.encoding.upper()} text: byte {error.start:,} is "
            f"0x{error.object[error.start]:02X}; convert it, as in: iconv -f LATIN1 -t UTF-8"
        ) from error
