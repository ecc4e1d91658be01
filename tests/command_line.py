"""The command line in the tests' own process: no Python is started, and torch is there already."""

import io
import sys
from collections.abc import Callable
from typing import NamedTuple

import pytest
import typer

from glassformer.cli import app as cli


class Ended(NamedTuple):
    code: int
    stdout: str
    stderr: str


Command = Callable[..., Ended]


@pytest.fixture
def columns() -> int:
    """How wide the output is."""
    return 80


@pytest.fixture
def glassformer(
    columns: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Command:
    """What runs `glassformer ARGUMENTS`, piped, with all verbs and none of the top's own options.

    The top's context is of another class than its annotation, which the tests' checks refuse.
    """
    monkeypatch.setenv("COLUMNS", str(columns))
    app = typer.Typer(cls=cli.VerbGroup, pretty_exceptions_enable=False)
    app.callback()(lambda: None)
    cli.list_verbs(app, cli.VERBS)
    monkeypatch.setattr(cli, "app", app)

    def run(*arguments: object, piped: str | None = None) -> Ended:
        monkeypatch.setattr(sys, "argv", ["glassformer", *map(str, arguments)])
        if piped is not None:
            monkeypatch.setattr(sys, "stdin", io.StringIO(piped))
        code = cli.run()
        written = capsys.readouterr()
        return Ended(code, str(written.out), str(written.err))

    return run


def done(glassformer: Command, *command: object) -> str:
    """What a command printed; it had nothing to complain about."""
    ended = glassformer(*command)
    assert (ended.code, ended.stderr) == (0, ""), command
    return ended.stdout
