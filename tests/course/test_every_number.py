"""Every number of every lesson is computed again; whoever types one in is told."""

import re
from collections.abc import Iterator

import pytest

from glassformer.course.classroom import Classroom
from glassformer.course.course import lesson, names
from glassformer.course.lesson import Bars, Matrix, Paragraph, Table
from tests.course import facts_00_to_08, facts_09_to_10, facts_11_to_13
from tests.course.facts import NUMBER, wrong
from tests.course.facts_00_to_08 import Known

FACTS = {**facts_00_to_08.FACTS, **facts_09_to_10.FACTS, **facts_11_to_13.FACTS}


@pytest.fixture(scope="session")
def known(room: Classroom) -> Known:
    return Known(room)


@pytest.fixture(scope="session")
def other(other_room: Classroom) -> Known:
    return Known(other_room)


@pytest.mark.parametrize("name", [*names()])
def test_every_number_of_a_lesson_follows_from_the_text_and_the_weights(
    known: Known, name: str
) -> None:
    facts = FACTS[name](known)
    assert wrong(lesson(name, known.room), facts) == []
    assert all(facts.constants.values()), "a constant without its source"


@pytest.mark.heavy
@pytest.mark.parametrize("name", [*names()])
def test_and_so_do_those_of_another_classs_text(other: Known, name: str) -> None:
    assert wrong(lesson(name, other.room), FACTS[name](other)) == []


def changed(printed: re.Match[str]) -> str:
    """A number with another first digit."""
    text = printed[0]
    at = next(i for i, letter in enumerate(text) if letter in "123456789")
    return f"{text[:at]}{int(text[at]) % 9 + 1}{text[at + 1 :]}"


@pytest.mark.parametrize("name", ["4", "9", "12"])
def test_a_cell_that_is_changed_by_a_digit_is_noticed(known: Known, name: str) -> None:
    made, facts = lesson(name, known.room), FACTS[name](known)
    n_changed = 0
    for s, stage in enumerate(made.stages):
        for p, part in enumerate(stage.parts):
            if not isinstance(part, Table | Matrix | Bars):
                continue
            for other in spoiled(part):
                parts = [*stage.parts[:p], other, *stage.parts[p + 1 :]]
                stages = [*made.stages]
                stages[s] = stage.model_copy(update={"parts": parts})
                assert wrong(made.model_copy(update={"stages": stages}), facts), other
                n_changed += 1
    assert n_changed > 10


def spoiled(part: Table | Matrix | Bars) -> Iterator[Table | Matrix | Bars]:
    """The part once for each row of a table, or for a picture, with one number changed."""
    if isinstance(part, Table):
        number = re.compile(f"(?=.*[1-9])(?:{NUMBER.pattern})")
        for r, row in enumerate(part.rows):
            for c, cell in enumerate(row):
                if number.fullmatch(cell):
                    other = [*row[:c], number.sub(changed, cell), *row[c + 1 :]]
                    yield part.model_copy(
                        update={"rows": [*part.rows[:r], other, *part.rows[r + 1 :]]}
                    )
    elif isinstance(part, Matrix):
        first, *rest = part.values
        yield part.model_copy(update={"values": [[first[0] + 0.01, *first[1:]], *rest]})
    else:
        yield part.model_copy(update={"values": [part.values[0] + 0.01, *part.values[1:]]})


def test_a_number_that_is_typed_into_a_sentence_is_noticed(known: Known) -> None:
    made, facts = lesson("9", known.room), FACTS["9"](known)
    stage = made.stages[0]
    typed = Paragraph(text="The head has 4711 of them.")
    spoiled_ = made.model_copy(
        update={"stages": [stage.model_copy(update={"parts": [*stage.parts, typed]})]}
    )
    assert any("4711" in line for line in wrong(spoiled_, facts))
