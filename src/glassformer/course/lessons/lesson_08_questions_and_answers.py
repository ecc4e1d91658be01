"""X and Y: what the model reads, what it is to say, growing contexts, targets shifted by one."""

from __future__ import annotations

import math

from glassformer.course.classroom import Classroom
from glassformer.course.lesson import (
    Bars,
    Command,
    Guess,
    Heading,
    Lesson,
    Paragraph,
    Stage,
    Table,
    Task,
)
from glassformer.course.spell import code, percent, quoted, visible
from glassformer.describe import counted
from glassformer.formula.spelling import number

LONGEST = 10  # tokens of the sentence that the tables show
PAIRS = 6

HEADING = Heading(
    name="8",
    title="Questions and answers: X and Y",
    question="Who writes the answers that a model learns from?",
    minutes=6,
)


def lesson(room: Classroom) -> Lesson:
    return HEADING.lesson(
        stages=[_guess(room), _contexts(room), _shifted(room), _graded(room)],
        takeaway="Any text is full of questions with answers: the answer is always the next"
        " [[token]]. X is the text, Y is the same text moved one token to the left.",
    )


def first_tokens(room: Classroom) -> list[int]:
    """The first sentence's first tokens, as many as the tables show and the model reads."""
    ids = room.tokenizer.encode(room.text[:400])
    return ids[: min(LONGEST, room.model.config.n_ctx)]


def _words(room: Classroom, ids: list[int]) -> str:
    return visible(room.tokenizer.decode(ids))


def _guess(room: Classroom) -> Stage:
    ids = first_tokens(room)
    n = len(ids)
    return Stage(
        title="Guess first",
        parts=[
            Paragraph(
                text=f"The text begins with these {counted(n, 'token')}:"
                f" {' | '.join(visible(room.tokenizer.token(i)) for i in ids)}."
                " A question is “what comes next?”, and the text has the answer."
            ),
            Guess(
                question="How many questions with an answer are in them?",
                choices=["1", str(n - 1), str(n)],
                answer=1,
                reveal=f"{n - 1}: after the first token, after the first two, and so on. Nobody had"
                " to write the answers; the text has them.",
                misses=[
                    "Only the whole piece? Every beginning of it asks a question too.",
                    "",
                    "Nearly. After the last one nothing is known here, so there is no answer.",
                ],
            ),
        ],
    )


def _contexts(room: Classroom) -> Stage:
    ids = first_tokens(room)
    token = room.tokenizer.token
    return Stage(
        title="Growing contexts",
        parts=[
            Paragraph(
                text="X is what the model reads, its [[context]]. Y, the target, is what it is to"
                " say. In one [[block of text]] the context grows by a token each time."
            ),
            Table(
                title="From one piece of the text",
                header=["X", "Y"],
                rows=[[_words(room, ids[:i]), visible(token(ids[i]))] for i in range(1, len(ids))],
            ),
            Table(
                title="The same with windows of two tokens",
                header=["X", "Y"],
                rows=[
                    [_words(room, ids[i : i + 2]), visible(token(ids[i + 2]))]
                    for i in range(min(PAIRS, len(ids) - 2))
                ],
                note="such windows are easier to draw; models learn from growing contexts",
            ),
        ],
    )


def _shifted(room: Classroom) -> Stage:
    ids = first_tokens(room)
    token = room.tokenizer.token
    asked = len(ids) // 2
    return Stage(
        title="Shifted by one",
        parts=[
            Paragraph(
                text="The computer keeps this as two rows of [[token ID|token IDs]]. Y is X moved"
                " one place to the left. The model answers at every place at once, and the"
                " [[causal mask]] sees to it that no place can look at its answer."
            ),
            Table(
                title="X and Y",
                header=["place", *(str(i) for i in range(len(ids) - 1))],
                rows=[
                    ["X", *(visible(token(i)) for i in ids[:-1])],
                    ["X, IDs", *map(str, ids[:-1])],
                    ["Y, IDs", *map(str, ids[1:])],
                    ["Y", *(visible(token(i)) for i in ids[1:])],
                ],
            ),
            Task(
                question=f"X is {ids[:-1]}, and the next token of the text is {ids[-1]}. What is Y"
                f" at place {asked}?",
                expected=float(ids[asked + 1]),
                tolerance=0.0,
                hint="Y at a place is X at the next place.",
                worked=[f"Y[{asked}] = X[{asked + 1}] = {ids[asked + 1]}"],
            ),
        ],
    )


def spelled_out(share: float) -> str:
    """A probability to calculate with: three places after the point, or two digits of a tiny one.

    >>> spelled_out(0.5), spelled_out(0.1239), spelled_out(0.0000416)
    ('0.5', '0.124', '0.000042')
    """
    places = max(3, 1 - math.floor(math.log10(share)))
    return f"{share:.{places}f}".rstrip("0").rstrip(".")


def _graded(room: Classroom) -> Stage:
    ids = first_tokens(room)
    token = room.tokenizer.token
    shares = [float(room.probs_after(ids[:i])[ids[i]]) for i in range(1, len(ids))]
    losses = [-math.log(p) for p in shares]
    mean = sum(losses) / len(losses)
    hardest = losses.index(max(losses))
    p = spelled_out(shares[hardest])
    return Stage(
        title="How the model does",
        parts=[
            Paragraph(
                text="Here is what our trained model gives to each right answer. The"
                " [[loss]] of an answer is -ln of its [[probability]]: 0 where the model was sure,"
                " large where it was surprised."
            ),
            Bars(
                title="The probability of each right answer",
                labels=[f"… {visible(token(i))}" for i in ids[1:]],
                values=shares,
                percent=True,
                marked=hardest,
                note=f"the mean loss of these {len(losses)} answers is {number(mean, 3)} nats",
            ),
            Paragraph(
                text=f"The most surprising one is {code(token(ids[hardest + 1]))} after"
                f" “{_words(room, ids[: hardest + 1])}”: it got {percent(shares[hardest])}."
                + (
                    " With one token before it there is little to tell it by."
                    if hardest == 0
                    else " The text goes on in several ways from there."
                )
            ),
            Task(
                question=f"Its probability is {p}. What is its loss, -ln({p})?",
                expected=-math.log(float(p)),
                tolerance=0.01,
                hint="The key ln of a calculator, and the sign turned.",
                worked=[f"-ln({p}) = {number(-math.log(float(p)), 4)}"],
            ),
            room.look(
                "The same loss, computed by the model",
                "fwd/loss",
                prompt=room.tokenizer.decode(ids[: hardest + 1]),
                target=token(ids[hardest + 1]),
            ),
            Command(
                line=f"glassformer step {{course}} {quoted(room.prompt)}",
                shows="one training step: what was asked at each place, and what it changed",
            ),
        ],
    )
