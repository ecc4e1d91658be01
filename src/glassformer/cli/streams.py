"""What a command reads and writes: text that steers no terminal, on consoles of any encoding."""

from __future__ import annotations

import io
import json
import math
import os
import re
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from glassformer.errors import GlassformerError, GlassformerWarning
from glassformer.safe_text import harmless


def open_closed_streams() -> None:
    """A standard stream that is closed, as by cron or `>&-`, is Python's None: it leads nowhere.

    Nor is its number given to a file that is opened later, which libraries would then write into.
    """
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, Path(os.devnull).open(mode))  # noqa: SIM115 (as long as we run)


def silence_stdout() -> None:
    """Its reader has gone: what is still to be flushed at the exit goes nowhere."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


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


def say_at_once(text: bytes) -> None:
    """Write a line to standard error past its buffers, if anyone is there to read it."""
    with suppress(OSError):
        os.write(2, b"\n" + text + b"\n")


def note(text: str) -> None:
    """Something the reader should know, beside what was asked for."""
    sys.stdout.flush()
    say(f"note: {text}", error=True)


def sentence_of(error: GlassformerError | OSError) -> str:
    """What went wrong, for people."""
    if isinstance(error, GlassformerError):
        return str(error)
    return f"{error.strerror or error}{f': {error.filename}' if error.filename else ''}"


@contextmanager
def warnings_as_notes() -> Iterator[None]:
    """Meanwhile our own warnings are notes; those of other packages stay as they are."""
    with warnings.catch_warnings():
        usual = warnings.showwarning

        def show(message: Warning | str, category: type[Warning], *where: Any, **more: Any) -> None:
            if issubclass(category, GlassformerWarning):
                note(str(message))
            else:
                usual(message, category, *where, **more)

        warnings.showwarning = show
        yield


def say_json(data: object, *, on_one_line: bool = False) -> None:
    """Write JSON for programs; letters outside ASCII stay as they are where they can be spelled.

    Those that a terminal obeys, or the console's encoding lacks, are written as JSON escapes them.
    A number has the digits that give the same float again. JSON has none for what is not finite:
    that is a string, "NaN", "Infinity" or "-Infinity", as `float()` and JavaScript's `Number()`
    read it.
    """
    encoding = sys.stdout.encoding or "utf-8"

    def spelled(match: re.Match[str]) -> str:
        letter = match[0]
        can_be = letter.encode(encoding, "ignore") and harmless(letter) == letter
        return letter if can_be else json.dumps(letter)[1:-1].replace("\x7f", "\\u007f")

    indent = None if on_one_line else 2
    text = json.dumps(spell_non_finite(data), indent=indent, ensure_ascii=False, allow_nan=False)
    say(re.sub("[^\n -~]", spelled, text))


def spell_non_finite(data: Any) -> Any:
    """The same data with a string in place of every number that JSON can't write.

    >>> spell_non_finite({"loss": [1.5, float("-inf"), float("nan")]})
    {'loss': [1.5, '-Infinity', 'NaN']}
    """
    if isinstance(data, float) and not math.isfinite(data):
        return "NaN" if math.isnan(data) else "Infinity" if data > 0 else "-Infinity"
    if isinstance(data, dict):
        return {key: spell_non_finite(value) for key, value in data.items()}
    if isinstance(data, list | tuple):
        return [spell_non_finite(value) for value in data]
    return data


def read_stdin() -> str:
    """All of standard input."""
    try:
        return sys.stdin.read()
    except UnicodeDecodeError as error:
        raise _no_text(error, f"byte {error.start:,}") from error


def read_lines() -> Iterator[str]:
    """Standard input line by line, each as soon as it is there."""
    try:
        yield from sys.stdin
    except UnicodeDecodeError as error:  # which counts from where it went on reading
        raise _no_text(error, "a byte") from error


def _no_text(error: UnicodeDecodeError, which: str) -> GlassformerError:
    return GlassformerError(
        f"standard input is not {error.encoding.upper()} text: {which} is "
        f"0x{error.object[error.start]:02X}; convert it, as in: iconv -f LATIN1 -t UTF-8"
    )
