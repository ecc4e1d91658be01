"""What a command writes steers no terminal and can be written on a console of any encoding."""

import io
import json
import sys
from pathlib import Path

import pytest
from rich.console import Console

from glassformer.cli import app as cli
from glassformer.cli.console import SafeConsole
from glassformer.cli.progress import TrainingDisplay
from glassformer.cli.streams import read_lines, read_stdin, say, say_json
from glassformer.errors import GlassformerError
from glassformer.show.sheet import Sheet

STEERS = "\x1b[2J\x1b]0;title\x07 \x9b1m hello \u202eabc \x7f\r"
"""Clears the screen, sets the title, colors (as one C1 letter), turns the line round, deletes."""


def steering(seen: str) -> set[str]:
    """The letters in a text that a terminal obeys."""
    return {letter for letter in seen if letter in "\x1b\x07\x9b\u202e\x7f\r"}


def test_no_way_to_print_lets_a_text_steer_the_terminal(capsys, monkeypatch):
    written = io.StringIO()
    raw = Console(file=written, force_terminal=True, color_system=None, width=80)
    with TrainingDisplay(10, raw) as display:
        written.truncate(0)  # the live bar's own first lines
        display({"step": 1, "sample": STEERS})
        display({"step": 1, "note": STEERS})
        samples = written.getvalue()
    assert "\x1b[2J" not in samples
    assert "\\x1b[2J\\x1b]0;title\\x07" in samples
    assert "\u202e" not in samples
    SafeConsole().print(STEERS)
    sheet = Sheet()
    sheet.line(STEERS, (STEERS, "bold"))
    sheet.prose(STEERS)
    sheet.title(STEERS)
    say(STEERS)
    say(STEERS, error=True)
    monkeypatch.setattr(sys, "argv", ["glassformer", "ask", f"run{STEERS}", "the cat"])
    assert cli.run() == 2
    monkeypatch.setattr(sys, "argv", ["glassformer", f"verb{STEERS}"])
    assert cli.run() == 2
    seen = capsys.readouterr()
    assert "\\x1b[2J" in seen.err
    assert steering(seen.out + seen.err) == set()


def test_the_first_line_after_a_resumed_start_has_the_floor():
    written = io.StringIO()
    with TrainingDisplay(10, Console(file=written), 0.5) as display:
        display({"step": 7, "loss": 1.0, "tokens_per_second": 9.0})
    assert written.getvalue() == "step      7  loss 1.000  floor 0.500  9 tokens/s\n"


def test_an_error_that_quotes_a_file_is_harmless_in_a_notebook_too():
    assert steering(str(GlassformerError(f"there is no file {STEERS}"))) == set()


@pytest.mark.parametrize("encoding", ["utf-8", "cp1252", "latin-1", "ascii"])
def test_json_reads_back_from_a_console_of_any_encoding(monkeypatch, encoding):
    data = {"text": f"caf\u00e9 \u732b \U0001f600 {STEERS}", "\u732b": [1, None, "\n\t\\x1b"]}
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, encoding=encoding))
    say_json(data)
    seen = raw.getvalue().decode(encoding)
    assert json.loads(seen) == data
    assert steering(seen) == set()
    assert ("\u732b" in seen) == (encoding == "utf-8")
    assert ("\u00e9" in seen) == (encoding != "ascii")


@pytest.mark.parametrize("encoding", ["cp1252", "latin-1", "ascii"])
def test_a_command_writes_escapes_for_what_the_console_cannot_spell(
    monkeypatch, encoding, tmp_path: Path
):
    corpus = tmp_path / "\u732b.txt"
    corpus.write_text("\u732b\u304c\u5ea7\u3063\u305f\u3002" * 30, encoding="utf-8")
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, encoding=encoding))
    monkeypatch.setattr(
        sys, "argv", ["glassformer", "tokenize", "\u732b\u304c", "--corpus", str(corpus)]
    )
    assert cli.run() == 0
    say("caf\u00e9 \u732b")
    seen = raw.getvalue()
    assert b"\\u732b" in seen
    assert (b"\\xe9" if encoding == "ascii" else b"\xe9") in seen


@pytest.mark.parametrize(
    ("read", "which"), [(read_stdin, "byte 3"), (lambda: [*read_lines()], "a byte")]
)
def test_standard_input_that_is_no_text_is_said_in_one_line(monkeypatch, read, which):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"caf\xe9"), encoding="utf-8"))
    with pytest.raises(GlassformerError, match=f"is not UTF-8 text: {which} is 0xE9"):
        read()
