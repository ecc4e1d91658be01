"""Whoever types the guide's arithmetic into a calculator gets what the guide prints."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.calculator import holds

GUIDE = Path(__file__).parents[2] / "docs" / "guide"
CELL = re.compile(r"^```\{code-cell\}[^\n]*\n(?::[^\n]*\n)*(.*?)^```", re.DOTALL | re.MULTILINE)
LINE = re.compile(r"^ *(\w+ = .+(?:\n(?! *\w+ = ).+)*?)\n +([=≈] \S+)$", re.MULTILINE)
SHELL = "%%bash"


def cells(name: str) -> list[str]:
    return CELL.findall((GUIDE / f"{name}.md").read_text(encoding="utf-8"))


def true_lines(printed: str) -> int:
    """How many lines of arithmetic were printed; all are true and none says ≈."""
    found = LINE.findall(printed)
    for numbers, result in found:
        line = re.sub(r"\n *", " ", numbers) + " " + result
        assert holds(line), line
    return len(found)


@pytest.mark.parametrize(
    ("name", "n_lines"),
    [
        *(("attention", 4), ("block", 5), ("embeddings", 1)),
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
