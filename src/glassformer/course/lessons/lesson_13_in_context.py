"""In-context learning: colors and invented words, examples against accuracy, the heads that do"
" it."""

from __future__ import annotations

from itertools import islice

import torch

from glassformer.course.classroom import Classroom
from glassformer.course.lesson import (
    Bars,
    Command,
    Curve,
    Guess,
    Heading,
    Lesson,
    Line,
    Paragraph,
    Stage,
    Table,
    Task,
)
from glassformer.course.riddles import KINDS, riddles
from glassformer.course.spell import code, percent
from glassformer.describe import counted
from glassformer.formula.spelling import number
from glassformer.lab.answering_heads import AnsweringHeads, answering_heads
from glassformer.lab.in_context_learning import (
    Score,
    accuracy_by_examples,
    measure_repeats,
    read_texts,
    readable_tokens,
)
from glassformer.text.storyland import Document

SEED = "in-context"  # texts that no training takes
READ = 200  # texts that accuracy is measured on
QUESTIONING = 100  # texts that each head is switched off over
LEAST = 20  # answers that a share is drawn from
HELP = 0.02  # of the answers, at least, before more examples are said to help
INDUCTION = 0.5  # of the score that a head has which does nothing else

HEADING = Heading(
    name="13",
    title="Learning from the prompt",
    question="Can a model learn something while no weight changes?",
    minutes=8,
)


def lesson(room: Classroom) -> Lesson:
    fresh = [*islice(riddles(SEED), READ)]
    return HEADING.lesson(
        stages=[_guess(room), _examples(room, fresh), _heads(room, fresh), _larger(room)],
        takeaway="[[in-context learning|In-context learning]] is attention reading back in the"
        " [[prompt]]. No weight changes; with another prompt, all of it is gone.",
    )


def puzzle(room: Classroom, kind: str = "colours") -> tuple[str, str, list[str]]:
    """A fresh text up to an answer that it has shown before, the answer, and what else it"
    " showed."""
    model, tokenizer = room.riddler.model, room.riddler.tokenizer
    for document in riddles("lesson"):
        for answer in document.answers:
            prompt = document.text[: answer.start].rstrip()
            ids = tokenizer.encode(prompt)
            word = document.text[answer.start : answer.end]
            shown = {document.text[other.start : other.end] for other in document.answers} - {word}
            if document.kind == kind and shown and 12 <= len(ids) < model.config.n_ctx:
                return prompt, word, sorted(shown)
    raise AssertionError("riddles never end")


def _guess(room: Classroom) -> Stage:
    prompt, answer, others = puzzle(room)
    tokenizer = room.riddler.tokenizer
    probs = _probs(room, prompt)
    right = tokenizer.encode(answer)[0]
    choices = sorted([answer, *others])[:4]
    if answer not in choices:
        choices = sorted([answer, *choices[:3]])
    shares = {word: probs[tokenizer.encode(word)[0]].item() for word in choices}
    return Stage(
        title="Guess first",
        parts=[
            Paragraph(
                text="For this lesson we take another small model. It was trained on riddles, with"
                f" {room.riddler.recipe.steps:,} steps. In every riddle fruit has other colors. So"
                " no training can tell which color is right; only the text itself can."
            ),
            Guess(
                question=f"“{prompt} …” What comes next?",
                choices=choices,
                answer=choices.index(answer),
                reveal=f"The model gives {code(answer)} {percent(probs[right].item())}. It has read"
                " it in the prompt, as you have.",
                misses=[
                    "" if word == answer else f"The model gives that {percent(shares[word])}."
                    for word in choices
                ],
            ),
            Bars(
                title="What the model gives",
                labels=[*shares],
                values=[*shares.values()],
                percent=True,
                marked=choices.index(answer),
            ),
        ],
    )


def _probs(room: Classroom, prompt: str) -> torch.Tensor:
    state = room.riddler
    with torch.no_grad():
        logits: torch.Tensor = state.model(torch.tensor([state.tokenizer.encode_prompt(prompt)]))
    return logits[0, -1].double().softmax(-1)


def scores(room: Classroom, fresh: list[Document]) -> list[Score]:
    """How often an answer was right, by kind of text and the examples before it."""
    state = room.riddler
    readings = read_texts(state.model, state.tokenizer, [d.text for d in fresh])
    return [score for score in accuracy_by_examples(fresh, readings) if score.asked >= LEAST]


def _examples(room: Classroom, fresh: list[Document]) -> Stage:
    measured = scores(room, fresh)
    prompt, answer, _ = puzzle(room, "words")
    lines = [
        Line(
            name=name,
            x=[float(s.n_examples) for s in measured if s.kind == kind],
            y=[s.accuracy for s in measured if s.kind == kind],
        )
        for kind, name in KINDS.items()
    ]
    share = _probs(room, prompt)[room.riddler.tokenizer.encode(answer)[0]].item()
    return Stage(
        title="Examples and answers",
        parts=[
            Paragraph(
                text="Other riddles have invented words, which mean something else in every text:"
                f" “{prompt} …” goes on with {code(answer)}, to which the model gives"
                f" {percent(share)}. Showing examples in the prompt is called [[few-shot]]."
                f" {_helped(measured)}"
            ),
            Curve(
                title="Right answers, by the examples shown before",
                axes=("examples before", "share right"),
                lines=[line for line in lines if line.x],
            ),
            Table(
                title=f"Measured on {READ} texts that the model never saw",
                header=["kind", "examples before", "asked", "right"],
                rows=[
                    [KINDS[s.kind], str(s.n_examples), str(s.asked), percent(s.accuracy)]
                    for s in measured
                ],
            ),
            _counted(measured[0]),
        ],
    )


def _helped(measured: list[Score]) -> str:
    """Whether more than one example helped, in a sentence."""
    one, more = (
        sum(s.right for s in some) / max(sum(s.asked for s in some), 1)
        for some in (
            [s for s in measured if s.n_examples == 1],
            [s for s in measured if s.n_examples > 1],
        )
    )
    said = "More examples help." if more > one + HELP else "One example is enough for it."
    return f"After 1 example {percent(one)} of all are right, after more {percent(more)}. {said}"


def _counted(score: Score) -> Task:
    return Task(
        question=f"After {score.n_examples} example, {score.asked} {KINDS[score.kind]}"
        f" were asked and {score.right} were right. What share is that, in percent?",
        expected=100 * score.accuracy,
        tolerance=0.6,
        worked=[f"100 × {score.right} / {score.asked} = {100 * score.accuracy:.4g}"],
    )


def answering(room: Classroom, fresh: list[Document]) -> AnsweringHeads:
    state = room.riddler
    return answering_heads(state.model, state.tokenizer, fresh[:QUESTIONING])


def _heads(room: Classroom, fresh: list[Document]) -> Stage:
    state = room.riddler
    measured = answering(room, fresh)
    repeats = measure_repeats(state.model, readable_tokens(state.tokenizer))
    best = repeats.induction.max().item()
    first = measured.heads[0]
    names = [f"layer {head.layer} head {head.head}" for head in measured.heads]
    has_one = best > INDUCTION
    return Stage(
        title="Which heads do it?",
        parts=[
            Paragraph(
                text=f"Switch one [[head]] off, and ask again. The first {len(fresh[:QUESTIONING])}"
                f" of these texts ask {measured.questions:,} questions. With all heads,"
                f" {percent(measured.accuracy)} are right. Without {names[0]},"
                f" {percent(first.accuracy_without)} are."
            ),
            Bars(
                title="Right answers without this head",
                labels=names,
                values=[head.accuracy_without for head in measured.heads],
                percent=True,
                marked=0,
                note="a short bar is a head that is missed",
            ),
            Table(
                title="Where each head looks when the answer is due",
                header=["head", "to the answer, shown before", "to the word asked about"],
                rows=[
                    [name, percent(head.to_answer), percent(head.to_subject)]
                    for name, head in zip(names, measured.heads, strict=True)
                ],
                note="mean share of its attention",
            ),
            Paragraph(
                text="Large models have [[induction head|induction heads]]: they find where the"
                " present token stood before and look at what came after it, for any tokens"
                f" whatever. On random tokens the best head here scores {number(best, 2)}; looking"
                f" at all alike scores {number(repeats.uniform, 2)}. "
                + (
                    "So this model has one."
                    if has_one
                    else "A head that does nothing else has 1. So this model has none. Its heads"
                    " answer their riddles together, and only those."
                )
            ),
            Command(
                line="glassformer demo",
                shows="a larger model of whole stories is trained, in about three minutes, and kept"
                " in runs/demo",
            ),
            Command(
                line="glassformer lab in-context runs/demo",
                shows="all of this for that model, on more texts",
            ),
        ],
    )


def _larger(room: Classroom) -> Stage:
    last = len(room.tokenizer.encode_prompt(room.prompt)) - 1
    return Stage(
        title="In large models",
        parts=[
            Paragraph(
                text="A large model has seen many kinds of patterns, so it can follow many kinds in"
                " a prompt. Shown “English: Hello → French: Bonjour. English: Goodbye → French: Au"
                " revoir. English: Thank you → French:”, it goes on with “Merci”. It must have met"
                " French in training; the prompt tells it that French is wanted."
            ),
            Paragraph(
                text=f"The model of {room.name} has {counted(room.model.config.n_layers, 'block')}"
                " and saw nothing that had to be learned from the prompt. It can only go on with"
                " what it learned in training. But its attention reads back in the same way."
            ),
            room.look(
                "One share of its attention",
                f"fwd/blocks.0.attn.pattern[head=0,query={last},key={max(last - 1, 0)}]",
            ),
        ],
    )
