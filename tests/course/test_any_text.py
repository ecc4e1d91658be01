"""A class brings any text along: every lesson is made of it, and every number follows from it."""

import shlex
from pathlib import Path

import pytest

from glassformer.course.classroom import Classroom
from glassformer.course.course import lesson, names
from glassformer.course.lesson import Command, Guess
from glassformer.server.course import course_page
from glassformer.server.export import write_page
from tests.course.conftest import learn_riddles
from tests.course.facts import wrong
from tests.course.facts_00_to_08 import Known
from tests.course.test_every_number import FACTS
from tests.course.texts import TEXTS

MOST_BYTES = 2_000_000


@pytest.mark.heavy
@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
def test_any_text_has_its_course_whose_every_number_follows_from_it(
    tmp_path: Path, text: str
) -> None:
    (tmp_path / "ours.txt").write_text(text, encoding="utf-8", newline="")
    learn_riddles(tmp_path)
    room = Classroom(tmp_path / "ours.txt", tmp_path / "course")
    known = Known(room)
    for name in names():
        made = lesson(name, room)
        assert wrong(made, FACTS[name](known)) == [], name
        parts = [part for stage in made.stages for part in stage.parts]
        assert all(len({*p.choices}) == len(p.choices) for p in parts if isinstance(p, Guess))
        typed = [shlex.split(part.line) for part in parts if isinstance(part, Command)]
        assert name != "0" or [words[-1] for words in typed] == [room.prompt]
    file = write_page(course_page(room), tmp_path / "course.html")
    assert file.stat().st_size <= MOST_BYTES
    assert room.completions
    if room.tokenizer.kind != "bpe":  # few enough sentences to be learned by heart
        for prompt, word in room.completions:
            assert room.tokenizer.token(room.best_token(prompt)) == word
