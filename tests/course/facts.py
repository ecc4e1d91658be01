"""What a lesson's numbers have to be, and the walk that holds every one of them against it.

A lesson's facts are computed from the text and the weights in another way than the lesson does.
Every table and every picture with numbers must be among them, cell by cell. Every number of its
sentences must be one of `numbers`, rounded as it is printed, or one of `constants`: those are typed
in, each with its source.
"""

import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from glassformer.course.lesson import (
    AnyPart,
    Bars,
    Box,
    Command,
    Curve,
    Diagram,
    Guess,
    Lesson,
    Look,
    Matrix,
    Net,
    Paragraph,
    Points,
    Table,
    Task,
    unmarked,
)

NUMBER = re.compile(r"(?<![\w.,-])-?\d[\d,]*(?:\.\d+)?(?:e[-+]?\d+)?(?!\w)%?")
RELATIVE = 2e-4  # of float32 results after some tens of sums and products
ABSOLUTE = 2e-5
HUNDRED = "100%"  # all shares of one whole


class Share(NamedTuple):
    """A probability, printed as a percentage or, where it is tiny, as 1 in so many."""

    p: float


class Amount(NamedTuple):
    """Bytes, printed with a unit."""

    n: float


Check = Callable[[str], bool]
Cell = str | float | Share | Amount | Check | None
"""What a cell has to be: a text, a number as it is rounded, or what a check says of it. None: a
text, whose numbers are looked up as those of sentences."""

UNITS = {"bytes": 1, "KB": 1e3, "MB": 1e6, "GB": 1e9}
SCALES = {"": 1, "thousand": 1e3, "million": 1e6, "billion": 1e9}


@dataclass(frozen=True)
class Facts:
    """What a lesson says, computed in another way."""

    tables: Mapping[str, Sequence[Sequence[Cell]]] = field(default_factory=dict)
    pictures: Mapping[str, ArrayLike | Mapping[str, ArrayLike]] = field(default_factory=dict)
    """Matrix [row, column], Bars [label], Points [point, 2], Net [layer][neuron]; a Curve's lines
    by name, each [2, place]."""
    tasks: Sequence[float] = ()
    numbers: Sequence[float] = ()
    constants: Mapping[str, str] = field(default_factory=dict)


def fits(printed: str, exact: float) -> bool:
    """Whether a printed number is the exact one, rounded to as many digits.

    >>> fits("0.33", 1 / 3), fits("0.34", 1 / 3), fits("1,024", 1024), fits("1.5e-05", 0.0000151)
    (True, False, True, True)
    """
    mantissa, _, exponent = printed.replace(",", "").rstrip("%").partition("e")
    decimals = len(mantissa.partition(".")[2])
    unit = 10.0 ** (int(exponent or 0) - decimals)
    half = unit / 2 if "." in mantissa or exponent else 0.0
    rounding = RELATIVE * abs(exact) + ABSOLUTE * min(unit, 1) if half or exact % 1 else 1e-9
    to_integer = 0.5 if not half and exact % 1 else 0.0
    return abs(float(mantissa) * 10.0 ** int(exponent or 0) - exact) <= half + to_integer + rounding


def fits_share(printed: str, p: float) -> bool:
    """Whether a printed probability is the exact one.

    >>> fits_share("97%", 0.9731), fits_share("1 in 5 million", 2e-7), fits_share("3%", 0.05)
    (True, True, False)
    """
    if printed.endswith("%"):
        return fits(printed, 100 * p)
    odds = re.fullmatch(r"1 in ([\d.,]+) ?(\w*)", printed)
    if odds is None:
        return False
    times = float(odds[1].replace(",", "")) * SCALES[odds[2]]
    return math.isclose(times * p, 1, rel_tol=0.3)  # one digit, of a tiny float32


def wrong(made: Lesson, facts: Facts) -> list[str]:
    """Everything in a lesson that is not as the facts say."""
    walk = _Walk(facts)
    walk.text("question", made.question)
    walk.text("takeaway", made.takeaway)
    for stage in made.stages:
        walk.text("title", stage.title)
        for part in stage.parts:
            walk.part(part)
    for kind, expected, met in (
        ("table", facts.tables, walk.tables),
        ("picture", facts.pictures, walk.pictures),
    ):
        walk.wrong += [f"no {kind} {title!r}" for title in expected if title not in met]
    if walk.tasks != len(facts.tasks):
        walk.wrong.append(f"{walk.tasks} tasks, {len(facts.tasks)} expected")
    return walk.wrong


class _Walk:
    def __init__(self, facts: Facts) -> None:
        self.facts, self.wrong, self.tasks = facts, list[str](), 0
        self.tables, self.pictures = set[str](), set[str]()

    def part(self, part: AnyPart) -> None:
        match part:
            case Paragraph():
                self.text("text", part.text)
            case Table():
                self.table(part)
            case Matrix() | Bars() | Curve() | Points() | Net():
                self.picture(part)
            case Diagram():
                self.text(part.title, part.note)
                for box in part.boxes:
                    self.box(part.title, box)
            case Guess():
                for text in (part.question, part.reveal, *part.choices, *part.misses):
                    self.text(part.question, text)
            case Task():
                self.task(part)
            case Look():
                self.text("look", part.label)
            case Command():
                self.text("command", part.shows)

    def text(self, where: str, text: str) -> None:
        """Every number of a text, but for what it quotes and names."""
        plain = re.sub("“[^”]*”|`[^`]*`", "it", unmarked(text))
        for printed in NUMBER.findall(plain):
            known = printed.rstrip(",") in (*self.facts.constants, HUNDRED) or any(
                fits(printed.rstrip(","), 100 * x if printed.endswith("%") else x)
                for x in self.facts.numbers
            )
            if not known:
                self.wrong.append(f"{where}: {printed} in {text!r}")

    def box(self, where: str, box: Box) -> None:
        self.text(where, box.label)
        self.text(where, box.beside)
        for inner in box.inside:
            self.box(where, inner)

    def table(self, table: Table) -> None:
        self.tables.add(table.title)
        self.text("table", table.title)
        self.text(table.title, table.note)
        for title in table.header:
            self.text(table.title, title)
        rows = self.facts.tables.get(table.title)
        if rows is None:
            if any(NUMBER.fullmatch(cell) for row in table.rows for cell in row):
                self.wrong.append(f"table {table.title!r} has numbers that nobody computes again")
            rows = [[None] * len(row) for row in table.rows]
        if [len(row) for row in rows] != [len(row) for row in table.rows]:
            self.wrong.append(f"table {table.title!r} has another shape")
            return
        for row, expected_row in zip(table.rows, rows, strict=True):
            for cell, expected in zip(row, expected_row, strict=True):
                if expected is None:
                    self.text(table.title, cell)
                elif not agrees(cell, expected):
                    self.wrong.append(f"{table.title}: {cell!r} in {row}, not {expected}")

    def picture(self, part: Matrix | Bars | Curve | Points | Net) -> None:
        self.pictures.add(part.title)
        self.text("picture", part.title)
        self.text(part.title, part.note)
        expected = self.facts.pictures.get(part.title)
        if expected is None:
            self.wrong.append(f"picture {part.title!r}, which nobody computes again")
            return
        if isinstance(part, Net) and isinstance(expected, Mapping):
            circles = [text for layer in part.layers for text in layer]
            exact_circles = np.ravel(expected["circles"]).tolist()
            for text, exact in zip(circles, exact_circles, strict=True):
                if not fits(text, exact):
                    self.wrong.append(f"picture {part.title!r}: {text}, not {exact}")
        for name, made in drawn(part):
            exact = expected[name] if isinstance(expected, Mapping) else expected
            try:
                np.testing.assert_allclose(
                    np.asarray(made, float), np.asarray(exact, float), RELATIVE, ABSOLUTE
                )
            except (AssertionError, ValueError) as error:
                self.wrong.append(f"picture {part.title!r} {name}: {error}")

    def task(self, task: Task) -> None:
        for text in (task.question, task.hint):
            self.text(task.question, text)
        at, self.tasks = self.tasks, self.tasks + 1
        if at < len(self.facts.tasks):
            exact = self.facts.tasks[at]
            allowed = task.tolerance / 2 + RELATIVE * abs(exact)
            if abs(task.expected - exact) > allowed:
                self.wrong.append(f"task {task.question!r}: {task.expected}, not {exact}")


def agrees(cell: str, expected: Cell) -> bool:
    """Whether a cell is what it has to be."""
    if expected is None or isinstance(expected, str):
        return cell == expected
    if isinstance(expected, Share):
        return fits_share(cell, expected.p)
    if isinstance(expected, Amount):
        number, _, unit = cell.partition(" ")
        scale = UNITS[unit]
        return fits(number, expected.n / scale if scale > 1 else expected.n)
    if callable(expected):
        return expected(cell)
    return NUMBER.fullmatch(cell) is not None and fits(cell, float(expected))


def drawn(part: Matrix | Bars | Curve | Points | Net) -> Iterator[tuple[str, ArrayLike]]:
    """The numbers of a picture, those of a curve line by line."""
    match part:
        case Matrix() | Bars():
            yield "", part.values
        case Points():
            yield "", [[point.x, point.y] for point in part.points]
        case Net():
            yield "weights", np.concatenate([np.ravel(matrix) for matrix in part.weights])
        case Curve():
            for line in part.lines:
                yield line.name, [line.x, line.y]
