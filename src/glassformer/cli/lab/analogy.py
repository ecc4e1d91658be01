"""glassformer lab analogy: words as arithmetic, a - b + c."""

from __future__ import annotations

from typing import Annotated

import typer

from glassformer.cli.as_json import AsJson
from glassformer.cli.lab.nearness import neighbors_data, print_cosine, print_map, print_neighbors
from glassformer.cli.lab.subject import Subject
from glassformer.cli.streams import say_json
from glassformer.cli.watching import AtStep, Run
from glassformer.formula.spelling import number
from glassformer.lab.embeddings import analogy
from glassformer.show.labels import visible
from glassformer.show.sheet import Sheet
from glassformer.show.table import Column, print_table
from glassformer.training.train_state import token_of


def command(
    run: Run,
    a: Annotated[str, typer.Argument(help="As this word ...")],
    b: Annotated[str, typer.Argument(help="... is to this one, ...")],
    c: Annotated[str, typer.Argument(help="... so is the answer to this one.")],
    count: Annotated[int, typer.Option("-n", min=1, help="How many to show.", metavar="N")] = 10,
    at_step: AtStep = None,
    as_json: AsJson = False,
) -> None:
    """Find the tokens nearest to a - b + c, each brought to length 1 first.

    \b
    glassformer lab analogy worked_example cat the mat
    """
    subject = Subject(run, at_step)
    tokenizer = subject.tokenizer
    tokens = [token_of(tokenizer, word) for word in (a, b, c)]
    W_E = subject.model.embed.W_E[: tokenizer.vocab_size]
    result = analogy(W_E, tokens[0], tokens[1], tokens[2], count)
    if as_json:
        return say_json(neighbors_data(tokenizer, tokens, result))
    names = [visible(tokenizer.token(token)) for token in tokens]
    sheet = Sheet()
    sheet.title(f"{names[0]} - {names[1]} + {names[2]}")
    print_neighbors(sheet, tokenizer, result)
    sheet.line()
    sheet.prose("The vector: each word's embedding divided by its length, then added up.", indent=2)
    columns = [
        Column(""),
        Column("word"),
        Column("its length", right=True),
        Column("its embedding"),
    ]
    rows = [
        [
            sign,
            name,
            number(W_E[token].double().norm().item()),
            f"weight/{subject.table}[vocab={token}]",
        ]
        for sign, name, token in zip("+-+", names, tokens, strict=True)
    ]
    print_table(sheet, columns, rows)
    if result:
        print_cosine(sheet, result[0], "the vector above", subject.table)
    print_map(sheet, run)
    return None
