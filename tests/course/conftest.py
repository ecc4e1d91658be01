"""Classrooms that are trained once for all tests of the course."""

from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest

from glassformer.course.classroom import RIDDLES, Classroom
from glassformer.course.course import lesson, names
from glassformer.course.lesson import Lesson
from glassformer.course.riddles import choices
from glassformer.training.loop import train
from glassformer.training.prepare import new_run
from tests.command_line import columns, glassformer

__all__ = ["columns", "glassformer"]

OTHER = (
    "Our school is old. The bell rings at eight. We read books in the hall. We play ball in the"
    " yard. The bell rings at one. We eat soup in the hall. Our school is loud.\n"
)
"""The text of another class."""


def learn_riddles(folder: Path) -> None:
    """A run that has learned next to nothing of riddles, where a classroom in it looks for one."""
    few = choices(folder / f"{RIDDLES}.jsonl", 200)
    sizes = {"d_model": 16, "n_layers": 1, "n_heads": 2}
    few = replace(few, model={**few.model, **sizes}, recipe={**few.recipe, "steps": 2})
    prepared = new_run(folder / RIDDLES, few)
    with prepared.run:
        train(prepared.model, prepared.data, prepared.recipe, run=prepared.run)


@cache
def room_of_the_story(folder: Path) -> Classroom:
    """The classroom of the story, once a process, with all that it has trained so far."""
    learn_riddles(folder)
    return Classroom(None, folder / "course")


@pytest.fixture(scope="session")
def room(tmp_path_factory: pytest.TempPathFactory) -> Classroom:
    """The classroom of the story; its other model has learned next to nothing of riddles."""
    return room_of_the_story(tmp_path_factory.getbasetemp() / "story")


@pytest.fixture(scope="session")
def other_room(tmp_path_factory: pytest.TempPathFactory) -> Classroom:
    """The classroom of another class's six sentences."""
    folder = tmp_path_factory.mktemp("other")
    (folder / "ours.txt").write_text(OTHER, encoding="utf-8")
    learn_riddles(folder / "runs")
    return Classroom(folder / "ours.txt", folder / "runs" / "course")


@pytest.fixture(params=[*names()], scope="session")
def made(request: pytest.FixtureRequest, room: Classroom) -> Lesson:
    """Each lesson on the story."""
    return lesson(request.param, room)
