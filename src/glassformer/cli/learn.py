"""glassformer learn: the course, a lesson at a time, on your own text."""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from glassformer.cli import pasted
from glassformer.cli.console import SafeConsole
from glassformer.cli.lesson_sheet import LessonSheet
from glassformer.cli.streams import say
from glassformer.cli.texts import showing_progress
from glassformer.course.classroom import Classroom, folder_of
from glassformer.course.course import heading, lesson, name_of, names
from glassformer.course.lesson import AnyPart, Guess, Lesson, Model, Task, read_number
from glassformer.course.progress import Done, Progress, progress_file, read_progress, write_progress
from glassformer.course.worksheet import write_worksheet
from glassformer.show.sheet import QUIET, Sheet

TRIES = 2
"""Answers to a task before its solution is shown."""

Text = Annotated[
    Path | None,
    typer.Option(
        "--text",
        help="Your own text for the course, six sentences to two million characters. None: the"
        " story.",
        metavar="FILE",
    ),
]
RoomFolder = Annotated[
    Path | None,
    typer.Option(
        help="The folder for the model that learns the text.",
        metavar="RUN",
        show_default="runs/course, or runs/course- and the text's fingerprint",
    ),
]


def command(
    name: Annotated[
        str | None,
        typer.Argument(
            metavar="[LESSON]", help="Its number, or its word (attention). None: the list."
        ),
    ] = None,
    text: Text = None,
    out: RoomFolder = None,
    teacher: Annotated[bool, typer.Option("--teacher", help="Teacher: hide the answers.")] = False,
    worksheet: Annotated[
        Path | None,
        typer.Option(
            help="Write the lessons' questions to a Markdown or HTML file, and the answers to"
            " another beside it.",
            metavar="FILE",
        ),
    ] = None,
) -> None:
    """Learn how language models work, on a text of your own.

    On a terminal you guess first, and then the model answers. Piped, the whole
    lesson is printed with its answers. Without LESSON the lessons are listed.
    Your progress is kept on this machine. The text's model is trained in
    seconds, when it is first needed.
    """
    if name is not None:
        name = name_of(name)
    room = open_room(text, out)
    chosen = [name] if name is not None else [*names()]
    if worksheet is not None:
        lessons = [lesson(one, room) for one in chosen]
        answers = write_worksheet(lessons, room, worksheet)
        say(f"The worksheet is in {worksheet}, the answers are in {answers}.")
        return
    if name is None:
        _print_list(room, Sheet())
        return
    talks = sys.stdin.isatty() and sys.stdout.isatty() and not teacher
    Class(room, Sheet(), talks, teacher).go_through(lesson(name, room))


def open_room(text: Path | None, out: Path | None) -> Classroom:
    """The classroom of a text; a text that none can be made from is refused at once."""
    folder = folder_of(text)
    showing = partial(showing_progress, SafeConsole(stderr=True), "learning")
    room = Classroom(text, out or folder, partial(say, error=True), showing)
    room.check()
    return room


def runs_of(room: Classroom) -> dict[Model, str]:
    """Where the commands find each model."""
    return {"course": str(room.run), "miniature": "miniature", "worked_example": "worked_example"}


def _print_list(room: Classroom, sheet: Sheet) -> None:
    done = read_progress(progress_file()).of(room.folder.name)
    sheet.prose("The lessons, computed from " + room.name, "bold")
    sheet.line()
    for name in names():
        made = heading(name)
        mark = "✓" if name in done else " "
        score = f" ({done[name].right} of {done[name].asked})" if name in done else ""
        sheet.line("  ", (sheet.cell(mark, 2), "green"), sheet.cell(name, 11), made.title + score)
        sheet.prose(f"{made.question} {made.minutes} minutes", QUIET, indent=15)
    after = next((name for name in names() if name not in done), "0")
    sheet.line()
    sheet.prose(f"Begin with: {command_of(room, after)}")


def command_of(room: Classroom, name: str) -> str:
    """What is typed for a lesson on the same text, in the same folder."""
    file = None if room.is_story else room.file
    options = [] if file is None else [f"--text {pasted.word(file)}"]
    if room.folder != folder_of(file):
        options.append(f"--out {pasted.word(room.folder)}")
    return " ".join(pasted.parts("learn", [name], *options))


class ReaderLeftError(Exception):
    """The reader has left."""


class Class:
    """A reader and a lesson: who answers is asked, who reads from a pipe is told."""

    def __init__(self, room: Classroom, sheet: Sheet, talks: bool, teacher: bool) -> None:
        self.room, self.talks, self.teacher = room, talks, teacher
        self.sheet = sheet
        self.paper = LessonSheet(sheet, runs_of(room), room.file)
        self.right = self.asked = 0

    def go_through(self, made: Lesson) -> None:
        self.paper.begin(made)
        if self.talks:
            self.sheet.prose("Enter goes on, q leaves.", QUIET)
        try:
            for i, stage in enumerate(made.stages):
                if i:
                    self._wait()
                self.paper.heading(stage)
                for part in stage.parts:
                    self._part(part)
                    if self.teacher and isinstance(part, Guess):
                        break  # what follows gives the answer away
            self._wait()
        except ReaderLeftError:
            say("Until next time.")
            return
        self.paper.end(made)
        if self.talks:
            self._keep(made)

    def _part(self, part: AnyPart) -> None:
        self.paper.part(part)
        if isinstance(part, Guess):
            self._guess(part)
        elif isinstance(part, Task):
            self._task(part)

    def _guess(self, guess: Guess) -> None:
        if self.teacher:
            return None
        if not self.talks:
            return self.paper.reveal(guess)
        chosen = None
        while chosen is None:
            chosen = choice_of(self._answer(f"Your guess, 1 to {len(guess.choices)}: "), guess)
        self._count(chosen == guess.answer)
        return self.paper.reveal(guess, chosen)

    def _task(self, task: Task) -> None:
        if self.teacher:
            return None
        for tried in range(TRIES if self.talks else 0):
            answer = self._answer("Your answer (Enter shows the way): ")
            if not answer:
                break
            number_ = read_number(answer)
            if number_ is not None and task.accepts(number_):
                self._count(tried == 0)
                self.sheet.prose("Right.", "green", indent=2)
                return self.paper.worked(task)
            wrong = "That is no number." if number_ is None else "Not yet."
            self.sheet.prose(f"{wrong} {task.hint if tried == 0 else ''}", indent=2)
        if self.talks:
            self._count(False)
        return self.paper.worked(task)

    def _count(self, right: bool) -> None:
        self.asked += 1
        self.right += right

    def _wait(self) -> None:
        if self.talks:
            self.sheet.line()
            self._answer("▸ ")

    def _answer(self, question: str) -> str:
        try:
            answer = input(self.sheet.spell(question)).strip()
        except (EOFError, KeyboardInterrupt):
            say("")
            raise ReaderLeftError from None
        if answer.lower() in ("q", "quit", "exit"):
            raise ReaderLeftError
        return answer

    def _keep(self, made: Lesson) -> None:
        progress: Progress = read_progress(progress_file())
        progress.add(self.room.folder.name, made.name, Done(right=self.right, asked=self.asked))
        write_progress(progress, progress_file())
        following = [*names()][[*names()].index(made.name) + 1 :]
        self.sheet.line()
        self.sheet.prose(f"You had {self.right} of {self.asked} right at once.")
        if following:
            self.sheet.prose(f"Go on with: {command_of(self.room, following[0])}")


def choice_of(answer: str, guess: Guess) -> int | None:
    """Which choice an answer names: by its place from 1, or by its words."""
    if answer.isdigit() and 1 <= int(answer) <= len(guess.choices):
        return int(answer) - 1
    words = [choice.lower() for choice in guess.choices]
    return words.index(answer.lower()) if answer.lower() in words else None
