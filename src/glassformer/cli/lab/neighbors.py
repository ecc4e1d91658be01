"""glassformer lab neighbors: the tokens whose embeddings lie nearest to one's."""

from __future__ import annotations

from typing import Annotated

import typer

from glassformer.cli.as_json import AsJson
from glassformer.cli.lab.nearness import neighbors_data, print_cosine, print_map, print_neighbors
from glassformer.cli.lab.subject import Subject
from glassformer.cli.streams import say_json
from glassformer.cli.watching import AtStep, Run
from glassformer.lab.embeddings import nearest
from glassformer.show.labels import visible
from glassformer.show.sheet import Sheet
from glassformer.training.train_state import token_of


def command(
    run: Run,
    word: Annotated[str, typer.Argument(help="A token.")],
    count: Annotated[int, typer.Option("-n", min=1, help="How many to show.", metavar="N")] = 10,
    at_step: AtStep = None,
    as_json: AsJson = False,
) -> None:
    """Find the tokens whose embeddings point most nearly the same way.

    \b
    glassformer lab neighbors worked_example cat
    """
    subject = Subject(run, at_step)
    tokenizer = subject.tokenizer
    token = token_of(tokenizer, word)
    result = nearest(subject.model.embed.W_E[: tokenizer.vocab_size], token, count)
    if as_json:
        return say_json(neighbors_data(tokenizer, [token], result))
    sheet = Sheet()
    sheet.title(f"Nearest to {visible(tokenizer.token(token))} (id {token})")
    print_neighbors(sheet, tokenizer, result)
    if result:
        print_cosine(sheet, result[0], f"weight/{subject.table}[vocab={token}]", subject.table)
    print_map(sheet, run)
    return None
