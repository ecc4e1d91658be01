"""Neighbors in the embedding table, as a table and as the arithmetic of the nearest."""

from __future__ import annotations

from glassformer.cli import pasted
from glassformer.formula.spelling import number
from glassformer.lab.embeddings import Neighbor
from glassformer.show.labels import visible
from glassformer.show.sheet import QUIET, Sheet
from glassformer.show.table import Bars, Cell, Column, print_table
from glassformer.text.tokenizer import Tokenizer


def neighbors_data(
    tokenizer: Tokenizer, tokens: list[int], neighbors: list[Neighbor]
) -> dict[str, object]:
    """What was asked about and what lies nearest, for programs."""
    of = [{"id": token, "token": tokenizer.token(token)} for token in tokens]
    rows = [
        {
            "id": n.token,
            "token": tokenizer.token(n.token),
            "cosine": n.cosine,
            "dot": n.dot,
            "length": n.length,
            "length_asked": n.other_length,
        }
        for n in neighbors
    ]
    return {"of": of, "neighbors": rows}


def print_neighbors(sheet: Sheet, tokenizer: Tokenizer, neighbors: list[Neighbor]) -> None:
    """The nearest tokens, best first."""
    rows: list[list[Cell]] = [
        [
            str(rank),
            visible(tokenizer.token(neighbor.token)),
            str(neighbor.token),
            number(neighbor.cosine),
            neighbor.cosine,
            number(neighbor.dot),
            number(neighbor.length),
        ]
        for rank, neighbor in enumerate(neighbors, 1)
    ]
    columns: list[Column | Bars] = [
        Column("rank", right=True),
        Column("token", most=20),
        Column("id", right=True),
        Column("cosine", right=True),
        Bars(),
        Column("dot", right=True),
        Column("its length", right=True),
    ]
    print_table(sheet, columns, rows)


def print_cosine(sheet: Sheet, neighbor: Neighbor, asked: str, table: str) -> None:
    """The nearest one's cosine with the numbers put in, and what they were computed from."""
    sheet.line()
    sheet.line(("How the first was found", "bold underline"))
    sheet.line("  cosine = dot / (length * length)")
    result = neighbor.arithmetic
    sheet.line(f"         = {result.numbers} {result.relation} {result.result}")
    sheet.line(f"  of {asked}")
    sheet.line(f"  and weight/{table}[vocab={neighbor.token}]")


def print_map(sheet: Sheet, run: str) -> None:
    sheet.line()
    plot = " ".join(pasted.parts("plot", [run, "TEXT"]))
    sheet.prose(
        f"The whole table as a map in two dimensions: {plot}",
        QUIET,
        hanging=2,
    )
