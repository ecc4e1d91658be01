"""Embeddings: the row of numbers that stands for a token, and what lies near it."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations, permutations
from typing import NamedTuple

import torch
from torch import Tensor

from glassformer.course.asking import guess
from glassformer.course.classroom import Classroom
from glassformer.course.lesson import (
    Bars,
    Command,
    Heading,
    Lesson,
    Matrix,
    Paragraph,
    Place,
    Points,
    Stage,
    Table,
    Task,
)
from glassformer.course.spell import code, quoted, rounded, term, visible
from glassformer.describe import counted
from glassformer.formula.spelling import number
from glassformer.lab.embeddings import Neighbor, analogy, flattened, nearest
from glassformer.model import load_preset

NEAREST = 5
ON_MAP = 40  # tokens on the map
COLUMNS = 8  # numbers of a row
BY_HAND = 3  # numbers of two rows that are multiplied
PAIRS = 60  # pairs of words that analogies are looked for among


class Analogy(NamedTuple):
    """`a` is to `b` as `c` is to `d`: b - a + c comes nearest to d, by `cosine`."""

    a: int
    b: int
    c: int
    d: int
    cosine: float


HEADING = Heading(
    name="5",
    title="Embeddings",
    question="What does a word mean to a model?",
    minutes=9,
)


def lesson(room: Classroom) -> Lesson:
    return HEADING.lesson(
        stages=[_rows(room), _neighbors(room), _map(room), _arithmetic(room)],
        takeaway="An [[embedding]] is a row of numbers for each [[token]]. Training moves the rows."
        " Tokens that are used alike come to point the same way.",
    )


def table_of(room: Classroom) -> Tensor:
    """The embedding table [token, d_model]."""
    return room.model.weights()["embed.W_E"].detach()[: room.tokenizer.vocab_size]


def content(room: Classroom) -> list[int]:
    """Tokens that are words or pieces with letters, by how often they come in the beginning."""
    ids = room.tokenizer.encode(room.beginning)
    often = sorted(dict.fromkeys(ids), key=lambda i: (-ids.count(i), i))
    return [i for i in often if any(letter.isalpha() for letter in room.tokenizer.token(i))]


def _rows(room: Classroom) -> Stage:
    prompt = room.prompt
    ids = room.tokenizer.encode_prompt(prompt)
    names = [visible(room.tokenizer.token(i)) for i in ids]
    table = table_of(room)
    width = table.shape[1]
    sizes = [load_preset(name)["model"]["d_model"] for name in ("gpt2", "gpt3")]
    return Stage(
        title="A row of numbers for each token",
        parts=[
            Paragraph(
                text="A [[token ID]] is only a place in a list. Number 5 is not more than number 4."
                f" So the model has a table: {counted(width, 'number')} for each token. Such a row"
                " is called an [[embedding]]. It is like a place on a map. Paris is a name; 48.9"
                " north and 2.4 east say where it is."
            ),
            Matrix(
                title=f"The rows of “{prompt}”",
                rows=names,
                columns=[str(i) for i in range(min(width, COLUMNS))],
                values=table[ids, :COLUMNS].tolist(),
                axes=("token", "number"),
                note="" if width <= COLUMNS else f"The first {COLUMNS} of {width} numbers.",
            ),
            Paragraph(
                text=f"At first all these numbers are random. Training moves them. GPT-2 small has"
                f" {sizes[0]:,} numbers for each token, and GPT-3 has {sizes[1]:,}. More numbers"
                " have room for finer differences."
            ),
            room.look(
                f"Where the first number of {code(room.tokenizer.token(ids[-1]))} is read",
                f"fwd/embed[pos={len(ids) - 1},d_model=0]",
            ),
        ],
    )


def clearest(table: Tensor, known: list[int]) -> int:
    """The token whose nearest other one is nearest of all; of two alike the more frequent."""
    unit = torch.nn.functional.normalize(table[known].double(), dim=1)
    likeness = unit @ unit.T - 2 * torch.eye(len(known), dtype=torch.float64)
    # each of two is the other's nearest, but for the last digit
    return known[int(likeness.max(1).values.round(decimals=9).argmax())]


def _neighbors(room: Classroom) -> Stage:
    table, name = table_of(room), room.tokenizer.token
    known = content(room)
    token = clearest(table, known)
    neighbors = [one for one in nearest(table, token, len(table)) if one.token in known]
    best, others = neighbors[0], [neighbors[len(neighbors) // 2], neighbors[-2], neighbors[-1]]
    two = [[rounded(x, 1) for x in table[i, :BY_HAND].tolist()] for i in (token, best.token)]
    products = [x * y for x, y in zip(*two, strict=True)]
    made = best.arithmetic
    return Stage(
        title="Who lies near whom?",
        parts=[
            guess(
                f"Which of these has the row that is most like that of {code(name(token))}?",
                visible(name(best.token)),
                {
                    visible(name(one.token)): f"Its likeness is {number(one.cosine, 2)}."
                    for one in others
                    if one.token != best.token
                },
                f"{code(name(best.token))} has a likeness of {number(best.cosine, 2)}. 1 would be"
                " the same direction, 0 no relation, -1 the opposite. This number is called cosine."
                " With so little text, likeness says who stands at like places, and not more.",
            ),
            Bars(
                title=f"Nearest to {visible(name(token))}",
                labels=[visible(name(one.token)) for one in neighbors[:NEAREST]],
                values=[one.cosine for one in neighbors[:NEAREST]],
                marked=0,
            ),
            Task(
                question=f"A [[dot product]] measures likeness: multiply number by number, and add."
                f" The first {BY_HAND} numbers of {code(name(token))}, rounded, are"
                f" {_list(two[0])}; of {code(name(best.token))} they are {_list(two[1])}. What is"
                " their dot product?",
                expected=sum(products),
                tolerance=0.02,
                hint="First times first, second times second, third times third. Then add.",
                worked=[
                    " + ".join(f"{term(x)} × {term(y)}" for x, y in zip(*two, strict=True))
                    + f" = {number(sum(products))}",
                    f"The cosine is the dot product of the whole rows, divided by their lengths:"
                    f" {made.numbers.replace('*', '×')} {made.relation} {made.result}",
                ],
            ),
            Command(
                line=f"glassformer lab neighbors {{course}} {quoted(name(token).strip())}",
                shows="the nearest tokens, with their cosines",
            ),
        ],
    )


def _list(numbers: list[float]) -> str:
    return f"({', '.join(str(x) for x in numbers)})"


def _map(room: Classroom) -> Stage:
    table = table_of(room)
    shown = content(room)[:ON_MAP]
    flat = flattened(table[shown])
    both = sum(flat.shares)
    return Stage(
        title="A map",
        parts=[
            Paragraph(
                text=f"{counted(table.shape[1], 'number')} make a place in a space of"
                f" {table.shape[1]} directions. Nobody can draw that. So we look at it from the"
                " side from which the rows differ most, and draw that as a flat map. It keeps"
                f" {both:.0%} of the differences. The rest cannot be seen on it."
            ),
            Points(
                title="The embeddings as a flat map",
                points=[
                    Place(
                        label=visible(room.tokenizer.token(i)),
                        x=flat.x[row].item(),
                        y=flat.y[row].item(),
                    )
                    for row, i in enumerate(shown)
                ],
                note=f"{counted(len(shown), 'token')}; those that come most often.",
            ),
        ],
    )


def pairs_of(room: Classroom) -> list[tuple[int, int]]:
    """Two words of one sentence that go together: the pairs that analogies are made of."""
    words = set(content(room))
    result: dict[tuple[int, int], None] = {}
    for sentence in room.sentences:
        ids = [i for i in dict.fromkeys(room.tokenizer.encode(sentence)) if i in words]
        result.update(dict.fromkeys(combinations(ids, 2)))
    return [*result][:PAIRS]


def analogies(room: Classroom) -> Iterator[Analogy]:
    """Analogies between two such pairs that come true in the table."""
    unit = torch.nn.functional.normalize(table_of(room).double(), dim=1)
    among = torch.tensor(content(room))
    for (a, b), (c, d) in permutations(pairs_of(room), 2):
        if len({a, b, c, d}) < 4:
            continue
        others = among[(among != a) & (among != b) & (among != c)]
        led_to = torch.nn.functional.normalize(unit[b] - unit[a] + unit[c], dim=0)
        cosines = unit[others] @ led_to
        if others[cosines.argmax()] == d:
            yield Analogy(a, b, c, d, cosines.max().item())


def best_analogy(room: Classroom) -> Analogy | None:
    """The analogy that comes true most clearly; of those equal but for rounding the first."""
    return max(analogies(room), key=lambda one: round(one.cosine, 9), default=None)


def _arithmetic(room: Classroom) -> Stage:
    result = best_analogy(room)
    title = "Words as arithmetic"
    begin = Paragraph(
        text="A famous sum of a large model is king - man + woman ≈ queen. The step from man to"
        " king is about the step from woman to queen. Such a sum is an [[analogy]]. Does our little"
        " model have one?"
    )
    if result is None:
        text = (
            "We tried every two pairs of words that stand in one sentence. None of the sums led to"
            " the right word. This text is too short, or its model too small."
        )
        return Stage(title=title, parts=[begin, Paragraph(text=text)])
    name = [visible(room.tokenizer.token(i)) for i in result[:4]]
    typed = [quoted(room.tokenizer.token(i)) for i in (result.b, result.a, result.c)]
    table = table_of(room)
    known = content(room)
    nearest = analogy(table, result.b, result.a, result.c, len(table))
    ranked = [one for one in nearest if one.token in known]
    sizes = torch.linalg.vector_norm(table.double(), dim=1)
    first = [(table[i, 0].double() / sizes[i]).item() for i in (result.b, result.a, result.c)]
    shown = [rounded(x, 2) for x in first]
    return Stage(
        title=title,
        parts=[
            begin,
            Paragraph(
                text=f"It has one: {code(name[1])} - {code(name[0])} + {code(name[2])} lies nearest"
                f" to {code(name[3])}. {_sentence(name)} It is true for this text, and found by"
                " trying: most other sums of this model lead nowhere."
            ),
            Table(
                title=f"{name[1]} - {name[0]} + {name[2]}",
                header=["nearest", "likeness"],
                rows=[_row(room, one) for one in ranked[:4]],
                note="Each row was first brought to length 1. The three words of the sum are left"
                " out.",
            ),
            Task(
                question=f"The first numbers of the three rows are {shown[0]} for {code(name[1])},"
                f" {shown[1]} for {code(name[0])} and {shown[2]} for {code(name[2])}. What is the"
                f" first number of {code(name[1])} - {code(name[0])} + {code(name[2])}?",
                expected=round(shown[0] - shown[1] + shown[2], 2),
                tolerance=0.011,
                hint="Take the second from the first, and add the third.",
                worked=[
                    f"{shown[0]} - {term(shown[1])} + {term(shown[2])}"
                    f" = {rounded(shown[0] - shown[1] + shown[2], 2)}"
                ],
            ),
            Command(
                line=f"glassformer lab analogy {{course}} {' '.join(typed)}",
                shows="this sum, or another one",
            ),
        ],
    )


def _sentence(name: list[str]) -> str:
    return (
        f"In words: {code(name[0])} goes with {code(name[1])}, as {code(name[2])} goes with"
        f" {code(name[3])}."
    )


def _row(room: Classroom, one: Neighbor) -> list[str]:
    return [visible(room.tokenizer.token(one.token)), number(one.cosine, 3)]
