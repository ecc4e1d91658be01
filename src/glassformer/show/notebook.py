"""A trace, an explanation and a run in a notebook: HTML that needs nothing from outside."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Sequence
from html import escape
from io import BytesIO

import numpy as np

from glassformer.formula.spelling import number
from glassformer.metrics import Loss, Row
from glassformer.show.explanation import operand_name, short_address, words_of
from glassformer.show.fold import Fold
from glassformer.show.formulas import formula_text
from glassformer.show.html import (
    details,
    matrix_table,
    quiet,
    shaded_map,
    table,
    tag,
    view,
)
from glassformer.show.labels import index_label
from glassformer.show.prediction import BEST, best_tokens, token_name
from glassformer.show.stages import chapters, is_between, n_layers
from glassformer.show.surprise import with_rest
from glassformer.show.values import (
    array,
    axis_labels,
    first_text,
    is_attention,
    layout,
    masked_cells,
    matrices,
    probabilities,
    size,
)
from glassformer.trace import Explanation, Node, Trace
from glassformer.trace.explain import op_summary
from glassformer.trace.predicted import predicted, sees_both_ways

Ends = tuple[int, int]
"""How many places of something long are shown: at its beginning, at its end."""

SIZES: tuple[tuple[Ends, Ends], ...] = (
    ((12, 4), (8, 2)),
    ((6, 2), (6, 2)),
    ((4, 2), (4, 1)),
    ((2, 1), (2, 1)),
    ((1, 1), (1, 1)),
)
"""Of a value's rows and columns; the first with which a view has at most OUTPUT_BYTES."""

OUTPUT_BYTES = 300_000
"""A notebook's file carries every output in full."""

TERMS = (8, 2)
NUMBERS = 12  # tokens at most for attention to be shown in numbers


def trace_html(trace: Trace, more: str = "") -> str:
    """Tokens, the next token, every head's attention, the stages of the first and last layer.

    more: a sentence about where the rest of the trace is shown.
    """
    title = f"{len(trace.computed)} values, {trace.nbytes:,} bytes"
    begin = [
        tag("strong", "Trace") + " " + tag("span", escape(title), class_="quiet"),
        _tokens(trace),
        _next_token(trace),
        _explained(trace),
        _attention(trace),
    ]
    end = quiet(
        "trace['NAME'] gives a whole tensor, trace.explain('NAME[axis=index,...]') a number." + more
    )
    shown = ""
    for rows, columns in SIZES:
        shown = view(*begin, *_stages(trace, rows, columns), end)
        if len(shown.encode()) <= OUTPUT_BYTES:
            break
    return shown


def explanation_html(explanation: Explanation) -> str:
    """Formula, arithmetic, the sum term by term, operands with their addresses, and the check."""
    return view(*_explanation(explanation))


def _explanation(explanation: Explanation) -> list[str]:
    trace = explanation.trace
    address = short_address(trace, explanation.address)
    head = (
        tag("code", escape(address)) + " = " + tag("strong", escape(number(explanation.value, 6)))
    )
    parts = [
        tag("div", head),
        quiet(words_of(trace, explanation.at)),
        _sentence(explanation.summary),
    ]
    if explanation.formula:
        source = f"Source: {explanation.source}" if explanation.source else ""
        parts += [
            tag("pre", escape(formula_text(explanation.formula, explanation.node.operands))),
            tag("pre", escape(explanation.arithmetic)),
            _terms(explanation),
            _operands(explanation),
            _check(explanation),
            quiet(source),
        ]
    return [*parts, *(quiet(f"Note: {flag}.") for flag in explanation.flags)]


MEASURED: tuple[tuple[Loss, str], ...] = (
    ("val_loss", "held out"),
    ("text_loss", "whole text"),
    ("floor", "floor"),
)


def run_html(name: str, rows: Sequence[Row], steps: int) -> str:
    """A run of `steps` steps: its loss, drawn and in numbers, and what it wrote on the way."""
    done = rows[-1]["step"] if rows else 0
    losses = [(row["step"], "training", row["loss"]) for row in rows if "loss" in row][-1:]
    for key, kind in MEASURED:
        losses += [(row["step"], kind, row.get(key)) for row in rows if key in row][-1:]
    measured = [[kind, str(step), number(loss)] for step, kind, loss in losses if loss is not None]
    samples = [(row["step"], row["sample"]) for row in rows if "sample" in row]
    written = [
        tag("div", tag("span", f"step {step}: ", class_="quiet") + escape(text))
        for step, text in samples[::-1]
    ]
    return view(
        tag("strong", escape(f"Run {name}")) + " " + quiet(f"{done:,} of {steps:,} steps"),
        _picture(rows) if losses else quiet("No step was made yet."),
        table(["last loss", "after step", "nats per token"], measured) if measured else "",
        details("What it wrote, the newest first", *written) if written else "",
    )


def _picture(rows: Sequence[Row]) -> str:
    from glassformer.show.plots.loss import draw_loss

    picture = BytesIO()
    draw_loss(rows).savefig(picture, format="png", dpi=60)
    source = f"data:image/png;base64,{b64encode(picture.getvalue()).decode()}"
    return f'<img src="{source}" alt="The loss by step" style="max-width: 100%; background: white">'


def _sentence(text: str) -> str:
    return tag("div", escape(text))


# --- a trace --------------------------------------------------------------------------------------


def _tokens(trace: Trace) -> str:
    node = trace.nodes.get("token/ids")
    if node is None:
        return ""
    ids = first_text(node, array(trace, node))[1]
    fold = Fold.of(len(ids), 24, 6)
    heads, cells = [""], ["id"]
    for i in fold.places:
        heads.append("…" if i is None else index_label(trace, "pos", i))
        cells.append("…" if i is None else str(ids[i]))
    return table(heads, [cells]) + quiet(fold.summary("pos"))


def _next_token(trace: Trace) -> str:
    probs = probabilities(trace)
    if probs is None:
        return ""
    positions = predicted(trace, len(probs))
    return "".join(_probable(trace, probs, pos) for pos in positions)


def _probable(trace: Trace, probs: np.ndarray, pos: int) -> str:
    """The most probable tokens at one position, as a table."""
    last = probs[pos]
    shown = best_tokens(last, BEST)
    rows = []
    texts, rest = with_rest(last[shown])
    for token, prob in zip(shown, texts, strict=True):
        width = f"width: {16 * last[token] / last[shown[0]]:.2f}em"
        bar = tag("td", tag("span", class_="bar", style=width), style="text-align: left")
        name = tag("th", escape(token_name(trace, token)), scope="row")
        rows.append(tag("tr", name + tag("td", prob) + bar))
    left_out = len(last) - len(shown)
    said = f"{left_out} of {len(last)} tokens left out, together {rest}" if left_out else ""
    blank = f"tokens in the blank (token {pos})"
    title = f"The most probable {blank if sees_both_ways(trace) else 'next tokens'}"
    return details(title, tag("table", "".join(rows)), quiet(said), opened=True)


def _explained(trace: Trace) -> str:
    """How the most probable token came by its probability and by its logit, number by number."""
    probs = probabilities(trace)
    if probs is None:
        return ""
    pos = predicted(trace, len(probs))[-1]
    best = int(probs[pos].argmax())
    parts: list[str] = []
    for name in ("probs", "logits"):
        node = trace.nodes.get(f"fwd/{name}")
        if node is not None and node.value is not None:
            parts += _explanation(trace.explain(f"{name}[pos={pos},vocab={best}]"))
    return details("Where the first of them comes from", *parts) if parts else ""


def _attention(trace: Trace) -> str:
    layers = []
    for chapter in chapters(trace):
        for node in (s for section in chapter.sections for s in section.nodes):
            if is_attention(node) and node.value is not None:
                title = f"Layer {chapter.layer}: attention, rows look at columns"
                layers.append(details(title, _maps(trace, node), opened=chapter.layer == 0))
    return "".join(layers)


def _maps(trace: Trace, node: Node) -> str:
    masked = masked_cells(trace, node)
    n = len(masked)
    labels = axis_labels(trace, "query", n)
    maps = []
    for (head,), weights in matrices(trace, node):
        if n <= NUMBERS:
            folds = Fold.unfolded(n), Fold.unfolded(n)
            drawn = matrix_table(weights, labels, labels, "query", folds, masked, signed=False)
        else:
            drawn = shaded_map(weights, masked)
        maps.append(tag("div", tag("div", f"head {head}") + drawn))
    return tag("div", "".join(maps), class_="row")


def _stages(trace: Trace, rows: Ends, columns: Ends) -> list[str]:
    """Every stage with its numbers; of the layers the first and the last."""
    fold = Fold.of(n_layers(trace), 1, 1)
    result = []
    for chapter in chapters(trace):
        if chapter.layer is not None and chapter.layer not in fold.shown:
            continue
        nodes = [node for section in chapter.sections for node in section.nodes]
        between = ", ".join(node.short for node in nodes if is_between(node))
        stages = [_stage(trace, node, rows, columns) for node in nodes if not is_between(node)]
        left_out = quiet(f"stages in between left out: {between}" if between else "")
        result.append(details(chapter.title, *stages, left_out))
    return [*result, quiet(fold.summary("layer"))]


def _stage(trace: Trace, node: Node, rows: Ends, columns: Ends) -> str:
    shape = ", ".join(f"{axis} {n}" for axis, n in zip(node.axes, node.shape, strict=True))
    summary = op_summary(node)
    formula = (
        tag("pre", escape(formula_text(node.formula, node.operands)))
        if node.formula is not None
        else ""
    )
    if node.value is None:
        return details(
            f"{node.name} [{shape}]", _sentence(summary), formula, quiet("value not kept")
        )
    value = _value(trace, node, rows, columns)
    return details(f"{node.name} [{shape}]", _sentence(summary), formula, *value)


def _value(trace: Trace, node: Node, rows: Ends, columns: Ends) -> list[str]:
    lay = layout(node)
    is_map = {"query", "key"} <= set(node.axes)
    masked = masked_cells(trace, node) if is_map else None
    lead = [Fold.of(size(node, axis), 1, 1) for axis in lay.lead]
    parts, folds = [], (Fold.unfolded(1), Fold.unfolded(1))
    for index, matrix in matrices(trace, node):
        if any(i not in fold.shown for i, fold in zip(index, lead, strict=True)):
            continue
        folds = Fold.of(matrix.shape[0], *rows), Fold.of(matrix.shape[1], *columns)
        row_labels = axis_labels(trace, lay.row, matrix.shape[0])
        column_labels = axis_labels(trace, lay.column, matrix.shape[1])
        corner = lay.row or ""
        where = " ".join(f"{axis} {i}" for axis, i in zip(lay.lead, index, strict=True))
        drawn = matrix_table(
            matrix, row_labels, column_labels, corner, folds, masked, not is_attention(node)
        )
        parts.append(quiet(where) + drawn)
    axes = [*lay.lead, lay.row or "", lay.column or ""]
    said = [fold.summary(axis) for axis, fold in zip(axes, [*lead, *folds], strict=True)]
    if "batch" in node.axes and size(node, "batch") > 1:
        said.append(f"only text 0 of {size(node, 'batch')} is shown")
    return [*parts, quiet("; ".join(filter(None, said)))]


# --- an explanation -------------------------------------------------------------------------------


def _terms(explanation: Explanation) -> str:
    terms = explanation.terms
    if not terms:
        return ""
    groups = explanation.operand_groups
    beside = {path: group for path, group in groups.items() if len(group) == len(terms)}
    axis = " ".join(terms[0].index)
    names = [*map(operand_name, beside)]
    fold = Fold.of(len(terms), *TERMS)
    digits = terms.digits(fold.shown)
    rows = []
    for i in fold.places:
        if i is None:
            start, stop = fold.head, fold.head + fold.missing
            rest = [terms.sum_of(start, stop), terms[stop - 1].running]
            rows.append([f"… {fold.missing} more", *[""] * len(beside), *rest])
            continue
        words = [index_label(explanation.trace, a, at) for a, at in terms[i].index.items()]
        values = [number(group[i].value, digits) for group in beside.values()]
        rows.append([" ".join(words), *values, terms[i].text, terms[i].running])
    drawn = table([axis, *names, "term", "sum so far"], rows)
    return details("The sum, term by term", drawn, quiet(fold.summary(axis)), opened=True)


def _operands(explanation: Explanation) -> str:
    parts = []
    for path, group in explanation.operand_groups.items():
        fold = Fold.of(len(group), *TERMS)
        rows = []
        for i in fold.places:
            if i is None:
                rows.append(["…"])
                continue
            address = short_address(explanation.trace, group[i].address)
            rows.append([address, number(group[i].value)])
        said = fold.summary(f"{path.rpartition('.')[2]} operands")
        parts.append(table(["address", "value"], rows) + quiet(said))
    return details("Operands", *parts)


def _check(explanation: Explanation) -> str:
    dtype = str(explanation.node.dtype).removeprefix("torch.")
    verdict = "agrees" if explanation.agrees else "DOES NOT AGREE"
    return table(
        ["check", ""],
        [
            [f"recorded ({dtype})", repr(explanation.value)],
            ["recomputed (float64)", repr(explanation.recomputed)],
            ["difference", number(explanation.error, 2)],
            ["rounding allows", number(explanation.bound, 2)],
            ["verdict", verdict],
        ],
    )
