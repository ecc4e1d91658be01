"""The story of one trace in the terminal: from text to next token, every stage in numbers."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from rich.console import Console

from glassformer.describe import counted
from glassformer.errors import GlassformerError, did_you_mean
from glassformer.formula.spelling import number
from glassformer.formula.tree import Formula
from glassformer.show import attention_map
from glassformer.show.fold import Fold
from glassformer.show.formulas import formula_text
from glassformer.show.labels import SPACE, index_label
from glassformer.show.matrix import print_matrix
from glassformer.show.prediction import print_prediction
from glassformer.show.sheet import QUIET, Sheet
from glassformer.show.stages import chapters, groups, is_between, layer_of, matching, n_layers
from glassformer.show.values import (
    array,
    axis_labels,
    first_text,
    is_attention,
    layout,
    masked_cells,
    matrices,
    size,
    why_masked,
)
from glassformer.trace import Node, Trace
from glassformer.trace.explain import op_summary

ALL = "--all shows them"
NO_LAYER = "without --layer they are shown"
HOW_TO_READ = (
    "Under each name: what happens, its formula, its numbers. Rows are tokens; columns count along"
    " the last axis in [ ]. In attention, rows are the tokens that look (query), columns the tokens"
    " they look at (key)."
)
WIDE_VOCABULARY = 16
MAPS_HEAD, MAPS_TAIL = (
    3,
    1,
)  # attention maps shown per layer; of other stages the first and last head


def print_trace(
    trace: Trace,
    console: Console | None = None,
    *,
    layers: Iterable[int] = (),
    only: str | Iterable[str] = (),
    everything: bool = False,
) -> None:
    """Print a trace as a story.

    `layers`: these layers alone; `only`: the nodes whose names fit a pattern, or one of several
    (and weights, as in ``weight/*W_Q``); `everything`: every node, layer, head, row and column.
    Whatever is left out is said where it would stand.
    """
    patterns = (only,) if isinstance(only, str) else tuple(only)
    Story(trace, Sheet(console), everything).print(sorted(set(layers)), patterns)


class Story:
    """Tells a trace on a sheet; a formula is printed the first time its op appears."""

    def __init__(self, trace: Trace, sheet: Sheet, everything: bool) -> None:
        self.trace, self.sheet, self.everything = trace, sheet, everything
        self._printed: set[str] = set()
        self._said = ""
        self._renamed: list[str] = []

    def print(self, layers: list[int], only: tuple[str, ...]) -> None:
        unknown = [layer for layer in layers if layer >= n_layers(self.trace)]
        if unknown:
            raise GlassformerError(
                f"there is no layer {unknown[0]}; this model's layers are 0 to"
                f" {n_layers(self.trace) - 1}"
            )
        if only:
            self._only(only, layers)
            return
        self.sheet.prose(HOW_TO_READ, QUIET)
        if not layers:
            self._tokens()
        shown = layers or self._folded_layers()
        for chapter in chapters(self.trace):
            if chapter.layer is None and layers:
                continue
            if chapter.layer is not None and chapter.layer not in shown:
                if not layers:
                    self._skipped(chapter.layer, shown)
                continue
            self.sheet.title(chapter.title)
            for section in chapter.sections:
                if section.title:
                    self.sheet.line()
                    self.sheet.line((section.title, "bold underline"))
                self._section(section.nodes)
        if layers:
            others = n_layers(self.trace) - len(layers)
            noun = "other layer" if others == 1 else "other layers"
            self.sheet.line()
            self._left_out(f"the start, the end and {others} {noun} left out", NO_LAYER)
        else:
            print_prediction(self.trace, self.sheet, self.everything)

    # --- parts ------------------------------------------------------------------------------------

    def _tokens(self) -> None:
        """What is read: a text; of two towers the source, and what the decoder reads."""
        if "token/source" not in self.trace.nodes:
            self._token_ids("token/ids", "pos", "Text becomes tokens", "The text is cut into {}")
            return
        title = "The source becomes tokens"
        self._token_ids("token/source", "source_pos", title, "The source is cut into {}")
        title = "The translation so far"
        template = "The decoder reads the start token and what is written, {}"
        self._token_ids("token/ids", "pos", title, template)

    def _token_ids(self, path: str, axis: str, title: str, summary: str) -> None:
        """Tokens of a text and their ids; `{}` in the summary stands for how many."""
        ids = self.trace.nodes.get(path)
        if ids is None:
            return
        values = first_text(ids, array(self.trace, ids))[1]
        n = counted(len(values), "token")
        self.sheet.title(title)
        self.sheet.line()
        self._heading(ids, f"{summary.format(n)}; each has a number, its id.")
        labels = axis_labels(self.trace, axis, len(values))
        said = print_matrix(
            self.sheet, values[:, None], labels, ["id"], (axis, "token"), self.everything
        )
        if any(SPACE in label for label in labels):
            self.sheet.prose(f"{SPACE} is a space at a token's edge", QUIET, indent=2)
        self._left_out("; ".join(said))

    def _folded_layers(self) -> list[int]:
        n = n_layers(self.trace)
        return (Fold.unfolded(n) if self.everything else Fold.of(n, 1, 1)).shown

    def _skipped(self, layer: int, shown: list[int]) -> None:
        n = n_layers(self.trace)
        if layer - 1 in shown:  # the first of those left out speaks for all
            self.sheet.line()
            summary = Fold(n, shown[0] + 1, n - shown[1]).summary("layer")
            self._left_out(f"{summary}; --layer {layer} shows one, --all shows all", "")

    def _only(self, patterns: tuple[str, ...], layers: list[int]) -> None:
        result: dict[str, Node] = {}
        for pattern in patterns:
            nodes = matching(self.trace, pattern)
            if layers:
                nodes = [node for node in nodes if layer_of(node) in layers]
            if not nodes:
                names = [node.name for node in self.trace.computed]
                raise GlassformerError(
                    f"no value is named {pattern!r} in this trace.{did_you_mean(pattern, names)}"
                    " Write for example --only '*.pattern' or --only 'blocks.0.*'"
                )
            result |= {node.path: node for node in nodes}
        for node in result.values():
            self._group([node], explained_below=False)

    def _section(self, nodes: list[Node]) -> None:
        listed = [node for node in nodes if self.everything or not is_between(node)]
        for group in groups(listed):
            self._group(group)
        between = [node.short for node in nodes if node not in listed]
        if between:
            self.sheet.line()
            noun = "stage" if len(between) == 1 else "stages"
            self._left_out(f"{len(between)} {noun} in between left out: {', '.join(between)}")

    def _group(self, nodes: list[Node], explained_below: bool = True) -> None:
        self.sheet.line()
        for node in nodes:
            self._heading(node)
        kept = [node for node in nodes if node.value is not None]
        if len(kept) < len(nodes):
            self._left_out("value not kept: the trace was watched with a narrower keep", "")
        if not kept:
            return
        wide = "vocab" in nodes[0].axes and size(nodes[0], "vocab") > WIDE_VOCABULARY
        if not kept[0].shape:
            self.sheet.line("  ", number(array(self.trace, kept[0]).item()))
        elif len(kept) > 1:
            self._side_by_side(kept)
        elif wide and explained_below and not self.everything:
            n = size(nodes[0], "vocab")
            self._left_out(f"{n} numbers for each token left out; the largest are below", ALL)
        else:
            self._value(kept[0])

    def _heading(self, node: Node, summary: str = "") -> None:
        """Name and shape; the sentence; the formula where it is new."""
        axes = ", ".join(f"{axis} {n}" for axis, n in zip(node.axes, node.shape, strict=True))
        name = node.name if node.op else node.path
        self.sheet.prose(f"{name}  [{axes}]", "bold", hanging=2)
        summary = summary or op_summary(node)
        if summary and summary != self._said:
            self.sheet.prose(summary, indent=2)
        self._said = summary
        if node.formula is None:
            return
        formula = formula_text(
            Formula(node.short, node.formula.axes, node.formula.body), node.operands
        )
        if formula not in self._printed:
            self._printed.add(formula)
            self.sheet.prose(formula, "italic", indent=2, hanging=4)
        renamed = [
            f"{operand} is {path.removeprefix('fwd/')}"
            for operand, path in node.operands.items()
            if self.trace.nodes[path].short != operand
        ]
        if renamed and renamed != self._renamed:
            self.sheet.prose(f"where {', '.join(renamed)}", QUIET, indent=2, hanging=2)
        self._renamed = renamed

    def _side_by_side(self, nodes: list[Node]) -> None:
        """One number per token each, as columns of one table."""
        columns = [first_text(node, array(self.trace, node))[1] for node in nodes]
        axis = nodes[0].axes[-1]
        labels = axis_labels(self.trace, axis, len(columns[0]))
        said = print_matrix(
            self.sheet,
            np.stack(columns, -1),
            labels,
            [node.short for node in nodes],
            (axis, "value"),
            self.everything,
        )
        self._left_out("; ".join(said))

    def _value(self, node: Node) -> None:
        shape = layout(node)
        is_map = {"query", "key"} <= set(node.axes)
        weights = is_attention(node)
        lead_n = [size(node, axis) for axis in shape.lead]
        folds = [self._lead_fold(n, weights) for n in lead_n]
        said: list[str] = []
        shown = [
            (index, matrix)
            for index, matrix in matrices(self.trace, node)
            if all(i in fold.shown for i, fold in zip(index, folds, strict=True))
        ]
        together = [matrix for _, matrix in shown]
        for index, matrix in shown:
            if index:
                words = " ".join(
                    f"{axis} {index_label(self.trace, axis, i)}"
                    for axis, i in zip(shape.lead, index, strict=True)
                )
                self.sheet.line("  ", (words, "bold"))
            if is_map:
                labels = axis_labels(self.trace, "query", size(node, "query"))
                masked = masked_cells(self.trace, node)
                said = attention_map.print_map(
                    self.sheet, matrix, masked, labels, self.everything, not weights, together
                )
            else:
                said = print_matrix(
                    self.sheet,
                    matrix,
                    axis_labels(self.trace, shape.row, len(matrix)),
                    axis_labels(self.trace, shape.column, matrix.shape[1]),
                    (shape.row or "", shape.column or ""),
                    self.everything,
                    together,
                )
        if is_map:
            self._legend(node, weights)
        said = [
            f.summary(axis) for axis, f in zip(shape.lead, folds, strict=True) if f.missing
        ] + said
        if "batch" in node.axes and size(node, "batch") > 1:
            said.append(f"only text 0 of {size(node, 'batch')} is shown")
        self._left_out("; ".join(said))

    def _lead_fold(self, n: int, weights: bool) -> Fold:
        if self.everything:
            return Fold.unfolded(n)
        return Fold.of(n, MAPS_HEAD, MAPS_TAIL) if weights else Fold.of(n, 1, 1)

    def _legend(self, node: Node, weights: bool) -> None:
        masked = masked_cells(self.trace, node)
        if weights:
            self.sheet.prose(attention_map.legend(masked), QUIET, indent=2)
        elif masked.any():
            said = f"{attention_map.MASKED * 3} masked: {why_masked(masked)}, its score is -inf"
            self.sheet.prose(said, QUIET, indent=2)

    def _left_out(self, what: str, how: str = ALL) -> None:
        if what:
            self.sheet.prose(f"… {what}{'; ' + how if how else ''}", QUIET, indent=2, hanging=2)
