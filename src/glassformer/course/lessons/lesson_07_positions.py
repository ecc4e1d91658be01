"""Positions: learned rows, waves, turning, none, and what goes wrong without."""

from __future__ import annotations

import math
from functools import cache
from typing import NamedTuple

import torch
from torch import Tensor

from glassformer.course.classroom import Classroom
from glassformer.course.lesson import (
    Bars,
    Command,
    Curve,
    Guess,
    Heading,
    Lesson,
    Line,
    Matrix,
    Paragraph,
    Place,
    Points,
    Stage,
    Table,
    Task,
)
from glassformer.course.spell import added, code, percent, quoted, rounded, term, visible
from glassformer.course.variants import learned
from glassformer.formula.spelling import number
from glassformer.model import Decoder
from glassformer.text.tokenizer import Tokenizer

SHOWN = 8  # positions, and numbers of each, that a picture has room for
ORDER = "The dog saw the cat and barked.", "The cat saw the dog and ran."
TURNS = 0, 1, 1, 0, 1, 0, 0, 1  # the two by turns, so that none announces the other
ORDER_STEPS = 160  # at 130 all that tell places give the right word 97% or more
WIDER = {"d_model": 16, "init_std": 0.2}  # small first weights would need ten times the steps
KINDS = {
    "learned": "a row for each place, found in training (GPT-2)",
    "sinusoidal": "waves from a formula, never trained (the paper of 2017)",
    "rotary": "queries and keys are turned (Llama, Qwen and most models today)",
    "none": "nothing says where a token stands",
}

HEADING = Heading(
    name="7",
    title="Positions",
    question="How does a model know which word came first?",
    minutes=9,
)


def lesson(room: Classroom) -> Lesson:
    return HEADING.lesson(
        stages=[_guess(room), _learned(room), _waves(room), _rotated(), _compared(room)],
        takeaway="[[attention|Attention]] alone does not know order. A model is told the"
        " [[position]] of each token: by a learned row, by a wave, or by turning queries and keys.",
    )


def mixed_up(room: Classroom) -> list[int]:
    """The prompt's tokens, all but the last from back to front."""
    *before, last = room.tokenizer.encode_prompt(room.prompt)
    return [*reversed(before), last]


def next_probs(room: Classroom, position: str, ids: list[int]) -> Tensor:
    """What the model with this kind of position expects after some tokens, [vocab] in float64."""
    model = room.variant(position=position).model
    with torch.no_grad():
        logits: Tensor = model(torch.tensor([ids]))
    return logits[0, -1].double().softmax(-1)


def _guess(room: Classroom) -> Stage:
    ids = room.tokenizer.encode_prompt(room.prompt)
    mixed = mixed_up(room)
    other = room.tokenizer.decode(mixed)
    right = int(next_probs(room, "none", ids).argmax())
    here, there = (float(next_probs(room, "none", row)[right]) for row in (ids, mixed))
    word = code(room.tokenizer.token(right))
    same = math.isclose(here, there, rel_tol=1e-4)
    said = (
        f"It gives {word} {percent(here)} after the one text, and {percent(there)} after the other."
    )
    why = (
        "Without positions a text is a bag of words: the last token sees the same tokens in both."
        if same
        else "With several blocks a trace of order gets through: each token has seen only those"
        " before it. But nothing says it clearly."
    )
    return Stage(
        title="Guess first",
        parts=[
            Paragraph(
                text="We trained the same small model once more on the same text, and this time"
                " told it nothing about [[position|positions]]. Now it reads two texts."
            ),
            Paragraph(text=f"“{room.prompt}” and, mixed up, “{other}”"),
            Guess(
                question="Will it say the same after both?",
                choices=["the same", "something else"],
                answer=0 if same else 1,
                reveal=f"{said} {why}",
                misses=[
                    "" if same else "The two shares differ.",
                    "The two shares are alike." if same else "",
                ],
            ),
        ],
    )


def _learned(room: Classroom) -> Stage:
    trace, prompt = room.watch(room.prompt), room.prompt
    tokens = [visible(room.tokenizer.token(i)) for i in room.tokenizer.encode_prompt(prompt)]
    embed, pos = (trace[f"fwd/{name}"].double() for name in ("embed", "pos_embed"))
    n = min(SHOWN, embed.shape[1])
    last = len(tokens) - 1
    a, b = (rounded(table[last, 0].item(), 2) for table in (embed, pos))
    rows = added(embed[last, :n].tolist(), pos[last, :n].tolist())
    return Stage(
        title="A learned row for each place",
        parts=[
            Paragraph(
                text="Our model has a second table: one row for each of its"
                f" {room.model.config.n_ctx} places. The row of the place is added to the row of"
                " the token. Both tables were found by training. GPT-2 does the same."
            ),
            Matrix(
                title="The rows of the first places",
                rows=[f"place {i}" for i in range(len(tokens))],
                columns=[str(i) for i in range(n)],
                values=pos[:, :n].tolist(),
                axes=("position", "number"),
            ),
            Table(
                title=f"“{tokens[last]}” at place {last}",
                header=["", *(str(i) for i in range(n))],
                rows=[
                    [name, *row]
                    for name, row in zip(("token", "+ place", "= start"), rows, strict=True)
                ],
                note="" if n == embed.shape[1] else f"the first {n} of {embed.shape[1]} numbers",
            ),
            Task(
                question=f"The token's first number is {a:.2f}, the place's is {b:.2f}. What enters"
                " the first block?",
                expected=round(a + b, 2),
                tolerance=0.011,
                worked=[f"{a:.2f} + {term(f'{b:.2f}')} = {a + b:z.2f}"],
            ),
            room.look("The same sum with all digits", f"fwd/resid_start[pos={last},d_model=0]"),
        ],
    )


def _waves(room: Classroom) -> Stage:
    d_model = room.model.config.d_model
    positions = list(range(min(room.model.config.n_ctx, 32)))
    waves = [2 * i for i in range(min(3, d_model // 2))]

    def wave(position: int, i: int) -> float:
        return math.sin(position / 10_000 ** (i / d_model))

    return Stage(
        title="Waves",
        parts=[
            Paragraph(
                text="The first [[transformer]] learned no table of places. It took waves: number 0"
                " of place p is sin(p), number 1 is cos(p), and the next pairs have longer and"
                " longer waves. Each place gets a pattern of its own, like the hands of a clock."
            ),
            Curve(
                title="Three waves",
                axes=("position", "number"),
                lines=[
                    Line(
                        name=f"number {i}",
                        x=[float(p) for p in positions],
                        y=[wave(p, i) for p in positions],
                    )
                    for i in waves
                ],
                note=f"number i is sin(p / 10000^(i / {d_model})) (Vaswani et al. 2017, section"
                " 3.5)",
            ),
            Task(
                question="What is number 0 at place 1? It is the sine of 1 (in radians).",
                expected=wave(1, 0),
                tolerance=0.01,
                hint="Set the calculator to radians.",
                worked=[f"sin(1) = {number(wave(1, 0))}"],
            ),
        ],
    )


def _rotated() -> Stage:
    def rotated(position: int) -> tuple[float, float]:
        return math.cos(position), math.sin(position)

    def score(query: int, key: int) -> float:
        (a, b), (c, d) = rotated(query), rotated(key)
        return a * c + b * d

    pairs = [(3, 1), (7, 5), (12, 10), (12, 1)]
    return Stage(
        title="Turning",
        parts=[
            Paragraph(
                text="Most models of today add nothing. They turn the [[query]] and the [[key]] of"
                " a token, two numbers at a time, like a hand of a clock: the further on in the"
                " text, the further turned. This is called rotary positions, or RoPE."
            ),
            Points(
                title="The pair (1, 0), turned by its place",
                points=[
                    Place(label=f"place {p}", x=rotated(p)[0], y=rotated(p)[1]) for p in range(6)
                ],
                note="the fastest pair turns by 1 radian, 57 degrees, a place; others more slowly",
            ),
            Paragraph(
                text="The [[dot product]] of two turned pairs depends only on how far apart they"
                " are. So a head can learn “look two tokens back”, wherever it is in the text."
            ),
            Table(
                title="Dot product of (1, 0) at two places",
                header=["query at", "key at", "apart", "dot product"],
                rows=[[str(q), str(k), str(q - k), number(score(q, k), 4)] for q, k in pairs],
                note="2 apart gives the same three times",
            ),
            Task(
                question="Two pairs (1, 0) stand 2 places apart. Their dot product is the cosine of"
                " 2. How much is it?",
                expected=score(2, 0),
                tolerance=0.01,
                hint="In radians.",
                worked=[f"cos(2) = {number(score(2, 0))}"],
            ),
        ],
    )


class Answers(NamedTuple):
    """What a model gives to the right next word after each of the two sentences."""

    kind: str
    shares: list[float]


@cache
def ordered(kind: str) -> tuple[Decoder, Tokenizer]:
    """A model with this kind of position that learned the two sentences of ORDER."""
    text = "\n".join(ORDER[i] for i in TURNS) + "\n"
    return learned(text, ORDER_STEPS, {**WIDER, "position": kind})


def order_learned(kind: str) -> Answers:
    """How sure that model is of each sentence's last word."""
    model, tokenizer = ordered(kind)
    shares = []
    for sentence in ORDER:
        *ids, word, _ = tokenizer.encode(sentence)
        with torch.no_grad():
            probs = model(torch.tensor([ids]))[0, -1].double().softmax(-1)
        shares.append(probs[word].item())
    return Answers(kind, shares)


def _compared(room: Classroom) -> Stage:
    starts = [" ".join(sentence.split()[:-1]) for sentence in ORDER]
    words = [sentence.split()[-1].strip(".") for sentence in ORDER]
    answers = [order_learned(kind) for kind in KINDS]
    return Stage(
        title="Where order matters",
        parts=[
            Paragraph(
                text=f"“{ORDER[0]} {ORDER[1]}” Up to their last word, these two sentences have the"
                " same words. Only the order tells them apart. Four small models learned just these"
                f" two, with {ORDER_STEPS} [[training step|steps]] each. How sure is each of the"
                " right word?"
            ),
            Table(
                title="What positions do",
                header=["positions", "what it is", *words],
                rows=[
                    [kind, KINDS[kind], *(percent(share) for share in shares)]
                    for kind, shares in answers
                ],
                note=f"after “{starts[0]}” and after “{starts[1]}”",
            ),
            Bars(
                title=f"“{words[0]}” after “{starts[0]}”",
                labels=list(KINDS),
                values=[answer.shares[0] for answer in answers],
                percent=True,
            ),
            Paragraph(
                text="Without positions, both sentences are the same bag of words. So the model"
                " must share its guess between the two endings, however long it learns. (Several"
                " blocks could tell them apart: each token has seen only those before it.)"
            ),
            Command(
                line="glassformer explain {course} "
                f"{quoted(room.prompt)} 'resid_start[pos=0,d_model=0]'",
                shows="a token's number plus its place's number",
            ),
        ],
    )
