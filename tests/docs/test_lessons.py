"""The guide's page of lessons holds what the lessons hold."""

import importlib
import sys
from pathlib import Path

from glassformer.course.classroom import Classroom
from glassformer.course.course import lesson
from glassformer.course.lesson import unmarked
from tests.course.conftest import room as room

sys.path.insert(0, str(Path(__file__).parents[2] / "docs" / "_ext"))

lessons = importlib.import_module("lessons")


def test_a_lesson_of_the_guide_has_every_stage_question_and_command(room: Classroom) -> None:
    made = lesson("6", room)
    text = "\n".join(lessons.lesson_lines(made, room))
    assert "## 6. Neurons" in text
    for stage in made.stages:
        assert f"### {stage.title}" in text
        for part in stage.parts:
            match part.kind:
                case "guess":
                    assert f"**Answer:** {part.choices[part.answer]}." in text
                case "task":
                    assert unmarked(part.worked[0]) in text
                case "command":
                    line = part.line.replace("{course}", "runs/course")
                    assert line.replace("{text}", "runs/course.txt") in text
                case _:
                    pass
    assert text.count("```text") == sum(
        part.kind in ("curve", "net") for stage in made.stages for part in stage.parts
    )
    assert str(room.folder) not in text
