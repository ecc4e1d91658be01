"""Lesson 0: the model's first choice and the numbers on the way to it."""

import math

import torch

from glassformer.course.classroom import Classroom
from glassformer.course.course import lesson
from glassformer.course.lesson import Bars, Diagram, Guess, Task
from tests.course.test_lessons import parts


def test_the_right_guess_is_the_models_first_choice_with_its_probability(room: Classroom) -> None:
    made = [*parts(lesson("0", room))]
    guess = next(part for part in made if isinstance(part, Guess))
    bars = next(part for part in made if isinstance(part, Bars))
    model, tokenizer = room.model, room.tokenizer
    logits = model(torch.tensor([tokenizer.encode(room.prompt)]))[0, -1].double()
    exps = [math.exp(x) for x in logits.tolist()]
    best = max(range(len(exps)), key=exps.__getitem__)
    assert guess.choices[guess.answer] == tokenizer.token(best) == "mat"
    assert math.isclose(bars.values[0], exps[best] / sum(exps), abs_tol=1e-6)  # fp32 logits
    diagram = next(part for part in made if isinstance(part, Diagram))
    assert diagram.boxes[2].beside.split() == [str(i) for i in tokenizer.encode(room.prompt)]
    assert diagram.boxes[-1].beside == "mat"
    assert f"{100 * exps[best] / sum(exps):.1f}%" in guess.reveal


def test_the_rest_of_the_probability_is_what_the_printed_two_leave(room: Classroom) -> None:
    task = next(part for part in parts(lesson("0", room)) if isinstance(part, Task))
    first, second = (round(100 * p, 2) for _, p in room.next_tokens(room.prompt)[:2])
    assert task.expected == round(100 - first - second, 2)
    assert f"100 - {first} - {second} = " in task.worked[0]
