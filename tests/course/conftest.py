"""Classrooms that are trained once for all tests of the course."""

from pathlib import Path

import pytest

from glassformer.course.classroom import Classroom
from glassformer.course.course import lesson, names
from glassformer.course.lesson import Lesson
from tests.command_line import columns, glassformer

__all__ = ["columns", "glassformer"]

OTHER = (
    "Our school is old. The bell rings at eight. We read books in the hall. We play ball in the"
    " yard. The bell rings at one. We eat soup in the hall. Our school is loud.\n"
)
"""The text of another class."""


@pytest.fixture(scope="session")
def room(tmp_path_factory: pytest.TempPathFactory) -> Classroom:
    """The classroom of the story."""
    return Classroom(None, tmp_path_factory.mktemp("story") / "runs" / "course")


@pytest.fixture(scope="session")
def other_room(tmp_path_factory: pytest.TempPathFactory) -> Classroom:
    """The classroom of another class's six sentences."""
    folder = tmp_path_factory.mktemp("other")
    (folder / "ours.txt").write_text(OTHER, encoding="utf-8")
    return Classroom(folder / "ours.txt", folder / "runs" / "course")


@pytest.fixture(scope="session")
def long_room(tmp_path_factory: pytest.TempPathFactory) -> Classroom:
    """The classroom of a text of 300,000 characters, which is read in byte pairs."""
    folder = tmp_path_factory.mktemp("long")
    guide = sorted((Path(__file__).parents[2] / "docs" / "guide").glob("*.md"))
    pages = "\n".join(page.read_text(encoding="utf-8") for page in guide)
    (folder / "long.txt").write_text((pages * 9)[:300_000], encoding="utf-8")
    return Classroom(folder / "long.txt", folder / "runs" / "course")


@pytest.fixture(params=[*names()])
def made(request: pytest.FixtureRequest, room: Classroom) -> Lesson:
    """Each lesson on the story."""
    return lesson(request.param, room)
