"""What a lesson is made of: frozen data that the terminal, the page and the guide all draw.

Text is marked in two ways only: `[[term]]`, or `[[term|as it is written here]]`, is a word of the
glossary, and what stands between backticks is code. Numbers in it were computed, never typed.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, computed_field

TERM = re.compile(r"\[\[([^\[\]|\"]+)(?:\|([^\[\]\"]+))?\]\]")

Model = Literal["course", "miniature", "worked_example"]
"""Which model a number is of: the text's own, the smallest one, the one with given weights."""


class Part(BaseModel):
    """A piece of a lesson."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", json_schema_serialization_defaults_required=True
    )


class Paragraph(Part):
    """Some sentences."""

    kind: Literal["paragraph"] = "paragraph"
    text: str


class Table(Part):
    """Rows of words and spelled numbers under a header; `note` stands below."""

    kind: Literal["table"] = "table"
    title: str
    header: list[str]
    rows: list[list[str]]
    note: str = ""


class Matrix(Part):
    """Numbers [row, column] as colored cells."""

    kind: Literal["matrix"] = "matrix"
    title: str
    rows: list[str]
    columns: list[str]
    values: list[list[float]]
    axes: tuple[str, str] = ("", "")  # what a row is, what a column is
    note: str = ""


class Bars(Part):
    """A number for each label; `percent`: they are shares of one whole."""

    kind: Literal["bars"] = "bars"
    title: str
    labels: list[str]
    values: list[float]
    percent: bool = False
    marked: int | None = None
    note: str = ""


class Line(Part):
    name: str
    x: list[float]
    y: list[float]


class Curve(Part):
    """Lines over a common axis."""

    kind: Literal["curve"] = "curve"
    title: str
    axes: tuple[str, str]  # what goes to the right, what goes up
    lines: list[Line]
    note: str = ""


class Place(Part):
    label: str
    x: float
    y: float


class Points(Part):
    """Places on a map."""

    kind: Literal["points"] = "points"
    title: str
    points: list[Place]
    note: str = ""


class Box(Part):
    """One stage of a diagram; `inside` are its own stages, `beside` says what it does here."""

    label: str
    beside: str = ""
    inside: list[Box] = []
    skip: bool = False  # its input is also added to its output


class Diagram(Part):
    """Boxes from top to bottom, as data flows."""

    kind: Literal["diagram"] = "diagram"
    title: str
    boxes: list[Box]
    note: str = ""


class Net(Part):
    """A small network: columns of neurons, and the weights between neighbors [from, to]."""

    kind: Literal["net"] = "net"
    title: str
    layers: list[list[str]]
    weights: list[list[list[float]]]
    note: str = ""


class Guess(Part):
    """A question to be answered before the model answers it.

    `answer` is the place of the right choice, `reveal` what the model says, with its number, and
    `misses` what to say to each choice (the right one's is empty).
    """

    kind: Literal["guess"] = "guess"
    question: str
    choices: Annotated[list[str], Field(min_length=2)]
    answer: int
    reveal: str
    misses: list[str]


class Task(Part):
    """Something to do by hand: one number, within `tolerance` of `expected`, and how it is done."""

    kind: Literal["task"] = "task"
    question: str
    expected: float
    tolerance: float
    hint: str = ""
    worked: list[str]

    def accepts(self, answer: float) -> bool:
        """Whether a number is near enough.

        >>> Task(question="1/3?", expected=1 / 3, tolerance=0.005, worked=[]).accepts(0.33)
        True
        """
        return abs(answer - self.expected) <= self.tolerance + 1e-9

    @computed_field
    @property
    def answer(self) -> str:
        """The expected number as people write it.

        >>> [
        ...     Task(question="?", expected=x, tolerance=0, worked=[]).answer
        ...     for x in (38400, 2.86, 1 / 3)
        ... ]
        ['38,400', '2.86', '0.3333']
        """
        is_integer = float(self.expected).is_integer()
        return f"{round(self.expected):,}" if is_integer else f"{self.expected:.4g}"


class Look(Part):
    """A way down to the numbers: an address in the trace of a prompt."""

    kind: Literal["look"] = "look"
    label: str
    model: Model
    prompt: str
    address: str
    target: str | None = None


class Command(Part):
    """A command that runs here, and what it shows.

    {course} stands for the folder of the text's run, {text} for the file of the text.
    """

    kind: Literal["command"] = "command"
    line: str
    shows: str


AnyPart = Annotated[
    Paragraph
    | Table
    | Matrix
    | Bars
    | Curve
    | Points
    | Diagram
    | Net
    | Guess
    | Task
    | Look
    | Command,
    Field(discriminator="kind"),
]


class Stage(Part):
    """A part of a lesson under its own heading."""

    title: str
    parts: list[AnyPart]


class Heading(Part):
    """What is known of a lesson before it is made.

    `name` is its number, or a word where it has none; so it is asked for.
    """

    name: str
    title: str
    question: str
    minutes: int

    def lesson(self, stages: list[Stage], takeaway: str, title: str | None = None) -> Lesson:
        """The lesson; `title` is its own where it depends on the text."""
        return Lesson(
            name=self.name,
            title=self.title if title is None else title,
            question=self.question,
            minutes=self.minutes,
            stages=stages,
            takeaway=takeaway,
        )


class Lesson(Heading):
    """One lesson, made for a text."""

    stages: list[Stage]
    takeaway: str


class Course(Part):
    """All lessons on one text. `runs`: under which name each model is found where it is shown."""

    text: str  # its beginning
    prompt: str
    lessons: list[Lesson]
    runs: dict[Model, str]
    folder: str  # of the text's run, for commands
    file: str  # of the text


def read_number(text: str) -> float | None:
    """A number as people type it; None where it is none.

    >>> read_number("0,25"), read_number("-1/4"), read_number(" 12 % "), read_number("many")
    (0.25, -0.25, 0.12, None)
    """
    text = text.strip().replace("−", "-")
    scale = 0.01 if text.endswith("%") else 1.0
    over, slash, under = text.removesuffix("%").strip().replace(",", ".").partition("/")
    try:
        value = float(over) * scale / (float(under) if slash else 1.0)
    except (ValueError, ZeroDivisionError):
        return None
    return value if math.isfinite(value) else None


def terms_in(text: str) -> list[str]:
    """The glossary's words that a text marks.

    >>> terms_in("Each [[token]] has a [[embedding|row of numbers]].")
    ['token', 'embedding']
    """
    return [term for term, _ in TERM.findall(text)]


def texts_of(part: object) -> Iterator[str]:
    """Every piece of text in a lesson, or in a part of it.

    >>> [*texts_of(Task(question="1/3?", expected=1 / 3, tolerance=0.005, worked=["1 / 3"]))]
    ['task', '1/3?', '', '1 / 3']
    """
    match part:
        case str():
            yield part
        case BaseModel():
            for field in type(part).model_fields:
                yield from texts_of(getattr(part, field))
        case list() | tuple():
            for inner in part:
                yield from texts_of(inner)
        case _:
            pass


def unmarked(text: str) -> str:
    """The text as plain words.

    >>> unmarked("Each [[token]] has a [[embedding|row of numbers]].")
    'Each token has a row of numbers.'
    """
    return TERM.sub(lambda match: match[2] or match[1], text)
