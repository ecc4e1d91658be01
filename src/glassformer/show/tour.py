"""The story of one trace on two screens: every stage with its size and one number of each layer."""

from __future__ import annotations

from glassformer.formula.spelling import number
from glassformer.show import attention_map
from glassformer.show.fold import Fold
from glassformer.show.labels import index_label
from glassformer.show.prediction import print_next
from glassformer.show.sheet import QUIET, Sheet
from glassformer.show.stages import Chapter, Section, chapters, is_between
from glassformer.show.table import Cell, Column, print_table
from glassformer.show.values import (
    array,
    axis_labels,
    is_attention,
    masked_cells,
    matrices,
    probabilities,
)
from glassformer.trace import Node, Trace
from glassformer.trace.explain import op_summary

HOW_TO_READ = (
    "One line for each stage: its name, its size, and the first of its numbers for the last token."
)
BEST = 5
WIDEST = 22  # columns of a name and of a size, so that the tables stand in line
NUMBER = 10  # of a number
LOOKING = ("pos", "query")  # the axes that count tokens


def print_tour(trace: Trace, sheet: Sheet) -> None:
    """Print every stage from the tokens to the next one, layers side by side.

    Of long models the first and the last layer stand for all, and that is said.
    """
    sheet.prose(HOW_TO_READ, QUIET)
    _tokens(trace, sheet)
    result = chapters(trace)
    layers = [chapter for chapter in result if chapter.layer is not None]
    folded = Fold.of(len(layers), 1, 1)
    shown = [layers[i] for i in folded.shown]
    for chapter in result:
        if chapter.layer is None:
            sheet.title(chapter.title)
            _side_by_side(trace, sheet, [chapter], ["number"])
        elif chapter is layers[0]:
            names = [f"layer {layer.layer}" for layer in shown]
            sheet.title(" and ".join(names).capitalize())
            _side_by_side(trace, sheet, shown, names)
            if folded.missing:
                sheet.prose(f"… {folded.summary('layer')}", QUIET, indent=2)
            _attention(trace, sheet)
    probs = probabilities(trace)
    if probs is not None:
        sheet.title("The prediction")
        print_next(trace, sheet, probs, everything=False, best=BEST)


def _tokens(trace: Trace, sheet: Sheet) -> None:
    ids = array(trace, trace.nodes["token/ids"])[0].tolist()
    sheet.title("Text becomes tokens")
    words = [f"{index_label(trace, 'pos', i)} (id {token})" for i, token in enumerate(ids)]
    sheet.prose(", ".join(words), indent=2)


def _side_by_side(trace: Trace, sheet: Sheet, chapters: list[Chapter], titles: list[str]) -> None:
    """One table per section: a row for each stage, a column for each chapter."""
    for sections in zip(*(chapter.sections for chapter in chapters), strict=True):
        first = stages(sections[0])
        if not first:
            continue
        if sections[0].title:
            sheet.line()
            sheet.line(("  " + sections[0].title, "bold"))
            if first[-1].op:
                sheet.prose(op_summary(first[-1]), indent=2)
        rows: list[list[Cell]] = []
        for same in zip(*map(stages, sections), strict=True):
            rows.append([same[0].short, _size(same[0])])
            rows[-1] += [number(_of_last_token(trace, node)) for node in same]
        heads = ["", "", *("" for _ in titles)]  # an empty line sets what has no title apart
        if sections[0].title or sections[0] is chapters[0].sections[0]:
            heads = ["stage", "size", *titles]
        columns = [Column(head.ljust(WIDEST)) for head in heads[:2]]
        columns += [Column(head.rjust(NUMBER), right=True) for head in heads[2:]]
        print_table(sheet, columns, rows)


def _size(node: Node) -> str:
    """The length of every axis, without the batch's."""
    sizes = zip(node.axes, node.shape, strict=True)
    return ", ".join(f"{axis} {n}" for axis, n in sizes if axis != "batch")


def _of_last_token(trace: Trace, node: Node) -> float:
    """A value's first number for the last token of the first text."""
    at = [n - 1 if axis in LOOKING else 0 for axis, n in zip(node.axes, node.shape, strict=True)]
    return float(array(trace, node)[tuple(at)])


def _attention(trace: Trace, sheet: Sheet) -> None:
    """What one head looks at: the first of the first layer."""
    node = next((node for node in trace.computed if is_attention(node)), None)
    if node is None:
        return
    sheet.line()
    sheet.line((f"  {node.name}, head 0: which token (row) looks at which (column)", "bold"))
    _, matrix = next(matrices(trace, node))
    masked = masked_cells(trace, node)
    labels = axis_labels(trace, "query", len(matrix))
    said = attention_map.print_map(sheet, matrix, masked, labels, everything=False)
    sheet.prose(attention_map.legend(masked), QUIET, indent=2)
    if said:
        sheet.prose(f"… {'; '.join(said)}", QUIET, indent=2, hanging=2)


def stages(section: Section) -> list[Node]:
    """A section's nodes without those that only lead to another one, as `post_tanh` to `post`."""
    listed = [node for node in section.nodes if not is_between(node)]
    names = [node.short for node in listed]
    return [node for node in listed if not any(node.short.startswith(f"{name}_") for name in names)]
