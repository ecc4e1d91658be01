"""Lessons on paper: a worksheet for the class, and an answer sheet for the teacher."""

from __future__ import annotations

import html
import re
from collections.abc import Iterable
from pathlib import Path

from glassformer.course.classroom import Classroom
from glassformer.course.lesson import Guess, Lesson, Task, unmarked
from glassformer.errors import GlassformerError
from glassformer.files import write_atomically
from glassformer.formula.spelling import number

HTML = (".html", ".htm")
LETTERS = "ABCDEFGH"
ROOM = "_" * 24  # to write an answer on

STYLE = (
    "body{font:16px/1.6 system-ui,sans-serif;max-width:44rem;margin:2rem auto;padding:0 1rem}"
    "h2{break-after:avoid}li{break-inside:avoid;margin:.8rem 0}code{font-size:.95em}"
)


def write_worksheet(lessons: Iterable[Lesson], room: Classroom, file: Path) -> Path:
    """Write the questions to `file` and the answers beside it; return where those are.

    The file's ending decides the form: .html, or Markdown for .md.
    """
    if file.suffix.lower() not in (*HTML, ".md"):
        raise GlassformerError(
            f"{file} is neither .md nor .html; name the worksheet by one of the two"
        )
    lessons = [*lessons]
    answers = file.with_name(f"{file.stem}-answers{file.suffix}")
    file.parent.mkdir(parents=True, exist_ok=True)
    for target, with_answers in ((file, False), (answers, True)):
        text = _markdown(lessons, room, with_answers)
        write_atomically(target, _html(text) if file.suffix.lower() in HTML else text)
    return answers


def _markdown(lessons: list[Lesson], room: Classroom, answers: bool) -> str:
    title = "How language models work: " + ("answers" if answers else "worksheet")
    lines = [f"# {title}", ""]
    if not answers:
        lines += [f"Name: {ROOM}   Date: {ROOM}", ""]
    lines += [f"The text: {' '.join(room.sentences[:6])}", ""]
    for lesson in lessons:
        questions = [p for s in lesson.stages for p in s.parts if isinstance(p, Guess | Task)]
        if not questions:
            continue
        heading = f"Lesson {lesson.name}: " if lesson.name.isdigit() else ""
        lines += [f"## {heading}{lesson.title}", ""]
        for i, question in enumerate(questions, 1):
            lines += [f"{i}. {unmarked(question.question)}"]
            lines += [f"   {line}" for line in _below(question, answers)]
            lines += [""]
    return "\n".join(lines)


def _below(question: Guess | Task, answers: bool) -> list[str]:
    match question, answers:
        case Guess(), False:
            choices = zip(LETTERS, question.choices, strict=False)
            return ["", "   ".join(f"{letter}) {choice}" for letter, choice in choices)]
        case Guess(), True:
            letter = LETTERS[question.answer]
            right = question.choices[question.answer]
            return ["", f"{letter}) {right}. {unmarked(question.reveal)}"]
        case Task(), False:
            return ["", f"Answer: {ROOM}"]
        case Task(), _:
            return ["", *map(unmarked, question.worked), f"Answer: {number(question.expected)}"]


def _html(markdown: str) -> str:
    """The Markdown that is written here, and no other, as a page to print."""
    body: list[str] = []
    for paragraph in markdown.split("\n\n"):
        text = html.escape(" ".join(line.strip() for line in paragraph.strip().splitlines()))
        text = re.sub("`([^`]+)`", r"<code>\1</code>", text)
        text = re.sub(" {3,}", " &emsp; ", text)
        hashes, _, rest = text.partition(" ")
        if hashes in ("#", "##"):
            body.append(f"<h{len(hashes)}>{rest}</h{len(hashes)}>")
        elif text:
            body.append(f"<p>{text}</p>")
    return (
        '<!doctype html>\n<html lang="en"><meta charset="utf-8"><title>Worksheet</title>'
        f"<style>{STYLE}</style>\n" + "\n".join(body) + "\n</html>\n"
    )
