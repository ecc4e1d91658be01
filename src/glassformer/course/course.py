"""The lessons in order, computed for a classroom."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from functools import cache
from pkgutil import iter_modules

from glassformer.course import lessons
from glassformer.course.classroom import Classroom, is_trained
from glassformer.course.lesson import Course, Lesson, Model
from glassformer.errors import GlassformerError, did_you_mean

NEED_THE_DEMO = ("13",)
LEFT_OUT = (
    "Lesson 13 needs the model of `glassformer demo`, which learns for about three minutes. Run it"
    " in the folder from which this page is served, then start the server again."
)

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


def check_name(name: str) -> None:
    """Refuse the name of a lesson that is not there."""
    if name not in names():
        raise GlassformerError(
            f"there is no lesson {name!r}; there are {', '.join(names())}."
            f"{did_you_mean(name, names())}"
        )


def lesson(name: str, room: Classroom) -> Lesson:
    """One lesson, by its number or its word."""
    check_name(name)
    module = importlib.import_module(f"{lessons.__name__}.{names()[name]}")
    make: MakeLesson = module.lesson
    return make(room)


def course(room: Classroom, runs: dict[Model, str], patient: bool = True) -> Course:
    """All lessons; `runs`: under which name each model is found where they are shown.

    patient: the lesson that needs the demo's model is made even where that is not trained yet.
    """
    whole = patient or is_trained(room.storyteller_folder)
    taken = [name for name in names() if whole or name not in NEED_THE_DEMO]
    return Course(
        text=room.text[:600],
        prompt=room.prompt,
        lessons=[lesson(name, room) for name in taken],
        runs=runs,
        folder=str(room.folder),
        file=str(room.file),
        left_out="" if whole else LEFT_OUT,
    )
