"""The miniature of 268 weights: what its lesson says, by the commands that it names."""

import json
import math
import re
import shlex
from pathlib import Path

import pytest

from glassformer.course.classroom import Classroom
from glassformer.course.course import lesson
from glassformer.course.lesson import Command, Curve, Lesson, Matrix, Task
from tests.command_line import Command as Run
from tests.course.test_lessons import parts
from tests.course.test_lessons_01_to_03 import guesses, right, table


@pytest.fixture(scope="module")
def made(room: Classroom) -> Lesson:
    """The lesson."""
    return lesson("miniature", room)


def test_its_weights_are_268_and_the_first_guess_is_blind(made: Lesson) -> None:
    rows = table(made, "The learnable weights").rows
    assert rows[-1][-1] == "268" == str(sum(int(row[-1]) for row in rows[:-1]))
    for row in rows[:-1]:
        a, b = map(int, row[1].split(" × "))
        assert a * b + int(row[2]) == int(row[3])
    assert right(guesses(made)[0]) == f"about {100 / 8:g}%"


def test_temperature_divides_the_scores(made: Lesson) -> None:
    matrix = next(p for p in parts(made) if isinstance(p, Matrix))
    temperatures = [float(t) for t in matrix.columns]
    ones = [row[temperatures.index(1.0)] for row in matrix.values]
    for column, t in enumerate(temperatures):
        powers = [p ** (1 / t) for p in ones]
        for row, power in zip(matrix.values, powers, strict=True):
            assert math.isclose(row[column], power / sum(powers), rel_tol=1e-9)
    task = [p for p in parts(made) if isinstance(p, Task)][1]
    first, second = sorted(ones, reverse=True)[:2]
    assert task.expected == pytest.approx((first / second) ** 2, rel=0.01)  # three digits, squared


@pytest.mark.heavy
def test_the_commands_train_it_keep_it_and_let_it_go_on_to_the_full_stop(
    glassformer: Run, made: Lesson, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    lines = [shlex.split(p.line)[1:] for p in parts(made) if isinstance(p, Command)]
    for line in lines:
        assert glassformer(*line).code == 0
    shown = json.loads(glassformer(*lines[0][:-2], "--json").stdout)
    curve = next(p for p in parts(made) if isinstance(p, Curve)).lines[0]
    for loss, chance in zip(shown["losses"], curve.y, strict=True):
        assert math.isclose(math.exp(-loss), chance, rel_tol=1e-4)  # float32 losses
    answer = glassformer("ask", "runs/sentence", "the cat", "--temperature", "0").stdout
    assert re.sub(r"\s+", " ", answer).startswith("the cat sat on a mat.") or "mat ." in answer
    rows = table(made, "The whole sentence").rows
    assert [row[1] for row in rows] == ["cat", "sat", "on", "a", "mat", "."]
