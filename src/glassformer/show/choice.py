"""The choice of a token: what could have come, stage by stage, and why it was this one."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from rich.cells import cell_len

from glassformer.errors import GlassformerError
from glassformer.formula.spelling import Fixed, same
from glassformer.show.labels import word_at
from glassformer.show.sheet import QUIET, Sheet
from glassformer.show.surprise import chance, odds
from glassformer.show.values import array
from glassformer.trace import Trace

TOKEN = "choose/token"
_CUTS = ("top_k", "top_p", "min_p")
NAME_WIDTH = 20
SHOWN = 10  # tokens
DECIMALS = range(4, 18)  # of numbers on the line from 0 to 1
RARE = 1e-3


@dataclass(frozen=True)
class Candidate:
    """One token that could come next: its id, its text, and its probability stage by stage.

    The stages, as far as the settings have them: "model"; "tempered", after repetition penalty and
    temperature; "top_k", "top_p" and "min_p", where a cut token has 0; and "drawn", what the token
    was drawn from.
    """

    token: int
    text: str
    probabilities: dict[str, float]


def candidates(trace: Trace) -> list[Candidate]:
    """The most probable tokens of a recorded choice, the chosen one always among them."""
    stages = _stages(trace)
    chosen = int(_recorded(trace, TOKEN))
    # by the last stage; those that were cut follow in the order that they had before
    keys = [-stage for stage in stages.values()]
    tokens = np.lexsort(keys)[:SHOWN].tolist()
    if chosen not in tokens:
        tokens[-1] = chosen
    return [
        Candidate(i, token_text(trace, i), {name: float(p[i]) for name, p in stages.items()})
        for i in tokens
    ]


def _stages(trace: Trace) -> dict[str, np.ndarray]:
    """Probabilities [vocab] at every stage that was recorded."""
    params = trace.node("choose/next_logits").params
    row, last = int(params["row"]), int(params["last"])
    stages = {"model": array(trace, trace.node("fwd/probs"))[row, last]}
    cut = [stage for stage in _CUTS if f"choose/{stage}" in trace.nodes]
    bent = {"choose/penalized", "choose/scaled"} & set(trace.nodes)
    if cut and bent:
        stages["tempered"] = _recorded(trace, "choose/softmax")
    for stage in cut:
        stages[stage] = _recorded(trace, f"choose/{stage}")
    if "choose/probs" in trace.nodes and (cut or bent):
        stages["drawn" if cut else "tempered"] = _recorded(trace, "choose/probs")
    return stages


def _recorded(trace: Trace, path: str) -> np.ndarray:
    if TOKEN not in trace.nodes:
        raise GlassformerError(
            "no choice of a token was recorded in this trace; record one with"
            " glassformer.watch.choice.record_choice"
        )
    return array(trace, trace.nodes[path])


def token_text(trace: Trace, token: int) -> str:
    """A token as people can see it, or its id where the trace has no words."""
    return word_at(trace, "vocab", token) or f"id {token}"


def print_choice(trace: Trace, sheet: Sheet) -> None:
    """Print the table of the most probable next tokens, before and after each setting, and why."""
    rows = candidates(trace)
    chosen = int(_recorded(trace, TOKEN))
    stages = list(rows[0].probabilities)
    heads = [_head(trace, stage) for stage in stages]
    table = [_spelled(trace, row) for row in rows]
    widths = [
        max(7, *map(len, head), *map(len, column))
        for head, column in zip(heads, zip(*table, strict=True), strict=True)
    ]
    names = [sheet.spell(row.text) for row in rows]
    budget = sheet.width - 9 - sum(widths) - 2 * len(widths)
    width = min(max(cell_len(name) for name in ["token", *names]), NAME_WIDTH, max(budget, 5))
    tall = max(map(len, heads))
    for level in range(tall):
        titles = [[*[""] * (tall - len(head)), *head][level] for head in heads]
        token, token_id = ("token", "id") if level == tall - 1 else ("", "")
        cells = [sheet.cell(title, w, right=True) for title, w in zip(titles, widths, strict=True)]
        sheet.line((f"  {sheet.cell(token, width)} {token_id:>6}  {'  '.join(cells)}", QUIET))
    for row, name, texts in zip(rows, names, table, strict=True):
        cells = [sheet.cell(text, w, right=True) for text, w in zip(texts, widths, strict=True)]
        mark = sheet.spell("→" if row.token == chosen else " ")[:1]
        line = f"{mark} {sheet.cell(name, width)} {row.token:>6}  {'  '.join(cells)}"
        sheet.line((line, "bold" if row.token == chosen else ""))
    if any(text.startswith("<") for texts in table for text in texts):
        sheet.prose("<: less than the number type can hold, so it became 0", QUIET, indent=2)
    sheet.prose(str(why(trace)))


def _spelled(trace: Trace, row: Candidate) -> list[str]:
    """A candidate's probability at each stage, and why where it is 0."""
    lines = []
    for stage, probability in row.probabilities.items():
        if probability:
            lines.append(chance(probability, 3))
        elif stage != "model" and _was_cut(trace, row.token):
            lines.append("cut")
        else:
            path = "fwd/probs" if stage == "model" else "choose/exponentials"
            holds = torch.finfo(trace.nodes[path].dtype)
            lines.append(f"<{holds.smallest_normal * holds.eps:.0e}")
    return lines


def _was_cut(trace: Trace, token: int) -> bool:
    """Whether a setting took a token out; else it has no probability because it underflowed."""
    if "choose/softmax" not in trace.nodes:
        return False
    return bool(_recorded(trace, "choose/softmax")[token] > 0)


def _head(trace: Trace, stage: str) -> list[str]:
    """A column's title with the setting that made it, in one line or two."""
    if stage in ("model", "drawn"):
        return [stage]
    made_by = {
        "tempered": [("penalty", "penalized", "penalty"), ("temp.", "scaled", "temperature")],
        "top_k": [("top-k", "top_k", "k")],
        "top_p": [("top-p", "nucleus_size", "top_p")],
        "min_p": [("min-p", "min_p", "min_p")],
    }
    return [
        f"{word} {trace.nodes[f'choose/{name}'].params[param]:.3g}"
        for word, name, param in made_by[stage]
        if f"choose/{name}" in trace.nodes
    ]


@dataclass(frozen=True)
class Why:
    """Why one token was chosen and not the most probable one, in numbers.

    `rank` counts from 0 and `left` is how many tokens could be drawn at all. On the line from 0 to
    1 the chosen token has `interval` and the most probable one, `best`, has [0, best_probability);
    the drawn number `u` fell into the first. For a greedy choice u and interval are None.
    """

    token: int
    text: str
    probability: float
    best: int
    best_text: str
    best_probability: float
    rank: int = 0
    left: int = 1
    u: float | None = None
    interval: tuple[float, float] | None = None

    def __str__(self) -> str:
        if self.u is None or self.interval is None:
            return f"{self.text} has the highest score, and a greedy choice takes that."
        u, low, high, best = self._on_the_line(self.u, *self.interval)
        rare = f" ({odds(self.probability)})" if self.probability < RARE else ""
        summary = (
            f"{self.text} was chosen: the drawn number u = {u} fell into"
            f" [{low}, {high}), its part of the line from 0 to 1{rare}."
        )
        if self.rank == 0:
            return f"{summary} It is the most probable of {self.left}."
        return (
            f"{summary} It is number {self.rank + 1} of {self.left}; the most probable,"
            f" {self.best_text}, has [0, {best}): u was too large for it."
        )

    def _on_the_line(self, u: float, low: float, high: float) -> list[str]:
        """u, both ends and the best one's end, with the fewest places that show where u fell."""
        numbers = np.array([u, low, high, self.best_probability])
        texts: list[str] = []
        for decimals in DECIMALS:
            column = Fixed(decimals)
            units = column.units(numbers).tolist()
            written = zip(units, numbers.tolist(), strict=True)
            texts = [column.text(unit) if value else "0" for unit, value in written]
            at, start, end, best = units
            fell = start <= at < end and (self.rank == 0 or best <= at)
            if fell and same(column.value(end - start), self.probability, 3):
                break
        return texts


def why(trace: Trace) -> Why:
    """Why the token of a recorded choice, and not the most probable one."""
    token = int(_recorded(trace, TOKEN))
    text = token_text(trace, token)
    if "choose/u" not in trace.nodes:
        unbent = float(_stages(trace)["model"][token])
        return Why(token, text, unbent, token, text, unbent)
    probs, order, line = (
        _recorded(trace, f"choose/{name}") for name in ("probs", "order", "cumulative")
    )
    rank = int(_recorded(trace, "choose/drawn_rank"))
    best = int(order[0])
    return Why(
        token,
        text,
        float(probs[token]),
        best,
        token_text(trace, best),
        float(line[0]),
        rank,
        int((probs > 0).sum()),
        float(_recorded(trace, "choose/u")),
        (float(line[rank - 1]) if rank else 0.0, float(line[rank])),
    )
