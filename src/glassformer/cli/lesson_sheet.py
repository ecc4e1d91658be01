"""A lesson's parts on the terminal."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from rich.padding import Padding
from rich.table import Table as RichTable
from rich.text import Text

from glassformer.cli import pasted
from glassformer.course.glossary import glossary
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
    Model,
    Net,
    Paragraph,
    Points,
    Stage,
    Table,
    Task,
    terms_in,
    texts_of,
    unmarked,
)
from glassformer.course.spell import percent
from glassformer.formula.spelling import number
from glassformer.show.matrix import print_matrix
from glassformer.show.sheet import QUIET, Sheet
from glassformer.show.table import Bars as BarColumn
from glassformer.show.table import Cell, Column, print_table

CURVE_ROWS, CURVE_COLUMNS = 11, 61
LETTERS = "ox+*#@"
"""What the lines of a curve are drawn with, one each."""


class LessonSheet:
    """Prints parts; `runs`, `file`: where the models and the text are, for commands."""

    def __init__(self, sheet: Sheet, runs: dict[Model, str], file: Path) -> None:
        self.sheet, self.runs, self.file = sheet, runs, file

    def begin(self, lesson: Lesson) -> None:
        number_ = f"Lesson {lesson.name}: " if lesson.name.isdigit() else ""
        self.sheet.title(f"{number_}{lesson.title}")
        self.sheet.line()
        self.prose(f"{lesson.question} ({lesson.minutes} minutes)")

    def heading(self, stage: Stage) -> None:
        self.sheet.line()
        self.sheet.line((stage.title, "bold underline"))

    def end(self, lesson: Lesson) -> None:
        self.sheet.line()
        self.sheet.line(("To take away", "bold underline"))
        self.sheet.line()
        self.prose(lesson.takeaway)
        known = glossary()
        words = dict.fromkeys(term for text in texts_of(lesson) for term in terms_in(text))
        if words:
            self.sheet.line()
            self.sheet.line(("Words", "bold underline"))
            self.sheet.line()
        for word in words:
            self.sheet.prose(f"{word}: {known[word]}", indent=2, hanging=2)

    def prose(self, text: str, style: str = "", indent: int = 0) -> None:
        self.sheet.prose(unmarked(text), style, indent=indent)

    def part(self, part: AnyPart) -> None:
        """Print what needs no answer; of a guess and a task the question alone."""
        self.sheet.line()
        match part:
            case Paragraph():
                self.prose(part.text)
            case Table():
                self._table(part)
            case Matrix():
                self._matrix(part)
            case Bars():
                self._bars(part)
            case Curve():
                self._curve(part)
            case Points():
                self._points(part)
            case Diagram():
                self._title(part.title)
                for box in part.boxes:
                    self._box(box, 0)
                self._note(part.note)
            case Net():
                self._net(part)
            case Guess():
                self.prose(f"Guess: {part.question}", "bold")
                for i, choice in enumerate(part.choices, 1):
                    self.sheet.prose(f"{i}  {choice}", indent=2, hanging=3)
            case Task():
                self.prose(f"By hand: {part.question}", "bold")
            case Look():
                self.prose(f"Look inside: {part.label}", QUIET)
                self.sheet.line("  ", self.look(part))
            case Command():
                self.prose(f"Try it: {part.shows}", QUIET)
                line = part.line.replace("{course}", pasted.word(self.runs["course"]))
                self.sheet.line("  ", line.replace("{text}", pasted.word(self.file)))

    def reveal(self, guess: Guess, chosen: int | None = None) -> None:
        """The answer; where it was another choice, why not that one."""
        right = guess.choices[guess.answer]
        if chosen is None:
            self.prose(f"Answer: {right}. {guess.reveal}", indent=2)
        elif chosen == guess.answer:
            self.prose(f"Right. {guess.reveal}", "green", indent=2)
        else:
            self.prose(f"Not quite. {guess.misses[chosen]}", indent=2)
            self.prose(f"It is {right}. {guess.reveal}", indent=2)

    def worked(self, task: Task) -> None:
        """How a task is done."""
        for line in task.worked:
            self.sheet.prose(unmarked(line), indent=2, hanging=2)

    def look(self, look: Look) -> str:
        """The command that goes down to an address."""
        options = [] if look.target is None else [f"--target {pasted.word(look.target)}"]
        words = [self.runs[look.model], look.prompt, look.address]
        return " ".join(pasted.parts("explain", words, *options))

    # ---- pictures ----

    def _title(self, title: str) -> None:
        self.sheet.line((title, "bold"))

    def _note(self, note: str) -> None:
        if note:
            self.prose(note, QUIET, indent=2)

    def _table(self, table: Table) -> None:
        self._title(table.title)
        cells = [[self._cell(text) for text in row] for row in (table.header, *table.rows)]
        for columns in self._bands(cells):
            grid = RichTable(box=None, padding=(0, 2, 0, 0), show_header=any(table.header))
            for column in columns:
                grid.add_column(cells[0][column], header_style=QUIET)
            for row in cells[1:]:
                grid.add_row(*(row[column] for column in columns))
            self.sheet.console.print(Padding(grid, (0, 0, 0, 2)), width=self.sheet.width)
        self._note(table.note)

    def _bands(self, cells: list[list[Text]]) -> list[list[int]]:
        """The columns that stand side by side: of numbers, which can't wrap, as many as fit."""
        widths = [max(cell.cell_len for cell in column) + 2 for column in zip(*cells, strict=True)]
        wraps = any(" " in cell.plain for row in cells for cell in row[1:])
        bands: list[list[int]] = [[0]]
        for column in range(1, len(widths)):
            taken = 2 + sum(widths[i] for i in bands[-1])
            if taken + widths[column] > self.sheet.width and not wraps and len(bands[-1]) > 1:
                bands.append([0])
            bands[-1].append(column)
        return bands

    def _cell(self, text: str) -> Text:
        return Text(self.sheet.spell(unmarked(text)))

    def _matrix(self, matrix: Matrix) -> None:
        self._title(matrix.title)
        left_out = print_matrix(
            self.sheet,
            np.array(matrix.values, np.float64),
            matrix.rows,
            matrix.columns,
            matrix.axes,
            everything=False,
        )
        self._note(" ".join([matrix.note, *left_out]).strip())

    def _bars(self, bars: Bars) -> None:
        self._title(bars.title)
        right = {"right": True}
        rows: list[list[Cell]] = [
            [label, percent(value) if bars.percent else number(value), value]
            for label, value in zip(bars.labels, bars.values, strict=True)
        ]
        columns = [Column("", **right), Column("", **right)]
        print_table(self.sheet, [*columns, BarColumn(total=1.0 if bars.percent else 0.0)], rows)
        self._note(bars.note)

    def _curve(self, curve: Curve) -> None:
        """Lines as letters on a grid; what lies outside the plotted numbers is cut."""
        xs = np.concatenate([line.x for line in curve.lines])
        ys = np.concatenate([line.y for line in curve.lines])
        low, high = float(ys.min()), float(ys.max())
        grid = [[" "] * CURVE_COLUMNS for _ in range(CURVE_ROWS)]
        for line, letter in zip(curve.lines, LETTERS, strict=False):
            for x, y in zip(line.x, line.y, strict=True):
                column = round((x - xs.min()) / max(np.ptp(xs), 1e-12) * (CURVE_COLUMNS - 1))
                row = round((high - y) / max(high - low, 1e-12) * (CURVE_ROWS - 1))
                grid[row][column] = letter
        self._title(curve.title)
        labels = {0: number(high, 3), CURVE_ROWS - 1: number(low, 3)}
        for row, cells in enumerate(grid):
            self.sheet.line("  ", (f"{labels.get(row, ''):>9} │", QUIET), "".join(cells))
        ends = (
            f"{number(float(xs.min()), 3):<20}{curve.axes[0]:^21}{number(float(xs.max()), 3):>20}"
        )
        self.sheet.line(" " * 13, (ends, QUIET))
        names = (
            f"{letter} {line.name}" for line, letter in zip(curve.lines, LETTERS, strict=False)
        )
        self.sheet.prose(f"up: {curve.axes[1]}; {', '.join(names)}", QUIET, indent=2)
        self._note(curve.note)

    def _points(self, points: Points) -> None:
        self._title(points.title)
        rows: list[list[Cell]] = [
            [point.label, number(point.x, 3), number(point.y, 3)] for point in points.points
        ]
        right = {"right": True}
        columns = [Column("token"), Column("to the right", **right), Column("up", **right)]
        print_table(self.sheet, columns, rows)
        self._note(points.note)

    def _box(self, box: Box, depth: int) -> None:
        mark = " (+ its input)" if box.skip else ""
        arrow = "  " if depth else "↓ "
        self.sheet.prose(
            f"{arrow}{box.label}{mark}{': ' if box.beside else ''}{box.beside}",
            indent=2 + 2 * depth,
            hanging=4,
        )
        for inner in box.inside:
            self._box(inner, depth + 1)

    def _net(self, net: Net) -> None:
        self._title(net.title)
        for i, weights in enumerate(net.weights):
            print_matrix(
                self.sheet,
                np.array(weights, np.float64),
                net.layers[i],
                net.layers[i + 1],
                ("from", "to"),
                everything=False,
            )
        self._note(net.note)
