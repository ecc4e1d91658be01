"""The lessons in order, computed for a classroom."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from functools import cache
from pkgutil import iter_modules
from types import ModuleType

from glassformer.course import lessons
from glassformer.course.classroom import Classroom
from glassformer.course.lesson import Course, Heading, Lesson, Model
from glassformer.errors import GlassformerError, did_you_mean

MakeLesson = Callable[[Classroom], Lesson]


@cache
def names() -> dict[str, str]:
    """What each lesson is asked for by, and the module that makes it: `lesson_09_attention` is 9.

    A lesson without a number, as `lesson_09b_story`, is asked for by its word.

    >>> [*names()][:2]
    ['0', '1']
    """
    result: dict[str, str] = {}
    for module in sorted(info.name for info in iter_modules(lessons.__path__)):
        number, _, word = module.removeprefix("lesson_").partition("_")
        result[str(int(number)) if number.isdigit() else word] = module
    return result


def name_of(asked: str) -> str:
    """The name of the lesson that a name or a word asks for; refused if there is none.

    >>> name_of("9"), name_of("attention"), name_of("gradient-descent")
    ('9', '9', '12')
    """
    words = {
        module.removeprefix("lesson_").partition("_")[2].replace("_", "-"): name
        for name, module in names().items()
    }
    if asked in names():
        return asked
    if asked.lower() not in words:
        raise GlassformerError(
            f"there is no lesson {asked!r}; there are {', '.join(names())}."
            f"{did_you_mean(asked, [*names(), *words])}"
        )
    return words[asked.lower()]


def heading(name: str) -> Heading:
    """What is known of a lesson before it is made."""
    result: Heading = _module(name).HEADING
    return result


def lesson(name: str, room: Classroom) -> Lesson:
    """One lesson, by its number or its word; made once for a classroom."""
    if name not in room.lessons:
        make: MakeLesson = _module(name).lesson
        room.lessons[name] = make(room)
    return room.lessons[name]


def _module(name: str) -> ModuleType:
    return importlib.import_module(f"{lessons.__name__}.{names()[name_of(name)]}")


def course(room: Classroom, runs: dict[Model, str]) -> Course:
    """All lessons; `runs`: under which name each model is found where they are shown."""
    return Course(
        text=room.text[:600],
        prompt=room.prompt,
        lessons=[lesson(name, room) for name in names()],
        runs=runs,
        folder=str(room.folder),
        file=str(room.file),
    )
