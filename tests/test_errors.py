"""The nearest known name, and one line where the package does not run."""

import importlib
import os
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

import glassformer
from glassformer.errors import UnsupportedPlatformError, did_you_mean

names = st.lists(st.text(min_size=1, max_size=8), max_size=6)


@given(known=names, name=st.text(max_size=8))
def test_only_a_known_name_is_ever_suggested(name: str, known: list[str]):
    assert did_you_mean(name, known) in {"", *(f" Did you mean {one!r}?" for one in known)}


@given(known=st.from_regex(r"[a-zA-Z0-9_.-]{1,20}", fullmatch=True))
def test_a_known_name_in_other_case_is_suggested(known: str):
    assert did_you_mean(known.swapcase(), ["worked-example", known]) != ""


def test_another_system_is_refused_in_one_line_at_import(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(os, "name", "nt")
    with pytest.raises(UnsupportedPlatformError, match="runs on Linux and macOS") as raised:
        importlib.reload(glassformer)
    assert isinstance(raised.value, ImportError)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("program", "argv"),
    [(r"C:\Scripts\glassformer.exe", []), ("-m", ["python", "-X", "utf8", "-m", "glassformer"])],
)
def test_the_command_on_another_system_ends_in_one_line(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    program: str,
    argv: list[str],
):
    monkeypatch.setattr(os, "name", "nt")
    monkeypatch.setattr(sys, "argv", [program, "ask"])
    monkeypatch.setattr(sys, "orig_argv", argv)
    with pytest.raises(SystemExit) as ended:
        importlib.reload(glassformer)
    assert ended.value.code == 2
    said = capsys.readouterr().err
    assert said.startswith("error: Glassformer runs on Linux and macOS")
    assert said.count("\n") == 1
