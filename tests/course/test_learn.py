"""`glassformer learn` and `glassformer course`: as a class, and as a teacher, meet them."""

import re
from contextlib import nullcontext
from functools import partial
from pathlib import Path

import pytest

from glassformer.cli import learn
from glassformer.course import riddles
from glassformer.course.classroom import Classroom, folder_of
from glassformer.course.course import heading, lesson, names
from glassformer.course.lesson import Guess, Task
from glassformer.course.progress import read_progress
from glassformer.show.sheet import Sheet
from tests.command_line import Command
from tests.course.test_lessons import parts


@pytest.fixture(autouse=True)
def progress_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Progress of this test alone."""
    file = tmp_path / "progress.json"
    monkeypatch.setattr(learn, "progress_file", lambda: file)
    return file


def answers_of(room: Classroom, name: str, right: bool) -> list[str]:
    """What a reader types: an answer to every question; Enter between stages."""
    typed: list[str] = []
    for i, stage in enumerate(lesson(name, room).stages):
        typed += [""] if i else []
        for part in stage.parts:
            if isinstance(part, Guess):
                wrong = (part.answer + 1) % len(part.choices)
                typed.append(str((part.answer if right else wrong) + 1))
            if isinstance(part, Task):
                typed += [f"{part.expected:.6f}"] if right else ["none", "1e9"]
    return [*typed, ""]


def test_piped_a_lesson_is_printed_whole_with_its_answers(
    glassformer: Command, room: Classroom
) -> None:
    ended = glassformer("learn", "0", "--out", str(room.run))
    assert ended.code == 0
    made = lesson("0", room)
    for part in parts(made):
        if isinstance(part, Guess):
            assert f"Answer: {part.choices[part.answer]}" in ended.stdout
    assert "To take away" in ended.stdout


@pytest.mark.parametrize("damaged", [b"\xff", b"[" * 100_000, b'{"texts": 3}', b""])
def test_progress_that_can_not_be_read_is_begun_anew(tmp_path: Path, damaged: bytes) -> None:
    file = tmp_path / "progress.json"
    file.write_bytes(damaged)
    assert read_progress(file).texts == {}


def test_the_list_of_lessons_is_there_at_once_and_trains_nothing(
    glassformer: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("ours.txt").write_text("The bell rings. We read.", encoding="utf-8")
    ended = glassformer("learn", "--text", "ours.txt", "--out", "kept")
    assert ended.code == 0
    printed = " ".join(ended.stdout.split())
    assert all(heading(name).title in printed for name in names())
    assert printed.endswith("Begin with: glassformer learn 0 --text ours.txt --out kept")
    assert not Path("kept").exists()


def test_a_teacher_sees_no_answer(glassformer: Command, room: Classroom) -> None:
    shown = glassformer("learn", "0", "--out", str(room.run), "--teacher").stdout
    assert "Answer" not in shown
    for part in parts(lesson("0", room)):
        if isinstance(part, Task):
            assert part.worked[0] not in shown


@pytest.mark.parametrize("right", [True, False])
def test_on_a_terminal_one_answers_first_and_the_score_is_kept(
    room: Classroom, right: bool, monkeypatch: pytest.MonkeyPatch, progress_file: Path
) -> None:
    typed = iter(answers_of(room, "0", right))
    monkeypatch.setattr("builtins.input", lambda question: next(typed))
    learn.Class(room, Sheet(), talks=True, teacher=False).go_through(lesson("0", room))
    done = read_progress(progress_file).of(room.folder.name)["0"]
    asked = sum(isinstance(part, Guess | Task) for part in parts(lesson("0", room)))
    assert (done.right, done.asked) == (asked if right else 0, asked)
    assert next(typed, None) is None


def test_q_leaves_and_nothing_is_kept(
    room: Classroom, monkeypatch: pytest.MonkeyPatch, progress_file: Path
) -> None:
    monkeypatch.setattr("builtins.input", lambda question: "q")
    learn.Class(room, Sheet(), talks=True, teacher=False).go_through(lesson("0", room))
    assert not progress_file.exists()


@pytest.mark.parametrize("suffix", [".md", ".html"])
def test_a_worksheet_asks_and_its_answer_sheet_answers(
    glassformer: Command, room: Classroom, tmp_path: Path, suffix: str
) -> None:
    file = tmp_path / f"sheet{suffix}"
    ended = glassformer("learn", "0", "--out", str(room.run), "--worksheet", str(file))
    assert ended.code == 0
    sheet = file.read_text(encoding="utf-8")
    answers = (tmp_path / f"sheet-answers{suffix}").read_text(encoding="utf-8")
    task = next(part for part in parts(lesson("0", room)) if isinstance(part, Task))
    assert task.worked[0] in answers
    assert task.worked[0] not in sheet
    assert "Name: " in sheet
    assert "Name: " not in answers
    before_the_guess, after_it = "A small model has read it many times.", "does one thing. It reads"
    assert before_the_guess in sheet
    assert before_the_guess not in answers
    assert after_it in sheet  # the next question is of another stage
    assert "This is called autoregressive" in sheet
    assert not re.search(r"It gives .* a probability of", sheet)


def test_what_cannot_be_is_refused_in_one_line(
    glassformer: Command, room: Classroom, tmp_path: Path
) -> None:
    short = tmp_path / "short.txt"
    short.write_text("One sentence only.", encoding="utf-8")
    for arguments, message in (
        (["99"], "there is no lesson '99'; there are 0"),
        (["0", "--text", "absent.txt"], "there is no file absent.txt"),
        (["0", "--text", str(short), "--out", str(tmp_path / "r")], "is one sentence"),
        (["0", "--worksheet", "sheet.pdf", "--out", str(room.run)], "neither .md nor .html"),
    ):
        ended = glassformer("learn", *arguments)
        assert ended.code == 2
        assert ended.stderr.startswith("error: ")
        assert message in ended.stderr


def test_a_folder_that_learned_another_text_is_refused_and_its_own_is_taken_again(
    glassformer: Command, room: Classroom, tmp_path: Path
) -> None:
    other = tmp_path / "other.txt"
    other.write_text("Our school is old. The bell rings at eight.", encoding="utf-8")
    ended = glassformer("learn", "1", "--text", str(other), "--out", str(room.run))
    assert ended.code == 2
    assert "learned another text" in ended.stderr
    assert Classroom(None, room.folder).run == room.run


def test_every_text_has_a_folder_of_its_own(tmp_path: Path) -> None:
    one, two = tmp_path / "a.txt", tmp_path / "b.txt"
    one.write_text("One. Two.", encoding="utf-8")
    two.write_text("One. Three.", encoding="utf-8")
    assert len({folder_of(None), folder_of(one), folder_of(two)}) == 3


def test_who_waits_for_a_model_is_told_what_it_learns_and_how_far_it_is_and_only_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    few = partial(riddles.choices, n=200)
    monkeypatch.setattr(riddles, "RECIPE", {**riddles.RECIPE, "steps": 2})
    monkeypatch.setattr("glassformer.course.classroom.choices", few)
    printed: list[str] = []
    shares: list[float] = []

    def waiting() -> Classroom:
        showing = partial(nullcontext, shares.append)
        return Classroom(None, tmp_path / "course", printed.append, showing)

    assert waiting().riddler.done == 2
    (sentence,) = printed
    assert "learns to solve riddles, in 2 steps" in sentence
    assert "course-riddles" in sentence
    assert shares == sorted(shares)
    assert shares[-1] == 1
    assert waiting().riddler.done == 2
    assert printed == [sentence]
