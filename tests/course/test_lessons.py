"""What holds of every lesson, whatever it is about."""

import re
import shlex
from collections.abc import Iterator

import pytest

from glassformer.cli.app import VERBS
from glassformer.cli.learn import Class
from glassformer.course.classroom import FEWEST, Classroom
from glassformer.course.course import course, lesson, names
from glassformer.course.glossary import glossary
from glassformer.course.lesson import (
    AnyPart,
    Command,
    Guess,
    Lesson,
    Look,
    Matrix,
    Model,
    Paragraph,
    Table,
    Task,
    terms_in,
    texts_of,
    unmarked,
)
from glassformer.show.sheet import Sheet

RUNS: dict[Model, str] = {
    "course": "course",
    "miniature": "miniature",
    "worked_example": "worked_example",
}
WITH_EXAMPLES_OF_THEIR_OWN = ("6", "7", "9", "10", "12", "miniature", "chain")
"""Lessons that also read given sentences, the miniature's, or the worked example's."""

LONGEST_SENTENCE = 34  # words: a reader of twelve follows no longer one
MEAN_SENTENCE = 16


def parts(made: Lesson) -> Iterator[AnyPart]:
    return (part for stage in made.stages for part in stage.parts)


def test_a_lesson_is_asked_for_by_its_own_name(made: Lesson) -> None:
    assert made.name in names()
    assert 3 <= made.minutes <= 12
    assert made.takeaway


def test_every_lesson_has_something_to_guess_and_something_to_do_by_hand(made: Lesson) -> None:
    kinds = {part.kind for part in parts(made)}
    assert {"guess", "task", "look", "command"} <= kinds


def test_every_marked_word_is_in_the_glossary(made: Lesson) -> None:
    terms = {term for text in texts_of(made) for term in terms_in(text)}
    assert terms
    assert terms <= glossary().keys()


def test_every_lesson_is_printed_on_the_terminal_whole(
    made: Lesson, room: Classroom, capsys: pytest.CaptureFixture[str]
) -> None:
    Class(room, Sheet(), talks=False, teacher=False).go_through(made)
    printed = " ".join(capsys.readouterr().out.split())
    for stage in made.stages:
        assert stage.title in printed
    assert " ".join(unmarked(made.takeaway).split()) in printed
    assert not re.search(r"\d\.\d+…\s+-?\d", printed)  # numbers of a table are whole


def test_a_guess_has_one_right_choice_and_a_word_for_every_other(made: Lesson) -> None:
    for part in parts(made):
        if isinstance(part, Guess):
            assert len(set(part.choices)) == len(part.choices) == len(part.misses)
            assert [i for i, miss in enumerate(part.misses) if not miss] == [part.answer]


def test_a_task_accepts_its_own_answer_and_not_one_beyond_its_tolerance(made: Lesson) -> None:
    for part in parts(made):
        if isinstance(part, Task):
            assert part.accepts(part.expected)
            assert not part.accepts(part.expected + 3 * part.tolerance + 0.001)
            assert part.worked


def test_every_address_names_one_number_of_the_models_trace(made: Lesson, room: Classroom) -> None:
    for part in parts(made):
        if isinstance(part, Look):
            state = room.state(part.model)
            ids, targets = state.make_targets(part.prompt, part.target)
            trace = (
                room.watch(part.prompt, part.model)
                if part.target is None
                else state.train_step(ids, targets)[0].trace
            )
            assert trace[part.address].numel() == 1


def test_every_command_is_one_of_ours(made: Lesson) -> None:
    for part in parts(made):
        if isinstance(part, Command):
            words = shlex.split(part.line.removeprefix("torchrun --nproc-per-node 2 -m "))
            assert words[0] == "glassformer"
            assert words[1] in VERBS


def test_tables_and_matrices_have_as_many_cells_as_titles(made: Lesson) -> None:
    for part in parts(made):
        if isinstance(part, Table):
            assert {len(row) for row in part.rows} == {len(part.header)}
        if isinstance(part, Matrix):
            assert len(part.values) == len(part.rows)
            assert {len(row) for row in part.values} == {len(part.columns)}


def test_sentences_are_short_enough_for_a_reader_of_twelve(made: Lesson) -> None:
    texts = [part.text for part in parts(made) if isinstance(part, Paragraph)]
    without_quotes = [re.sub("“[^”]*”|`[^`]*`", "it", unmarked(text)) for text in texts]
    sentences = [s.split() for text in without_quotes for s in re.split(r"(?<=[.?!:;])\s", text)]
    lengths = [len(words) for words in sentences]
    assert max(lengths) <= LONGEST_SENTENCE
    assert sum(lengths) / len(lengths) <= MEAN_SENTENCE


@pytest.mark.heavy
def test_the_whole_course_is_made_for_another_classs_text(other_room: Classroom) -> None:
    made = course(other_room, RUNS)
    assert [one.name for one in made.lessons] == [*names()]
    for one in made.lessons:
        words = re.findall(r"[a-z]+", one.model_dump_json())
        assert ("cat" in words) == (one.name in WITH_EXAMPLES_OF_THEIR_OWN)


def test_a_lesson_is_the_same_whenever_it_is_made(room: Classroom) -> None:
    again = Classroom(None, room.folder)
    assert lesson("0", again) == lesson("0", room)


def test_a_prompt_has_three_tokens_or_more_whatever_the_text(
    room: Classroom, other_room: Classroom
) -> None:
    for each in (room, other_room):
        assert len(each.tokenizer.encode_prompt(each.prompt)) >= FEWEST
