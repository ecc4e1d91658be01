"""glassformer lab attribution: one logit as the sum of what each part wrote."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Annotated

import numpy as np
import typer

from glassformer.cli.as_json import AsJson, token_data, tokens_data
from glassformer.cli.lab.subject import All, Subject, at_position
from glassformer.cli.streams import say_json
from glassformer.cli.watching import AtStep, Prompt, Run
from glassformer.formula.spelling import Fixed, number
from glassformer.lab.logit_attribution import Share, attribute
from glassformer.show.explanation import short_address
from glassformer.show.labels import index_label
from glassformer.show.matrix import signed_style
from glassformer.show.prediction import token_name
from glassformer.show.sheet import QUIET, Sheet
from glassformer.show.table import Bars, Cell, Column, print_table
from glassformer.trace import Trace
from glassformer.trace.predicted import asked_pos, sees_both_ways
from glassformer.training.train_state import token_of

SHOWN = 16


def command(
    run: Run,
    prompt: Prompt,
    token: Annotated[
        str | None,
        typer.Option(help="Whose logit; left out, the most probable token's.", metavar="WORD"),
    ] = None,
    pos: Annotated[
        int | None,
        typer.Option(
            help="After which token, counted from 0; -1 is the last.",
            metavar="N",
            show_default="the last; of an encoder the first blank",
        ),
    ] = None,
    everything: All = False,
    at_step: AtStep = None,
    as_json: AsJson = False,
) -> None:
    """Split one logit into what each part of the model wrote towards it.

    Embedding, position, heads, biases and MLPs each add to the residual
    stream; their shares add up to the logit.

    \b
    glassformer lab attribution worked_example "the cat sat on" --token mat
    """
    subject = Subject(run, at_step)
    trace = subject.watch(prompt)
    n = trace.node("fwd/probs").shape[1]
    index = asked_pos(trace, n) if pos is None else at_position(trace, pos)
    logits = trace.value_of(trace.node("fwd/logits"))[0, index]
    target = None if token is None else token_of(subject.tokenizer, token)
    result = attribute(subject.model.config, trace, target, index)
    if as_json:
        return say_json(
            {
                "tokens": tokens_data(trace),
                "of": token_data(trace, result.token),
                "pos": result.pos,
                "address": result.address,
                "logit": result.logit,
                "total": result.total,
                "shares": [asdict(share) for share in result.shares],
            }
        )
    sheet, where = Sheet(), "at" if sees_both_ways(trace) else "after"
    sheet.title(
        f"The logit of {token_name(trace, result.token)} {where} {index_label(trace, 'pos', index)}"
    )
    shares = sorted(result.shares, key=lambda share: -abs(share.logits))
    column = Fixed.of_sum(np.array([share.logits for share in shares]))
    units = column.units(np.array([share.logits for share in shares])).tolist()
    n_shown = len(shares) if everything or len(shares) <= SHOWN + 1 else SHOWN
    _print_shares(trace, sheet, shares[:n_shown], column, units)
    if n_shown < len(shares):
        together = _signed(column, sum(units[n_shown:]))
        sheet.prose(
            f"… {len(shares) - n_shown} smaller shares left out, together {together}; --all shows"
            " them",
            QUIET,
            indent=2,
            hanging=2,
        )
    sheet.line()
    dtype = str(logits.dtype).removeprefix("torch.")
    for what, value in (
        ("sum as printed", column.text(sum(units))),
        (f"sum of all {len(shares)} shares", f"{result.total!r} (float64)"),
        ("recorded logit", f"{result.logit!r} ({dtype})"),
        ("difference", number(result.total - result.logit, 2)),
        ("address", result.address),
    ):
        sheet.line(f"  {what:24}{value}")
    sheet.prose(
        "Each norm's scale is taken as it was in this pass: a share says what a part wrote, not"
        " what the logit would be without it (that is `lab ablate`).",
        QUIET,
    )
    return None


def _print_shares(
    trace: Trace, sheet: Sheet, shares: Sequence[Share], column: Fixed, units: Sequence[int]
) -> None:
    """The table of the shares, each as so many units of the column's last digit."""
    rows: list[list[Cell]] = [
        [
            share.part,
            (_signed(column, unit), signed_style(share.logits)),
            share.logits,
            short_address(trace, share.address),
        ]
        for share, unit in zip(shares, units, strict=False)
    ]
    columns: list[Column | Bars] = [
        Column("part", most=24),
        Column("share", right=True),
        Bars(),
        Column("what it wrote", most=None),
    ]
    print_table(sheet, columns, rows)


def _signed(column: Fixed, units: int) -> str:
    return ("+" if units > 0 else "") + column.text(units)
