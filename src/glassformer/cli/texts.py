"""How commands take text: the options that say where in files the documents are."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

TEXTS = (
    "Text, JSON lines, parquet and Arrow files, also .gz and .zst; folders of them; data sets that"
    " `datasets` saved; hf:OWNER/NAME of the hub; - for standard input."
)

Field = Annotated[str, typer.Option(help="Where rows have their text.")]
Template = Annotated[
    str | None,
    typer.Option(
        help=r"A row's text from several fields, such as '{q}\n{answer}'; \n is a line end.",
        metavar="TEXT",
    ),
]
Separator = Annotated[
    str | None,
    typer.Option(
        help="What separates the documents of a text file, such as '<|endoftext|>'; else a file is"
        " one document.",
        metavar="TEXT",
    ),
]

_ESCAPES = {"n": "\n", "t": "\t", "\\": "\\"}


def unescaped(template: str | None) -> str | None:
    r"""A template as it was meant, where a shell can't write the end of a line.

    >>> unescaped(r"{question}\n{answer}"), unescaped(r"a\\n, \d")
    ('{question}\n{answer}', 'a\\n, \\d')
    """
    if template is None:
        return None
    return re.sub(r"\\([nt\\])", lambda escape: _ESCAPES[escape[1]], template)


@contextmanager
def showing_progress(console: Console, what: str = "tokens") -> Iterator[Callable[[float], None]]:
    """A bar on a terminal while something lasts; it is told the share that is done."""
    columns = (TextColumn(what), BarColumn(24), TaskProgressColumn(), TimeRemainingColumn())
    with Progress(
        *columns, console=console, transient=True, disable=not console.is_terminal
    ) as bar:
        task = bar.add_task("", total=1.0)
        yield lambda share: bar.update(task, completed=share)
