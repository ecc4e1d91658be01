"""glassformer lab lens: what the model would say after each layer."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from glassformer.cli.as_json import AsJson, lens_data
from glassformer.cli.lab.subject import All, Subject, at_position, print_explain
from glassformer.cli.streams import say, say_json
from glassformer.cli.watching import AtStep, Prompt, Run
from glassformer.formula.spelling import number
from glassformer.lab.logit_lens import Glimpse, logit_lens
from glassformer.show.fold import Fold
from glassformer.show.labels import index_label
from glassformer.show.matrix import ROWS_HEAD, ROWS_TAIL
from glassformer.show.prediction import best_tokens, token_name
from glassformer.show.sheet import QUIET, Sheet
from glassformer.show.table import GAP, Cell, Column, print_table
from glassformer.trace import Trace
from glassformer.trace.predicted import sees_both_ways

LEAST = 0.0001  # of the probabilities that have room as a number
GUESS = 15  # columns of a guess: its token and its probability
RANKS = 5


def command(
    run: Run,
    prompt: Prompt,
    pos: Annotated[
        int | None,
        typer.Option(help="More of this position, counted from 0; -1 is the last.", metavar="N"),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Also draw it: a .png or .svg file.", metavar="FILE")
    ] = None,
    everything: All = False,
    at_step: AtStep = None,
    as_json: AsJson = False,
) -> None:
    """Read the residual stream after each layer as if it were the last.

    The model's own final norm and unembedding are applied early (the logit
    lens), so the last column is the model's prediction.

    \b
    glassformer lab lens worked_example "the cat sat on"
    glassformer lab lens worked_example "the cat sat on" --pos -1 --out lens.png
    """
    subject = Subject(run, at_step)
    trace = subject.watch(prompt)
    glimpses = logit_lens(subject.model, trace)
    if as_json:
        return say_json(lens_data(trace, glimpses))
    sheet = Sheet()
    if pos is None:
        _every_position(sheet, trace, glimpses, everything)
        column = len(glimpses[0].probs) - 1
    else:
        column = at_position(trace, pos)
        _one_position(sheet, trace, glimpses, column)
    _print_how(sheet, glimpses, column, subject, prompt)
    if out is not None:
        from glassformer.show.plots.lens import draw_lens
        from glassformer.show.plots.style import write

        names = [_point(glimpse) for glimpse in glimpses]
        probs = [glimpse.probs.double().cpu().numpy() for glimpse in glimpses]
        say(write(draw_lens(trace, names, probs), out))
    return None


def _point(glimpse: Glimpse) -> str:
    """What was read: the stream before the first layer, or after one."""
    *_, layer, name = glimpse.point.split(".")
    return "start" if name == "resid_pre" else f"layer {layer}"


def _every_position(sheet: Sheet, trace: Trace, glimpses: list[Glimpse], everything: bool) -> None:
    """The best guess of each layer (columns) after each token (rows)."""
    n, ids = len(glimpses[0].probs), trace["token/ids[batch=0]"].reshape(-1).tolist()
    sheet.title("The best guess after each layer")
    rows = Fold.unfolded(n) if everything else Fold.of(n, ROWS_HEAD, ROWS_TAIL)
    fitting = max((sheet.width - 2 - 14 - 12) // (GUESS + GAP), 2)
    points = _spread(len(glimpses), fitting)
    here = sees_both_ways(trace)
    columns = [
        Column("at" if here else "after", most=14),
        *(Column(_point(glimpses[i])) for i in points),
    ]
    columns.append(Column("is" if here else "came", most=10))
    next_ids = ids if here else [*ids[1:], None]
    table: list[list[Cell]] = []
    for index in rows.places:
        if index is None:
            table.append(["…", *[""] * (len(columns) - 1)])
            continue
        guesses: list[Cell] = []
        for i in points:
            probs = glimpses[i].probs[index].double().cpu().numpy()
            guesses.append(_guess(sheet, trace, probs, best_tokens(probs, 1)[0]))
        token = next_ids[index]
        came = "" if token is None else token_name(trace, token)
        table.append([index_label(trace, "pos", index), *guesses, came])
    print_table(sheet, columns, table)
    if rows.missing:
        sheet.prose(f"… {rows.summary('pos')}; --all shows them", QUIET, indent=2, hanging=2)
    missing = len(glimpses) - len(points)
    if missing:
        remainder = f"… {missing} of {len(glimpses)} columns left out; --pos N has every layer"
        sheet.prose(remainder, QUIET, indent=2, hanging=2)


def _spread(n: int, most: int) -> list[int]:
    """At most so many of n places, the first and the last among them, as even as can be.

    >>> _spread(3, 5), _spread(13, 4)
    ([0, 1, 2], [0, 4, 8, 12])
    """
    shown = min(n, most)
    return [round(i * (n - 1) / max(shown - 1, 1)) for i in range(shown)]


def _one_position(sheet: Sheet, trace: Trace, glimpses: list[Glimpse], pos: int) -> None:
    """The best guesses (columns) of each layer (rows) after one token."""
    sheet.title(f"The best guesses after {index_label(trace, 'pos', pos)}")
    shown = min(RANKS, (sheet.width - 2 - 8) // (GUESS + GAP), glimpses[0].probs.shape[1])
    columns = [Column("after"), *(Column(f"{rank}.") for rank in range(1, shown + 1))]
    rows: list[list[Cell]] = []
    for glimpse in glimpses:
        probs = glimpse.probs[pos].double().cpu().numpy()
        guesses = [_guess(sheet, trace, probs, token) for token in best_tokens(probs, shown)]
        rows.append([_point(glimpse), *guesses])
    print_table(sheet, columns, rows)


def _guess(sheet: Sheet, trace: Trace, probs: np.ndarray, token: int) -> str:
    """A token and its probability, in `GUESS` columns."""
    probability = probs[token].item()
    share = number(probability, 3) if probability >= LEAST else f"<{LEAST:.4f}"
    name = sheet.clip(token_name(trace, token), GUESS - len(share) - 1)
    return f"{name} {share}"


def _print_how(
    sheet: Sheet, glimpses: list[Glimpse], pos: int, subject: Subject, prompt: str
) -> None:
    glimpse = glimpses[len(glimpses) // 2]
    token = int(glimpse.probs[pos].argmax())
    address = f"{glimpse.address}[pos={pos},vocab={token}]"
    sheet.line()
    sheet.prose("Each of these probabilities can be explained, for example:")
    print_explain(sheet, subject.run, prompt, address, *subject.options)
