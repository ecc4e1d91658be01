"""Gradient descent: one weight on its hill, then all 268 of the miniature, then the whole text."""

from __future__ import annotations

from copy import deepcopy
from typing import NamedTuple

import torch

from glassformer.course.classroom import Classroom
from glassformer.course.hill import RATES, START, STEPS, X, Y, descent, error, slope
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
    Stage,
    Table,
    Task,
)
from glassformer.course.spell import percent, term
from glassformer.describe import counted
from glassformer.formula.spelling import fewest_digits, number
from glassformer.trace import Trace
from glassformer.training.recipe import Recipe
from glassformer.training.run import load_run
from glassformer.training.train_state import TrainState
from glassformer.training.watched import watch_step, zero_moments

PROMPT, WORD = "the cat sat on a", "mat"
DESCENT_LR = 1.0  # of plain gradient descent: the gradients are small
MINIATURE_LR = 0.05  # of AdamW
MINIATURE_STEPS = 5
SEEN = "unembed.W_U"  # the miniature's matrix whose gradient is drawn
POINTS = 60  # of the loss curve

HEADING = Heading(
    name="12",
    title="Gradient descent: how it learns",
    question="Which way must a weight move?",
    minutes=10,
)


def lesson(room: Classroom) -> Lesson:
    return HEADING.lesson(
        stages=[
            _guess(),
            _hill(),
            _rates(),
            _chain(room),
            _all_weights(room),
            _whole_text(room),
        ],
        takeaway="The [[gradient]] says how the [[loss]] changes with a weight. The weight takes a"
        " small step the other way: new weight = old weight - [[learning rate]] × gradient. Again"
        " and again, for all weights at once.",
    )


def _guess() -> Stage:
    ends = {name: abs(descent(lr)[-1] - Y / X) for name, lr in RATES.items()}
    names = [*RATES]
    answer = names.index(min(ends, key=ends.__getitem__))
    return Stage(
        title="Guess first",
        parts=[
            Paragraph(
                text="You stand on a hill in fog and want to get down. You can feel the slope under"
                " your feet. So you take a step downhill, feel again, and go on. This is"
                " [[gradient descent]]. The length of your stride is the [[learning rate]]."
            ),
            Guess(
                question="Three walkers have strides of "
                + ", ".join(f"{lr:g}" for lr in RATES.values())
                + f". Who is nearest to the bottom after {STEPS} steps?",
                choices=[f"{lr:g}" for lr in RATES.values()],
                answer=answer,
                reveal=f"The one with {RATES[names[answer]]:g}. The one with"
                f" {RATES['too high']:g} jumps over the bottom and lands higher each time.",
                misses=[
                    ""
                    if i == answer
                    else f"That one is still {number(ends[name], 3)} away from the bottom."
                    for i, name in enumerate(names)
                ],
            ),
        ],
    )


def _hill() -> Stage:
    w = START
    after = w - RATES["right"] * slope(w)
    grid = [i / 20 - 0.5 for i in range(61)]
    return Stage(
        title="One weight",
        parts=[
            Paragraph(
                text=f"The smallest network: one [[neuron]] with one [[weight]] w. It reads {X:g}"
                f" and is to say {Y:g}. It says w × {X:g}. Its error is the square of what it is"
                f" off by: (w × {X:g} - {Y:g})²."
            ),
            Curve(
                title="The hill: the error of every weight",
                axes=("weight w", "error"),
                lines=[Line(name="error", x=grid, y=[error(x) for x in grid])],
                note=f"the bottom is at w = {Y / X:g}, where the neuron says {Y:g}",
            ),
            Paragraph(
                text=f"The [[gradient]] is the slope: 2 × (w × {X:g} - {Y:g}) × {X:g}. At w ="
                f" {w:g} it is 2 × ({w:g} × {X:g} - {Y:g}) × {X:g} = {slope(w):g}. It is positive:"
                " a larger w makes a larger error. So w must become smaller."
            ),
            Task(
                question=f"w is {w:g}, the gradient {slope(w):g}, the learning rate"
                f" {RATES['right']:g}. What is the new w?",
                expected=after,
                tolerance=0.005,
                hint="new weight = old weight - learning rate × gradient",
                worked=[f"{w:g} - {RATES['right']:g} × {slope(w):g} = {after:.4g}"],
            ),
        ],
    )


def _rates() -> Stage:
    paths = {name: descent(lr) for name, lr in RATES.items()}
    factor = 1 - 2 * X * X * RATES["too high"]
    return Stage(
        title="Too low, right, too high",
        parts=[
            Table(
                title="Three learning rates",
                header=["step", *(f"{lr:g} ({name})" for name, lr in RATES.items())],
                rows=[
                    [str(i), *(number(path[i], 4) for path in paths.values())]
                    for i in range(STEPS + 1)
                ],
                note=f"the weight after each step; the best is {Y / X:g}",
            ),
            Curve(
                title="The error on the way",
                axes=("step", "error"),
                lines=[
                    Line(
                        name=f"{RATES[name]:g}",
                        x=[float(i) for i in range(STEPS + 1)],
                        # an overshooting walker climbs out of the picture
                        y=[min(error(w), 2 * error(START)) for w in path],
                    )
                    for name, path in paths.items()
                ],
                note=f"errors above {2 * error(START):g} are drawn at the upper edge",
            ),
            Paragraph(
                text=f"Why does {RATES['too high']:g} fail? Each step multiplies the distance from"
                f" the bottom by 1 - 2 × {X:g}² × {RATES['too high']:g} = {number(factor, 3)}. It"
                " changes sides and grows. The error overshoots, then it diverges: that is the"
                " word for it."
            ),
        ],
    )


class Step(NamedTuple):
    """The miniature before a training step: its loss, and what it gave to the right word."""

    loss: float
    share: float


def miniature_steps(room: Classroom, n: int = MINIATURE_STEPS) -> list[Step]:
    """The miniature learns "mat" by AdamW; its state before each of n steps, and after the last."""
    state = room.state("miniature")
    model, moments = deepcopy(state.model), None
    ids, targets = state.make_targets(PROMPT, WORD)
    steps = []
    for t in range(1, n + 2):
        watched = watch_step(
            model,
            ids,
            targets,
            recipe=Recipe(lr=MINIATURE_LR, weight_decay=0.0),
            moments=moments or zero_moments(model),
            t=t,
        )
        loss = watched.trace["fwd/loss"].item()
        share = watched.trace["fwd/logits"][-1].double().softmax(-1)[targets[0, -1]].item()
        steps.append(Step(loss, share))
        model, moments = watched.model, watched.moments
    return steps


def _watched(room: Classroom) -> tuple[TrainState, int, Trace]:
    """The miniature, the id of WORD, and the pass and its gradients where WORD is to follow."""
    state = room.state("miniature")
    ids, targets = state.make_targets(PROMPT, WORD)
    return state, int(targets[0, -1]), state.model.watch(ids, targets, backward=True)


def _chain(room: Classroom) -> Stage:
    _, target, trace = _watched(room)
    row = int(trace[f"bwd/{SEEN}"][:, target].abs().argmax())
    weight, gradient = (trace[f"{kind}/{SEEN}"][row, target].item() for kind in ("weight", "bwd"))
    new = weight - DESCENT_LR * gradient
    share = trace["fwd/logits"][-1].double().softmax(-1)[target].item()
    w, g = float(f"{weight:.3f}"), float(f"{gradient:.3f}")

    def printed(digits: int) -> float:
        return float(number(weight, digits)) - DESCENT_LR * float(number(gradient, digits))

    digits = fewest_digits(new, printed, (5, 4))
    return Stage(
        title="The same in a language model",
        parts=[
            Paragraph(
                text="A language model has other errors: its [[loss]] is the [[cross-entropy]], -ln"
                " of what it gave to the right word. And it has many weights. But each weight moves"
                " in the same way."
            ),
            Paragraph(
                text=f"The miniature has 8 words and 268 weights. After “{PROMPT}” the right word"
                f" is “{WORD}”. Untrained, it gives it {percent(share)}."
            ),
            Table(
                title="One of its weights",
                header=["what", "number"],
                rows=[
                    ["the weight", number(weight, digits.operands)],
                    ["its gradient", number(gradient, digits.operands)],
                    [f"weight - {DESCENT_LR:g} × gradient", number(new, digits.result)],
                ],
                note=f"the weight from number {row} to “{WORD}”, {SEEN}[{row}, {target}]",
            ),
            Task(
                question=f"Rounded, the weight is {w:g} and its gradient {g:g}; the learning rate"
                f" is {DESCENT_LR:g}. What is the new weight?",
                expected=w - DESCENT_LR * g,
                tolerance=0.0015,
                hint="new weight = old weight - learning rate × gradient",
                worked=[f"{w:g} - {DESCENT_LR:g} × {term(g)} = {w - DESCENT_LR * g:.4g}"],
            ),
            room.look(
                "How backpropagation found this gradient",
                f"bwd/{SEEN}[d_model={row},vocab={target}]",
                prompt=PROMPT,
                model="miniature",
                target=WORD,
            ),
        ],
    )


def _all_weights(room: Classroom) -> Stage:
    state, _, trace = _watched(room)
    words = [state.tokenizer.token(i) for i in range(state.tokenizer.vocab_size)]
    names = (path.removeprefix("bwd/") for path in trace.nodes if path.startswith("bwd/"))
    gradients = {name: trace[f"bwd/{name}"] for name in names if f"weight/{name}" in trace.nodes}
    tables = ("embed.", "pos_embed.")
    inside = sum(g.numel() for name, g in gradients.items() if not name.startswith(tables))
    steps = miniature_steps(room)
    return Stage(
        title="All weights at once",
        parts=[
            Paragraph(
                text="[[backpropagation|Backpropagation]] finds the gradient of every weight in one"
                " way back through the model. Here are those of the last matrix: the column of"
                f" “{WORD}” is pulled one way, all others the other way."
            ),
            Matrix(
                title=f"The gradients of {SEEN}",
                rows=[str(i) for i in range(len(trace[f"bwd/{SEEN}"]))],
                columns=words,
                values=trace[f"bwd/{SEEN}"].tolist(),
                axes=("number", "word"),
                note="a negative gradient means: a larger weight makes a smaller loss",
            ),
            Bars(
                title="How large the gradients are, matrix by matrix",
                labels=[f"{name} ({g.numel()})" for name, g in gradients.items()],
                values=[g.double().norm().item() for g in gradients.values()],
                note="the length of each one's gradients, taken as one vector; in brackets how many"
                f" they are: {inside} in block and head, the rest in the two tables of rows",
            ),
            Paragraph(
                text="[[AdamW]] is the [[optimizer]] that most models are trained with. It divides"
                " each gradient by how large it has been of late, so that every weight moves at"
                " about the same pace."
            ),
            Table(
                title=f"{MINIATURE_STEPS} steps of AdamW",
                header=["after step", "loss", f"share of “{WORD}”"],
                rows=[
                    [str(i), number(step.loss, 4), percent(step.share)]
                    for i, step in enumerate(steps)
                ],
            ),
            Command(
                line=f'glassformer step miniature "{PROMPT}" --target {WORD}',
                shows="one training step with the arithmetic of every part",
            ),
            Command(line="glassformer learn miniature", shows="train it to the end, and ask it"),
        ],
    )


def _whole_text(room: Classroom) -> Stage:
    losses = load_run(room.run).of("loss")
    steps = sorted(losses)
    stride = max(len(steps) // POINTS, 1)
    shown = [*steps[::stride], steps[-1]] if steps[::stride][-1] != steps[-1] else steps[::stride]
    n = room.model.config.vocab_size
    return Stage(
        title="The whole text",
        parts=[
            Paragraph(
                text=f"So did the model of this course learn {room.name}:"
                f" {counted(steps[-1], 'step')},"
                f" and in each a few pieces of it, all {room.parameters:,} weights moved a little."
            ),
            Curve(
                title="The loss while it learned",
                axes=("step", "loss"),
                lines=[
                    Line(
                        name="loss",
                        x=[float(step) for step in shown],
                        y=[float(losses[step]) for step in shown],
                    )
                ],
                note=f"it begins near ln({n}) = {number(torch.tensor(float(n)).log().item(), 3)},"
                f" where all {n} tokens are equally likely",
            ),
            Command(
                line="glassformer biography {course} 'embed.W_E[vocab=0,d_model=0]'",
                shows="the way of one weight through training, and what moved it most",
            ),
        ],
    )
