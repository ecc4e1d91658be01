"""`glassformer eval --in-context`: right translations by the number of examples in the prompt."""

from __future__ import annotations

from itertools import islice
from typing import Any

from glassformer.formula.spelling import number
from glassformer.lab.in_context_learning import accuracy_by_examples, read_texts
from glassformer.model import Decoder, EncoderDecoder
from glassformer.show.sheet import QUIET, Sheet
from glassformer.show.table import Cell, Column, print_table
from glassformer.text.tokenizer import Tokenizer
from glassformer.text.translation import prompts
from glassformer.training.prompts import FRESH, FRESH_SEED, translate_prompts

MOST_EXAMPLES = 5  # in the table


def answers_of(model: Decoder | EncoderDecoder, tokenizer: Tokenizer) -> list[dict[str, Any]]:
    """How many answers are right by kind of prompt and examples before, beside what can be known.

    Two towers read no examples, so theirs are counted by kind alone.
    """
    if isinstance(model, EncoderDecoder):
        return [
            {"kind": kind, "n_examples": None, "right": right, "asked": asked}
            for kind, right, asked in translate_prompts(model, tokenizer, FRESH)
        ]
    fresh = [*islice(prompts.documents(FRESH_SEED), FRESH)]
    readings = read_texts(model, tokenizer, [document.text for document in fresh])
    return [
        {
            "kind": score.kind,
            "n_examples": score.n_examples,
            "right": score.right,
            "asked": score.asked,
            "at_best": prompts.at_best(score.kind, score.n_examples),
        }
        for score in accuracy_by_examples(fresh, readings)
    ]


def print_answers(sheet: Sheet, answers: list[dict[str, Any]]) -> None:
    """The answers as a table: examples before (rows), kinds of prompt (columns)."""
    sheet.line()
    sheet.prose(
        f"{FRESH} fresh prompts, such as “english: the cat sleeps french: le chat dort”: share of"
        " translations that are right in every word."
    )
    by_row: dict[int | None, dict[str, str]] = {}
    for row in answers:
        share = number(row["right"] / row["asked"], 3)
        best = f" of {number(row['at_best'], 3)}" if "at_best" in row else ""
        by_row.setdefault(row["n_examples"], {})[row["kind"]] = f"{share}{best}"
    rows: list[list[Cell]] = [
        ["none read" if n is None else str(n), *(by_row[n].get(kind, "") for kind in prompts.KINDS)]
        for n in by_row
        if n is None or n <= MOST_EXAMPLES
    ]
    columns = [Column("examples", right=True), *(Column(k, right=True) for k in prompts.KINDS)]
    print_table(sheet, columns, rows)
    reads = any("at_best" in row for row in answers)
    best = " After “of”: the share right, on average, of who knows all that can be known."
    sheet.prose(
        "french: the language is named. foreign: French or Japanese, as the examples are. secret:"
        " words made up for each prompt; there an example is one of the same word."
        f"{best if reads else ' Two towers read a sentence alone.'}",
        QUIET,
        indent=2,
    )
