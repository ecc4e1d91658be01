"""Whoever types the guide's arithmetic into a calculator gets what the guide prints."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.calculator import calculate, holds
from tests.command_line import Command

GUIDE = Path(__file__).parents[2] / "docs" / "guide"
CELL = re.compile(r"^```\{code-cell\}[^\n]*\n(?::[^\n]*\n)*(.*?)^```", re.DOTALL | re.MULTILINE)
LINE = re.compile(r"^ *(\w+ = .+(?:\n(?! *\w+ = ).+)*?)\n +([=≈] \S+)$", re.MULTILINE)
SHELL = "%%bash"


def cells(name: str) -> list[str]:
    return CELL.findall((GUIDE / f"{name}.md").read_text(encoding="utf-8"))


def true_lines(printed: str) -> int:
    """How many lines of arithmetic were printed; all are true and none says ≈."""
    matches = LINE.findall(printed)
    for numbers, result in matches:
        line = re.sub(r"\n *", " ", numbers) + " " + result
        assert holds(line), line
    return len(matches)


@pytest.mark.parametrize(
    ("name", "n_lines"),
    [
        *(("ask", 1), ("attention", 4), ("block", 5), ("embeddings", 1)),
        *(("explain", 3), ("gradient-descent", 3), ("loss", 2)),
    ],
)
def test_arithmetic_that_the_python_examples_print_is_true(
    name: str, n_lines: int, capsys: pytest.CaptureFixture[str]
):
    names: dict[str, object] = {}
    for cell in cells(name):
        if not cell.startswith("%"):
            exec(compile(cell, name, "exec"), names)
    assert true_lines(capsys.readouterr().out) >= n_lines


@pytest.mark.heavy
def test_the_chapter_on_two_towers_trains_a_model_that_translates_and_explains_it():
    names: dict[str, Any] = {}
    for cell in cells("towers"):
        exec(compile(cell, "towers", "exec"), names)
    tokenizer, written, explained = (names[n] for n in ("tokenizer", "written", "explained"))
    assert tokenizer.decode(written) == "le chat noir ne voit pas la petite fleur"
    assert explained.agrees
    # the gradient is fp32's, what came of nudging float64's
    assert explained.difference.value == pytest.approx(explained.value, rel=1e-3, abs=1e-8)


CHOSEN = re.compile(r"u = (\S+) fell into \[(\S+), (\S+)\)")
DRAWN = re.compile(r"^→ .* (\S+)$", re.MULTILINE)
ONE_LINE = re.compile(r"^  \w+ = (\S+)   \((.+): (yes|no)\)$", re.MULTILINE)


def test_what_the_commands_of_the_page_on_asking_print_is_true(glassformer: Command):
    printed = []
    for cell in cells("ask"):
        if cell.startswith(SHELL):
            _, *arguments = shlex.split(cell.partition("\n")[2])
            ended = glassformer(*arguments)
            assert ended.code == 0, ended.stderr
            printed.append(ended.stdout + ended.stderr)
    tables = [text for text in printed if DRAWN.search(text)]
    assert len(tables) == 2
    for text in tables:
        result = CHOSEN.search(" ".join(text.split()))
        assert result is not None, text
        u, low, high = map(float, result.groups())
        assert low <= u < high
        (probability,) = DRAWN.findall(text)
        assert f"{high - low:.3f}" == probability  # as many digits as the table has
    conditions = [each for text in printed for each in ONE_LINE.findall(text)]
    assert conditions
    for _, condition, answer in conditions:
        assert calculate(condition) == (answer == "yes")


@pytest.mark.heavy  # each command is a process of its own
def test_arithmetic_that_the_commands_of_the_guide_print_is_true(tmp_path: Path):
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    printed = [
        subprocess.run(
            ["bash", "-e", "-c", cell.partition("\n")[2]],
            cwd=tmp_path,
            env=os.environ | {"PATH": path, "COLUMNS": "84"},
            capture_output=True,
            check=True,
            encoding="utf-8",
        ).stdout
        for cell in cells("see")
        if cell.startswith(SHELL)
    ]
    assert true_lines("\n".join(printed)) >= 1
