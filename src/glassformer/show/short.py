"""A trace on one screen: tokens, embeddings, each layer's attention and output, the next token."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from rich.cells import cell_len
from rich.console import Console

from glassformer.describe import counted
from glassformer.show.fold import Fold
from glassformer.show.labels import visible
from glassformer.show.matrix import INDENT, label_width
from glassformer.show.prediction import NO_NUMBERS, best_tokens, token_name
from glassformer.show.routing import chosen, routes
from glassformer.show.sheet import QUIET, Sheet
from glassformer.show.stages import chapters, n_layers
from glassformer.show.values import (
    array,
    axis_labels,
    has_sink,
    layout,
    matrices,
    probabilities,
    size,
)
from glassformer.trace import Node, Trace
from glassformer.trace.predicted import looks, predicted, sees_both_ways

SCREEN = 60  # lines
AROUND, PER_LAYER = 19, 7  # lines that are no row of a matrix: in all, and for each layer shown
GUESSES = 5
DECIMALS = 3  # of every number, as in a printed array
ROUNDED = "numbers are rounded to 3 places, probabilities to 4"


def print_short(trace: Trace, console: Console | None = None, lines: int = SCREEN) -> None:
    """Print the five sections in at most so many lines, however large the model and the text are.

    Numbers are rounded to three places. What is left out is said where it would stand.
    """
    Short(trace, Sheet(console), lines).print()


class Short:
    """The sections on a sheet; every matrix has the same rows."""

    def __init__(self, trace: Trace, sheet: Sheet, lines: int) -> None:
        self.trace, self.sheet = trace, sheet
        self.chapters = chapters(trace)
        self.layers = Fold.of(n_layers(trace), 1, 1)
        towers = dict.fromkeys(part.tower for part in self.chapters if part.layer is not None)
        first = {p.tower: p for p in reversed(self.chapters) if p.layer is None}
        self.beginnings = [first[tower] for tower in towers]
        shown = len(self.layers.shown) * len(towers)
        self.routes = routes(trace.computed)
        routed = sum(layer in self.routes for layer in self.layers.shown)
        rows = lines - AROUND - GUESSES - PER_LAYER * shown - routed
        rows //= 1 + 2 * shown + routed
        self.head, self.tail = max(rows // 2, 1), max(rows - rows // 2, 1)

    def print(self) -> None:
        for part in self.chapters:
            nodes = [node for section in part.sections for node in section.nodes]
            if part in self.beginnings:
                self._tokens(part.tower)
                self._embeddings(part.tower, nodes)
            elif part.layer is not None and part.layer in self.layers.shown:
                self._layer(part.tower, part.layer, nodes)
                if part.layer == 0 and self.layers.missing:
                    self._left_out([self.layers.summary("layer")])
        self._prediction()

    def _tokens(self, tower: str) -> None:
        what = {"encoder": " of the source", "decoder": " of the translation"}
        self.sheet.title(f"TOKENIZATION{what.get(tower, '')}")
        source = tower == "encoder"
        labels = (self.trace.labels or {}).get("source_pos" if source else "pos") or []
        ids = array(self.trace, self.trace.nodes["token/source" if source else "token/ids"])[0]
        tokens = [visible(label) for label in labels] or [f"id {token}" for token in ids]
        text = " | ".join(tokens)
        budget = 3 * (self.sheet.width - 8)
        header = f"{counted(len(ids), 'token')}: {self.sheet.clip(text, budget)}"
        self.sheet.prose(header, indent=2, hanging=2)

    def _embeddings(self, tower: str, nodes: Sequence[Node]) -> None:
        pos = "source_pos" if tower == "encoder" else "pos"
        entering = [node for node in nodes if {pos, "d_model"} <= set(node.axes)][-1]
        self.sheet.title(f"EMBEDDINGS ({entering.name}: what enters the first layer)")
        self._left_out(self._matrix(entering))

    def _layer(self, tower: str, layer: int, nodes: Sequence[Node]) -> None:
        last = n_layers(self.trace) - 1
        of_layers = f"layers are 0 to {last}" if last else "the only one"
        self.sheet.title(f"{f'{tower.upper()} ' if tower else ''}LAYER {layer} ({of_layers})")
        said: list[str] = []
        for pattern in filter(looks, nodes):
            heads = size(pattern, "head") if "head" in pattern.axes else 1
            of = f", head 0 of {heads}" if heads > 1 else ""
            crosses = {"query", "source_key"} <= set(pattern.axes)
            what = "Cross-attention weights" if crosses else "Attention weights"
            at = "looks at, of the source" if crosses else "looks at"
            at += "; the rest goes to the head's sink" if has_sink(self.trace, pattern) else ""
            self.sheet.line(INDENT, (f"{what}{of} (a row's token {at}):", "bold"))
            said += [Fold(heads, 1, 0).summary("head")] if heads > 1 else []
            said += self._matrix(pattern)
        if layer in self.routes:
            said += self._experts(self.routes[layer])
        self.sheet.line(INDENT, (f"Layer output ({nodes[-1].short}):", "bold"))
        said += self._matrix(nodes[-1])
        self._left_out([*dict.fromkeys(said)])

    def _experts(self, node: Node) -> list[str]:
        """The experts of each token, the best first; return what was left out."""
        weights = array(self.trace, node)[0]
        experts = [chosen(row) for row in weights]
        most, n = max(map(len, experts)), weights.shape[-1]
        text = f"Experts, {most} of {n} for each token (number: weight):"
        self.sheet.line(INDENT, (text, "bold"))
        rows = Fold.of(len(experts), self.head, self.tail)
        labels = axis_labels(self.trace, "pos", len(experts))
        width = label_width(self.sheet, [labels[i] for i in rows.shown])
        cell = len(str(n - 1)) + 3 + DECIMALS + 3
        fit = max((self.sheet.width - len(INDENT) - width - 2) // cell, 1)
        for i in rows.places:
            listed = (
                []
                if i is None
                else [f"{expert}: {weight:.{DECIMALS}f}" for expert, weight in experts[i]]
            )
            cells = listed if len(listed) <= fit else [*listed[: fit - 1], "…"]
            line = "".join(self.sheet.cell(text, cell, right=True) for text in cells)
            label = "…" if i is None else labels[i]
            self.sheet.line(INDENT, (self.sheet.cell(label, width), QUIET), line)
        columns = Fold.of(most, fit - 1, 0) if most > fit else Fold.unfolded(most)
        said = [rows.summary("token"), columns.summary("choice")]
        return [text for text in said if text]

    def _prediction(self) -> None:
        self.sheet.title("OUTPUT HEAD")
        probs = probabilities(self.trace)
        if probs is None or not np.isfinite(probs[-1]).all():
            self.sheet.prose(NO_NUMBERS, "bold", indent=2)
            return
        positions = predicted(self.trace, len(probs))
        for pos in positions:
            self._guesses(probs, pos)
        if not positions:
            self.sheet.prose("No token is masked, so none is predicted.", QUIET, indent=2)
            return
        self.sheet.prose(ROUNDED, QUIET, indent=2)

    def _guesses(self, probs: np.ndarray, pos: int) -> None:
        """The most probable tokens at one position."""
        best = best_tokens(probs[pos], GUESSES)
        names = [self.sheet.clip(visible(token_name(self.trace, token)), 20) for token in best]
        width = max(map(cell_len, names))
        for token, name in zip(best, names, strict=True):
            self.sheet.line(
                f"{INDENT}{self.sheet.cell(name, width, right=True)} : {probs[pos][token]:.4f}"
            )
        self.sheet.line()
        what = "token in the blank" if sees_both_ways(self.trace) else "next token"
        self.sheet.line(INDENT, (f"Predicted {what}: {names[0]}", "bold"))

    def _matrix(self, node: Node) -> list[str]:
        """Print the first matrix of a value [row, column]; return what was left out."""
        _, matrix = next(matrices(self.trace, node))
        axes = layout(node)
        rows = Fold.of(len(matrix), self.head, self.tail)
        labels = axis_labels(self.trace, axes.row, len(matrix))
        width = label_width(self.sheet, [labels[i] for i in rows.shown])
        texts = [[f"{value:.{DECIMALS}f}" for value in row] for row in matrix]
        cell = 2 + max(len(text) for i in rows.shown for text in texts[i])
        fit = max((self.sheet.width - len(INDENT) - width) // cell, 2)
        columns = Fold.unfolded(matrix.shape[1])
        if columns.n > fit:
            columns = Fold.of(columns.n, (fit - 1) // 2, fit - 1 - (fit - 1) // 2)
        for i in rows.places:
            cells = ["…" if i is None or j is None else texts[i][j] for j in columns.places]
            label = "…" if i is None else labels[i]
            line = "".join(self.sheet.cell(text, cell, right=True) for text in cells)
            self.sheet.line(INDENT, (self.sheet.cell(label, width), QUIET), line)
        said = [rows.summary("token"), columns.summary(axes.column or "")]
        return [text for text in said if text]

    def _left_out(self, said: Sequence[str]) -> None:
        if said:
            self.sheet.prose(f"… {'; '.join(said)}", QUIET, indent=2)
