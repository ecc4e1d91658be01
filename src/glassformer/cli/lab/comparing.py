"""One prompt read twice, as it is and changed: what became of the prediction, and on which way."""

from __future__ import annotations

import math
import re

from glassformer.cli import pasted
from glassformer.cli.as_json import comparison_data
from glassformer.cli.lab.subject import Subject, print_explain
from glassformer.cli.streams import say_json
from glassformer.errors import GlassformerError
from glassformer.formula.spelling import compared, number
from glassformer.lab import experiments
from glassformer.lab.changes import Change, changes, next_token_shifts, surprise_at_the_end
from glassformer.lab.edits import Edit
from glassformer.show.explanation import short_address
from glassformer.show.fold import Fold
from glassformer.show.labels import index_label
from glassformer.show.prediction import token_name
from glassformer.show.sheet import QUIET, Sheet
from glassformer.show.table import Bars, Cell, Column, comparisons, difference, print_table
from glassformer.trace import Trace
from glassformer.trace.predicted import asked_pos, sees_both_ways
from glassformer.training.train_state import token_of

TOKENS = 10
STATIONS = {"pattern", "z", "attn_out", "resid_mid", "post", "mlp_out", "resid_post"}
ENDS = {"fwd/logits", "fwd/probs", "fwd/loss"}
LAYERS = (2, 1)  # changed layers shown from the start and from the end
_BLOCK = re.compile(r"fwd/blocks\.(\d+)\.(.*)")


def compare(
    subject: Subject,
    prompt: str,
    edit: Edit,
    summary: str,
    target: str | None,
    everything: bool,
    as_json: bool,
) -> None:
    """Print both passes beside each other; `summary` is what was done, in words."""
    target_id = None if target is None else token_of(subject.tokenizer, target)
    result = experiments.edit(subject.model, subject.ids(prompt), edit)
    before, after = result.before, result.after
    if as_json:
        n = subject.model.config.vocab_size if everything else TOKENS
        return say_json(comparison_data(result, n, target_id))
    sheet = Sheet()
    sheet.prose(summary, "bold")
    for address in edit:
        _print_edit(sheet, before, after, address)
    _Comparison(sheet, before, after, everything).print(target_id)
    moved = [
        c
        for c in changes(before, after)
        if _is_station(c) and not c.edited and c.path != "fwd/loss"
    ]
    if moved:
        largest = max(moved, key=lambda c: c.relative if math.isfinite(c.relative) else 0.0)
        _print_how(sheet, before, after, largest, subject, prompt, edit)
    return None


def _print_edit(sheet: Sheet, before: Trace, after: Trace, address: str) -> None:
    """One edited slice: how many numbers, and from what to what where that is one number."""
    was, now = before[address], after[address]
    if now.numel() == 1:
        sheet.prose(f"{address}: {number(was.item())} -> {number(now.item())}", QUIET, 2, 2)
        return
    same = bool((now == now.flatten()[0]).all())
    what = number(now.flatten()[0].item()) if same else "the other prompt's"
    sheet.prose(f"{address}: {now.numel()} numbers -> {what}", QUIET, 2, 2)


def _print_how(
    sheet: Sheet,
    before: Trace,
    after: Trace,
    change: Change,
    subject: Subject,
    prompt: str,
    edit: Edit,
) -> None:
    """The command that explains the number that changed most, as it is after the edit."""
    address = short_address(before, change.address)
    was, now = before[change.address].item(), after[change.address].item()
    before_text, after_text, _ = compared([was], [now])[0]
    sheet.line()
    sheet.prose(
        f"{change.path.partition('/')[2]} changed most, and of its numbers this one:"
        f" {before_text} before, {after_text} after. How was it made?"
    )
    numbers = [(a, value) for a, value in edit.items() if isinstance(value, float)]
    options = [f"--edit {pasted.word(f'{a}={value!r}'.removesuffix('.0'))}" for a, value in numbers]
    print_explain(sheet, subject.run, prompt, address, *options, *subject.options)
    if len(numbers) < len(edit):
        sheet.prose("(explain shows it as it was before)", QUIET, indent=2)


class _Comparison:
    def __init__(self, sheet: Sheet, before: Trace, after: Trace, everything: bool) -> None:
        self.sheet, self.before, self.after, self.everything = sheet, before, after, everything

    def print(self, target: int | None) -> None:
        self._next_token()
        self._loss(target)
        self._travel(changes(self.before, self.after))

    def _next_token(self) -> None:
        n = self.before.node("fwd/probs").shape[1]
        vocab = self.before.node("fwd/probs").shape[2]
        at = index_label(self.before, "pos", asked_pos(self.before, n))
        hidden = sees_both_ways(self.before)
        self.sheet.title(f"The token at {at}" if hidden else f"The next token, after {at}")
        shown = vocab if self.everything else TOKENS
        shifts = next_token_shifts(self.before, self.after, shown)
        printed = comparisons([s.before for s in shifts], [s.after for s in shifts])
        rows: list[list[Cell]] = [
            [token_name(self.before, s.token), str(s.token), *row, s.after - s.before]
            for s, row in zip(shifts, printed, strict=True)
        ]
        right = {"right": True}
        columns: list[Column | Bars] = [
            Column("token", most=20),
            Column("id", **right),
            Column("before", **right),
            Column("after", **right),
            Column("difference", **right),
            Bars(),
        ]
        print_table(self.sheet, columns, rows)
        if len(shifts) < vocab:
            self._left_out(f"{vocab - len(shifts)} of {vocab} tokens left out")

    def _loss(self, target: int | None) -> None:
        both = self.before, self.after
        result: list[tuple[str, list[float]]] = []
        if "fwd/loss" in self.before.nodes:
            what = "mean of the prompt's own next tokens (the loss)"
            result.append((what, [trace["fwd/loss"].item() for trace in both]))
        if target is not None:
            what = f"{token_name(self.before, target)} as the next token"
            result.append((what, [surprise_at_the_end(trace, target) for trace in both]))
        printed = comparisons([was for _, (was, _) in result], [now for _, (_, now) in result])
        rows: list[list[Cell]] = [
            [what, *row] for (what, _), row in zip(result, printed, strict=True)
        ]
        if rows:
            self.sheet.line()
            columns: list[Column | Bars] = [Column("surprise in nats", most=48)]
            columns += [Column(title, right=True) for title in ("before", "after", "difference")]
            print_table(self.sheet, columns, rows)

    def _travel(self, changes: list[Change]) -> None:
        sheet, n_values = self.sheet, len(self.before.computed)
        sheet.title("The difference travels")
        if not changes:
            sheet.prose(f"None of the {n_values} values changed.", indent=2)
            return
        sheet.prose(
            f"{len(changes)} of {n_values} values changed. Relative: the length of the change, by"
            " that of the value before. Largest: the number that changed most, and where it is.",
            QUIET,
        )
        shown = [change for change in changes if self.everything or _is_station(change)]
        layers = sorted({layer for change in shown if (layer := _position(change)[0]) is not None})
        fold = Fold.unfolded(len(layers)) if self.everything else Fold.of(len(layers), *LAYERS)
        kept = {layers[i] for i in fold.shown}
        rows = [
            self._row(change)
            for change in shown
            if _position(change)[0] is None or _position(change)[0] in kept
        ]
        columns: list[Column | Bars] = [
            Column("value", most=26),
            Column("relative", right=True),
            Bars(),
            Column("largest", right=True),
            Column("at", most=None),
        ]
        print_table(sheet, columns, rows)
        if fold.missing:
            hidden = [layers[i] for i in range(fold.n) if i not in fold.shown]
            self._left_out(f"layers {hidden[0]} to {hidden[-1]} left out")
        if len(shown) < len(changes):
            self._left_out(f"{len(changes) - len(shown)} values in between left out")

    def _row(self, change: Change) -> list[Cell]:
        layer, name = _position(change)
        name = name if layer is None else f"{layer} {name}"
        address = short_address(self.before, change.address)
        at = address.partition("[")[2]
        relative = change.relative if math.isfinite(change.relative) else math.inf
        return [
            f"{name} (edited)" if change.edited else name,
            number(relative, 3),
            relative,
            difference(change.largest, 3),
            f"[{at}" if at else "",
        ]

    def _left_out(self, what: str) -> None:
        self.sheet.prose(f"… {what}; --all shows them", QUIET, indent=2, hanging=2)


def _position(change: Change) -> tuple[int | None, str]:
    """The layer and the name within it; no layer outside the blocks."""
    match = _BLOCK.fullmatch(change.path)
    return (int(match[1]), match[2]) if match else (None, change.path.partition("/")[2])


def _is_station(change: Change) -> bool:
    layer, name = _position(change)
    between = layer is None and change.path not in ENDS
    return change.edited or (not between and (layer is None or name.rpartition(".")[2] in STATIONS))


def number_pair(text: str, option: str, what: str) -> tuple[int, int]:
    """The two whole numbers of ``LAYER.HEAD``.

    >>> number_pair("1.37", "--neuron", "LAYER.NEURON")
    (1, 37)
    """
    match = re.fullmatch(r"(\d+)\.(\d+)", text)
    if match is None:
        raise GlassformerError(f"{option} {text!r} is not {what}; write for example {option} 0.2")
    return int(match[1]), int(match[2])
