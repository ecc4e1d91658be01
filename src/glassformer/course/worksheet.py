"""Lessons on paper: a worksheet for the class, and an answer sheet for the teacher."""

from __future__ import annotations

import html
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from glassformer.course.classroom import Classroom
from glassformer.course.lesson import Guess, Lesson, Paragraph, Stage, Task, unmarked
from glassformer.errors import GlassformerError
from glassformer.files import write_atomically

HTML = (".html", ".htm")
LETTERS = "ABCDEFGH"
BLANK = "_" * 24  # to write an answer on
TITLE = "How language models work"

STYLE = (
    "body{font:16px/1.6 system-ui,sans-serif;max-width:44rem;margin:2rem auto;padding:0 1rem}"
    "h1{font-size:1.6rem}h2{font-size:1.2rem;break-after:avoid;margin:1.6rem 0 .4rem}"
    "li{break-inside:avoid;margin:.9rem 0}p{margin:.2rem 0}code{font-size:.95em}"
    ".given{font-size:.9em;color:#444}"
    ".choice{display:inline-block;margin-right:2rem}.room{height:3.5rem}.answer{font-weight:600}"
    ".blank{display:inline-block;width:12rem;border-bottom:1px solid;height:1.2em}"
    "@page{margin:18mm}@media print{body{margin:0;max-width:none;padding:0}}"
)

Question = Guess | Task


class Asked(NamedTuple):
    """A question, and what a lesson says before the first one of a stage."""

    before: list[str]
    question: Question


def write_worksheet(lessons: Iterable[Lesson], room: Classroom, file: Path) -> Path:
    """Write the questions to `file` and the answers beside it; return where those are.

    The file's ending decides the form: .html, or Markdown for .md.
    """
    if file.suffix.lower() not in (*HTML, ".md"):
        raise GlassformerError(
            f"{file} is neither .md nor .html; name the worksheet by one of the two"
        )
    asked = {_heading(lesson): _questions(lesson) for lesson in lessons}
    asked = {heading: questions for heading, questions in asked.items() if questions}
    text = f"The text: {' '.join(room.sentences[:6])}"
    write = _html if file.suffix.lower() in HTML else _markdown
    answers = file.with_name(f"{file.stem}-answers{file.suffix}")
    file.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(file, write("worksheet", text, asked, False))
    write_atomically(answers, write("answers", text, asked, True))
    return answers


def _heading(lesson: Lesson) -> str:
    return f"Lesson {lesson.name}: {lesson.title}" if lesson.name.isdigit() else lesson.title


def _questions(lesson: Lesson) -> list[Asked]:
    return [asked for stage in lesson.stages for asked in _of_stage(stage)]


def _of_stage(stage: Stage) -> Iterator[Asked]:
    """A stage's questions; what it says after the first one may give the answer away."""
    before: list[str] | None = []
    for part in stage.parts:
        if isinstance(part, Question):
            yield Asked(before or [], part)
            before = None
        elif isinstance(part, Paragraph) and before is not None:
            before.append(unmarked(part.text))


def _choices(guess: Guess) -> list[str]:
    return [f"{letter}) {choice}" for letter, choice in zip(LETTERS, guess.choices, strict=False)]


def _answer(question: Question) -> list[str]:
    """How a question is answered, the answer last."""
    if isinstance(question, Task):
        return [*map(unmarked, question.worked), f"Answer: {question.answer}"]
    right = _choices(question)[question.answer]
    return [unmarked(question.reveal), f"Answer: {right}"]


def _markdown(kind: str, text: str, asked: Mapping[str, Sequence[Asked]], answers: bool) -> str:
    lines = [f"# {TITLE}: {kind}", ""]
    if not answers:
        lines += [f"Name: {BLANK}   Date: {BLANK}", ""]
    lines += [text, ""]
    for heading, questions in asked.items():
        lines += [f"## {heading}", ""]
        for i, (before, question) in enumerate(questions, 1):
            if not answers:
                lines += [line for paragraph in before for line in (paragraph, "")]
            lines += [f"{i}. {unmarked(question.question)}", ""]
            if answers:
                below = _answer(question)
            else:
                below = [f"Answer: {BLANK}"] if isinstance(question, Task) else _choices(question)
            lines += [f"   - {line}" for line in below] + [""]
    return "\n".join(lines)


def _html(kind: str, text: str, asked: Mapping[str, Sequence[Asked]], answers: bool) -> str:
    blank = '<span class="blank"></span>'
    body = [f"<h1>{TITLE}: {kind}</h1>"]
    if not answers:
        body.append(f"<p>Name: {blank} &emsp; Date: {blank}</p>")
    body.append(f"<p>{html.escape(text)}</p>")
    for heading, questions in asked.items():
        body += [f"<h2>{_inline(heading)}</h2>", "<ol>"]
        for before, question in questions:
            body.append("<li>")
            if not answers:
                body += [f'<p class="given">{_inline(paragraph)}</p>' for paragraph in before]
            body.append(f"<p>{_inline(unmarked(question.question))}</p>")
            if answers:
                *way, answer = map(_inline, _answer(question))
                body += [f"<p>{line}</p>" for line in way] + [f'<p class="answer">{answer}</p>']
            elif isinstance(question, Task):
                body.append(f'<p class="room"></p><p>Answer: {blank}</p>')
            else:
                choices = map(_inline, _choices(question))
                body += [f'<span class="choice">{choice}</span>' for choice in choices]
            body.append("</li>")
        body.append("</ol>")
    return (
        f'<!doctype html>\n<html lang="en"><meta charset="utf-8"><title>{TITLE}: {kind}</title>'
        f"<style>{STYLE}</style>\n" + "\n".join(body) + "\n</html>\n"
    )


def _inline(text: str) -> str:
    """A line of HTML, code as code."""
    return re.sub("`([^`]+)`", r"<code>\1</code>", html.escape(text))
