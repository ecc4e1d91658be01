"""Lessons 1 to 3: vocabulary, tokenization, blocks, counted again from the text itself."""

import shlex
from collections import Counter
from itertools import pairwise
from pathlib import Path

import pytest

from glassformer.course.classroom import BYTES, STORY, Classroom
from glassformer.course.course import lesson
from glassformer.course.lesson import Command, Guess, Lesson, Table, Task
from glassformer.course.lessons.lesson_02_tokenization import sample
from tests import command_line
from tests.course.test_lessons import parts


def guesses(made: Lesson) -> list[Guess]:
    return [part for part in parts(made) if isinstance(part, Guess)]


def tasks(made: Lesson) -> list[Task]:
    return [part for part in parts(made) if isinstance(part, Task)]


def table(made: Lesson, title: str) -> Table:
    return next(p for p in parts(made) if isinstance(p, Table) and p.title.startswith(title))


def right(guess: Guess) -> str:
    return guess.choices[guess.answer]


def test_the_story_has_22_characters_as_its_list_says(room: Classroom) -> None:
    made = lesson("1", room)
    different = Counter(STORY.strip())
    assert right(guesses(made)[0]) == str(len(different)) == "22"
    listed = [cell for row in table(made, "The vocabulary of the story").rows for cell in row]
    assert {cell for cell in listed if cell} == {
        f"{'␣' if letter == ' ' else letter} ×{n}" for letter, n in different.items()
    }
    assert tasks(made)[0].expected == len(set(room.prompt))


def test_a_letter_outside_is_shown_as_the_bytes_of_its_utf8(room: Classroom) -> None:
    made = lesson("1", room)
    shown = table(made, "é as bytes").rows
    assert [row[0] for row in shown] == [f"<0x{byte:02X}>" for byte in "é".encode()]


@pytest.mark.parametrize("which", ["room", "other_room"])
def test_the_commands_on_tokens_print_the_counts_of_their_lessons(
    which: str, request: pytest.FixtureRequest, glassformer: command_line.Command
) -> None:
    room: Classroom = request.getfixturevalue(which)

    def printed(made: Lesson) -> str:
        line = next(part.line for part in parts(made) if isinstance(part, Command))
        words = [word.replace("{course}", str(room.run)) for word in shlex.split(line)]
        ended = glassformer(*words[1:])
        assert (ended.code, ended.stderr) == (0, "")
        return ended.stdout

    first, second = lesson("1", room), lesson("2", room)
    note = next(p.note for p in parts(first) if isinstance(p, Table) and "whole list" in p.note)
    size = room.by_characters.vocab_size
    assert f"The whole list has {size} tokens" in note
    assert f"chars tokenizer of {size} tokens" in printed(first)
    merged = table(second, "The text after each merge").rows
    assert f"bpe tokenizer of {BYTES + len(merged) - 1} tokens" in (said := printed(second))
    assert f"{merged[-1][-1]} tokens" in said


def test_the_first_pair_is_the_one_that_comes_most_often_within_words(room: Classroom) -> None:
    words = [" " * (i > 0) + word for i, word in enumerate(STORY.split())]
    pairs: Counter[tuple[str, str]] = Counter()
    for word in (part for spelled in words for part in (spelled.rstrip("."), ".") if part):
        pairs.update(pairwise(word))
    made = lesson("2", room)
    (left, other), n = pairs.most_common(1)[0]
    assert right(guesses(made)[1]) == f"{left} + {other}"
    assert f"{n} times" in guesses(made)[1].reveal
    shown = table(made, "The pairs that come most often").rows
    for pair, times in shown:
        a, b = (" " if piece == "␣" else piece for piece in pair.split(" + "))
        assert pairs[a, b] == int(times)


def test_the_text_after_each_merge_is_the_text_and_ever_fewer_pieces(room: Classroom) -> None:
    rows = table(lesson("2", room), "The text after each merge").rows
    lengths = [int(row[-1]) for row in rows]
    assert lengths == sorted(lengths, reverse=True)
    assert lengths[0] == len("The cat sat on the mat.")
    for row, n in zip(rows, lengths, strict=True):
        pieces = row[3].split(" | ")
        assert len(pieces) == n
        assert "".join(pieces).replace("␣", " ") == "The cat sat on the mat."
    for before, row in pairwise(rows):
        left, other = row[1].split(" + ")
        joined = f"{left} | {other}"
        assert (joined in before[3]) == (before[3] != row[3])


def test_encoding_and_decoding_are_the_models_own(room: Classroom) -> None:
    made = lesson("2", room)
    encoded = table(made, "Encode")
    assert [int(row[1]) for row in encoded.rows] == room.tokenizer.encode(room.prompt)
    assert room.prompt in encoded.note
    assert tasks(made)[0].expected == 23 / 13  # 23 characters; 13 pieces in the test above


def test_blocks_of_three_words_are_the_storys_in_order(room: Classroom) -> None:
    made = lesson("3", room)
    words = STORY.replace(".", "").split()
    assert right(guesses(made)[0]) == str(-(-len(words) // 3))
    shown = table(made, "Blocks of 3 words").rows
    assert [row[1] for row in shown[:2]] == ["The cat sat", "on the mat"]
    assert " ".join(row[1] for row in shown).split() == words[: 3 * len(shown)]


def test_the_models_blocks_and_what_it_reads_in_all(room: Classroom) -> None:
    made = lesson("3", room)
    recipe, n_ctx = room.state().recipe, room.model.config.n_ctx
    assert tasks(made)[0].expected == recipe.steps * recipe.batch_size * n_ctx
    n = len(room.tokenizer.encode(room.prompt))
    assert tasks(made)[1].expected == sum(range(1, n + 1))
    for row in table(made, "Pairs of tokens").rows:
        length = int(row[1].replace(",", ""))
        assert int(row[2].replace(",", "")) == sum(range(1, length + 1))
    text = " ".join(room.tokenizer.token(i) for i in room.tokenizer.encode(STORY))
    for row in table(made, "Three blocks").rows:
        assert row[1].replace(" | ", " ").replace("<eos> ", "") in text


def test_byte_pairs_are_shown_on_words_that_they_join(tmp_path: Path) -> None:
    text = tmp_path / "licence.txt"
    text.write_text("GNU LICENSE\n" + "The licence of the work is there. " * 9)
    assert sample(Classroom(text, tmp_path / "run")) == "The licence of the work is there."
