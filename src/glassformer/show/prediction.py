"""What comes next: the most probable tokens after the text, and after each of its tokens."""

from __future__ import annotations

import numpy as np
from rich.cells import cell_len

from glassformer.formula.spelling import number
from glassformer.show.fold import Fold
from glassformer.show.labels import index_label, word_at
from glassformer.show.matrix import INDENT, ROWS_HEAD, ROWS_TAIL, label_width
from glassformer.show.sheet import QUIET, Sheet
from glassformer.show.surprise import chance, with_rest
from glassformer.show.values import (
    array,
    axis_labels,
    probabilities,
)
from glassformer.trace import Trace
from glassformer.trace.node import Node
from glassformer.trace.predicted import predicted, sees_both_ways

BEST = 10
NUMBER = 10  # columns of a number
NO_NUMBERS = "The probabilities of the next token are no numbers (nan), so there is no prediction."
BAR = "color(99)"


def best_tokens(probs: np.ndarray, count: int) -> list[int]:
    """Token ids by probability, the most probable first; equal ones by id.

    >>> best_tokens(np.array([0.2, 0.4, 0.4]), 2)
    [1, 2]
    """
    best: list[int] = np.argsort(-probs, kind="stable")[:count].tolist()
    return best


def token_name(trace: Trace, token: int) -> str:
    """A token's text, or its id where the trace has no words for the vocabulary."""
    return word_at(trace, "vocab", token) or f"id {token}"


def print_prediction(trace: Trace, sheet: Sheet, everything: bool) -> None:
    """Print the best guesses after every token, and the table of the next token."""
    probs = probabilities(trace)
    if probs is None:
        return
    sheet.title("The prediction")
    if not np.isfinite(probs).all():
        first = next((s.path for s in trace.computed if s.kind == "fwd" and _breaks(trace, s)), "")
        sheet.line()
        sheet.prose(f"{NO_NUMBERS} The first value that is none: {first}.", "bold", indent=2)
        return
    if len(probs) > 1 and not sees_both_ways(trace):
        _after_each(trace, sheet, probs, everything)
    print_next(trace, sheet, probs, everything)


def _breaks(trace: Trace, node: Node) -> bool:
    """Whether a value holds what is no number; masked scores are minus infinity by design."""
    if node.value is None:
        return False
    value = trace.value_of(node)
    return bool((value.isnan() | (value == float("inf"))).any())


def _after_each(trace: Trace, sheet: Sheet, probs: np.ndarray, everything: bool) -> None:
    rows = Fold.unfolded(len(probs)) if everything else Fold.of(len(probs), ROWS_HEAD, ROWS_TAIL)
    ids = array(trace, trace.nodes["token/ids"])[0]
    labels = axis_labels(trace, "pos", len(probs))
    width = label_width(sheet, ["after", *labels])
    guesses = {i: best_tokens(probs[i], 1)[0] for i in rows.shown}
    names = {i: sheet.spell(token_name(trace, guess)) for i, guess in guesses.items()}
    came_texts = {i: chance(probs[i, ids[i + 1]].item()) for i in rows.shown if i + 1 < len(ids)}
    came_width = max(NUMBER, *map(len, came_texts.values()), 0)
    budget = (sheet.width - len(INDENT) - width - (NUMBER + 4) - (came_width + 4)) // 2
    name_width = min(max(10, *(cell_len(name) for name in names.values())), 16, budget)
    sheet.line()
    sheet.prose("After each token, the guess, and the token that really came:", indent=2)
    head = (
        f"{sheet.cell('after', width)}  {sheet.cell('best guess', name_width)}  {'prob':{NUMBER}}"
    )
    sheet.line(INDENT, (f"{head}  came, prob", QUIET))
    for i in rows.places:
        if i is None:
            sheet.line(INDENT, (sheet.clip("…", 1), QUIET))
            continue
        guess = (
            f"{sheet.cell(names[i], name_width)}  {chance(probs[i, guesses[i]].item()):{NUMBER}}"
        )
        came = ""
        if i + 1 < len(ids):
            said = word_at(trace, "pos", i + 1) or f"id {ids[i + 1]}"
            came = f"{sheet.clip(said, min(16, budget))}  {came_texts[i]}"
        sheet.line(INDENT, f"{sheet.cell(labels[i], width)}  {guess}  {came}")
    if rows.missing:
        sheet.prose(f"… {rows.summary('pos')}; --all shows them", QUIET, indent=2)


def print_next(
    trace: Trace, sheet: Sheet, probs: np.ndarray, everything: bool, best: int = BEST
) -> None:
    """Print the table of the next token or of every blank, the `best` most probable ones of it."""
    positions = predicted(trace, len(probs))
    for pos in positions:
        _print_at(trace, sheet, probs, pos, everything, best)
    if not positions:
        sheet.line()
        sheet.prose("No token is masked, so none is predicted.", QUIET, indent=2)


def _print_at(
    trace: Trace, sheet: Sheet, probs: np.ndarray, pos: int, everything: bool, best: int
) -> None:
    last, blank = probs[pos], sees_both_ways(trace)
    if not np.isfinite(last).all():
        sheet.line()
        sheet.prose(NO_NUMBERS, "bold", indent=2)
        return
    n = len(last)
    shown = best_tokens(last, n if everything or n <= best + 1 else best)
    node = trace.nodes.get("fwd/logits")
    logits = array(trace, node)[0, pos] if node is not None and node.value is not None else None
    text = index_label(trace, "pos", pos)
    where = f"In the blank (token {pos})" if blank else f"After the last token ({text})"
    sheet.line()
    sheet.prose(f"{where}, the most probable {'' if blank else 'next '}tokens:", indent=2)
    names = [sheet.spell(token_name(trace, token)) for token in shown]
    width = min(max(5, *(cell_len(name) for name in names)), sheet.width // 3)
    texts, rest = with_rest(last[shown])
    prob_width = max(NUMBER, *map(len, texts))
    head = f"rank  {sheet.cell('token', width)}  {'id':>6}  {'logit':>10}  {'prob':>{prob_width}}  "
    budget = max(min(sheet.width - len(INDENT) - cell_len(head), 24), 0)
    sheet.line(INDENT, (head, QUIET))
    for rank, (token, name, prob) in enumerate(zip(shown, names, texts, strict=True), 1):
        logit = "" if logits is None else number(logits[token].item())
        row = f"{rank:>4}  {sheet.cell(name, width)}  {token:>6}  {logit:>10}"
        bar = "█" * round(budget * last[token] / last[shown[0]])
        sheet.line(INDENT, f"{row}  {prob:>{prob_width}}  ", (bar, BAR))
    if budget:
        sheet.prose("the longest bar is the most probable token's", QUIET, indent=2)
    if len(shown) < n:
        left_out = f"{n - len(shown)} of {n} tokens left out, together {rest}"
        sheet.prose(f"… {left_out}; --all shows them", QUIET, indent=2)
    sheet.line()
    sheet.prose(f"The prediction: {token_name(trace, shown[0])}", "bold", indent=2)
