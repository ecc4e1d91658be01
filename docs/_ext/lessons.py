"""The course's lessons as a page: the same data that the terminal and the browser show."""

from collections.abc import Iterator
from io import StringIO
from pathlib import Path

from docutils import nodes
from rich.console import Console
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective
from sphinx.util.typing import ExtensionMetadata

from glassformer.cli.learn import runs_of
from glassformer.cli.lesson_sheet import LessonSheet
from glassformer.course.classroom import Classroom
from glassformer.course.course import course
from glassformer.course.lesson import (
    AnyPart,
    Command,
    Guess,
    Lesson,
    Look,
    Model,
    Paragraph,
    Table,
    Task,
    unmarked,
)
from glassformer.show.sheet import Sheet

HOME = Path(__file__).resolve().parents[2] / "runs" / "course"
WIDTH = 84  # columns of what is drawn in letters


def lessons_text(room: Classroom) -> str:
    """Every lesson in Markdown."""
    made = course(room, runs_of(room))
    lines = [line for lesson in made.lessons for line in lesson_lines(lesson, room)]
    return "\n".join([*lines, ""])


def lesson_lines(lesson: Lesson, room: Classroom) -> Iterator[str]:
    """One lesson in Markdown, its answers in view."""
    number = f"{lesson.name}. " if lesson.name.isdigit() else ""
    yield from (f"## {number}{lesson.title}", "", f"*{lesson.question}*", "")
    for stage in lesson.stages:
        yield from (f"### {stage.title}", "")
        for part in stage.parts:
            yield from (*part_lines(part, room), "")
    yield from (f"**To take away.** {unmarked(lesson.takeaway)}", "")


def part_lines(part: AnyPart, room: Classroom) -> Iterator[str]:
    match part:
        case Paragraph():
            yield unmarked(part.text)
        case Table():
            yield from (f"**{unmarked(part.title)}**", "")
            yield from _table(part)
            yield from ("", unmarked(part.note))
        case Guess():
            yield from (f"**Guess.** {unmarked(part.question)}", "")
            yield from (f"- {choice}" for choice in part.choices)
            answer = part.choices[part.answer]
            yield from ("", f"**Answer:** {answer}. {unmarked(part.reveal)}")
        case Task():
            yield from (f"**By hand.** {unmarked(part.question)}", "")
            yield from (f"> {unmarked(line)}\n>" for line in part.worked)
        case Look() | Command():
            yield from ("```sh", _drawn(part, room).strip().splitlines()[-1].strip(), "```")
        case _:
            yield from ("```text", _drawn(part, room).strip("\n"), "```")


def _table(table: Table) -> Iterator[str]:
    def row(cells: list[str]) -> str:
        return f"| {' | '.join(unmarked(cell).replace('|', chr(92) + '|') for cell in cells)} |"

    yield row(table.header)
    yield row(["---"] * len(table.header))
    yield from map(row, table.rows)


def _drawn(part: AnyPart, room: Classroom) -> str:
    """A part as the terminal prints it; commands name the folders of this place by short names."""
    page = StringIO()
    sheet = Sheet(Console(file=page, width=WIDTH * 3 if isinstance(part, Look) else WIDTH))
    runs: dict[Model, str] = {**runs_of(room), "course": "runs/course"}
    LessonSheet(sheet, runs, Path("runs/course.txt")).part(part)
    return page.getvalue()


class Lessons(SphinxDirective):
    """A directive that stands for all lessons."""

    def run(self) -> list[nodes.Node]:
        return self.parse_text_to_nodes(
            lessons_text(Classroom(None, HOME)), allow_section_headings=True
        )


def setup(app: Sphinx) -> ExtensionMetadata:
    app.add_directive("lessons", Lessons)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
