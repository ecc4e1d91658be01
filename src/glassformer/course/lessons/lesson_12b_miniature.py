"""The miniature: 268 weights learn "mat", are kept, are asked, and go on to the full stop."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from typing import NamedTuple

from torch import Tensor

from glassformer.course.asking import guess
from glassformer.course.classroom import Classroom
from glassformer.course.lesson import (
    Bars,
    Command,
    Curve,
    Heading,
    Lesson,
    Line,
    Matrix,
    Paragraph,
    Stage,
    Table,
    Task,
)
from glassformer.course.spell import code, percent
from glassformer.formula.spelling import number
from glassformer.trace import Trace
from glassformer.training.train_state import TrainState, open_train_state
from glassformer.training.watched import zero_moments

PROMPT, WORD = "the cat sat on a", "mat"
SENTENCE = f"{PROMPT} {WORD} ."
STEPS = 20  # on one word: enough to make it likely, not yet certain
MOST = 400  # on the whole sentence
SURE = 0.9  # of every word of the sentence, before training ends
TEMPERATURES = (0.5, 1.0, 2.0)
PARTS = {
    "query": "attn.{}_Q",
    "key": "attn.{}_K",
    "value": "attn.{}_V",
    "output": "attn.{}_O",
    "MLP, up": "mlp.{}_in",
    "MLP, down": "mlp.{}_out",
}


class Sentence(NamedTuple):
    """The miniature after it has learned a sentence, and in how many steps."""

    state: TrainState
    steps: int


HEADING = Heading(
    name="miniature",
    title="The miniature",
    question="Can we see a model learn, with every number in view?",
    minutes=10,
)


def lesson(room: Classroom) -> Lesson:
    state, chances = one_word()
    sentence = whole_sentence()
    return HEADING.lesson(
        stages=[
            _weights(room),
            _guess(room),
            _learns(chances),
            _asked(state),
            _goes_on(state, sentence),
        ],
        takeaway="[[training|Training]] changed 268 numbers a little at a time, until the right"
        " word was likely. Then the numbers stand still: to ask a model changes nothing in it.",
    )


def probs_of(state: TrainState, prompt: str) -> Tensor:
    """The probability [vocab] of each word of coming next, float64."""
    logits: Tensor = state.model.watch(state.tokenizer.encode(prompt))["fwd/logits"]
    return logits.reshape(-1, logits.shape[-1])[-1].double().softmax(-1)


@cache
def one_word() -> tuple[TrainState, list[float]]:
    """The miniature after `STEPS` steps on one word, and the word's probability after each.

    It is the same for every classroom's text.
    """
    state = open_train_state("miniature")
    ids, targets = state.make_targets(PROMPT, WORD)
    right = state.tokenizer.id(WORD)
    chances = []
    for _ in range(STEPS):
        watched, state = state.train_step(ids, targets)
        chances.append(_asked_for(watched.trace, targets)[-1].item())
    return state, [*chances, probs_of(state, PROMPT)[right].item()]


def _asked_for(trace: Trace, targets: Tensor) -> Tensor:
    """The probability [pos] of what is asked at each place, before the step that was watched."""
    probs = trace["fwd/logits"].double().softmax(-1)
    return probs.gather(-1, targets[0].clamp_min(0)[:, None])[:, 0]


@cache
def whole_sentence() -> Sentence:
    """Go on with the whole sentence, until each of its words is likely after those before it."""
    state, _ = one_word()
    ids, targets = state.make_targets(SENTENCE)
    state = replace(state, moments=zero_moments(state.model), done=0)  # as a kept model begins
    for step in range(MOST):
        watched, after = state.train_step(ids, targets)
        if _asked_for(watched.trace, targets).min() > SURE:
            return Sentence(state, step)
        state = after
    return Sentence(state, MOST)


def _weights(room: Classroom) -> Stage:
    weights = room.state("miniature").model.weights()
    sizes = {name: value.shape for name, value in weights.items()}
    rows, total = [], 0
    for part, name in PARTS.items():
        W, b = (sizes[f"blocks.0.{name.format(letter)}"] for letter in "Wb")
        total += W.numel() + b.numel()
        rows.append([part, _times(W), str(b.numel()), str(W.numel() + b.numel())])
    W, b = sizes["unembed.W_U"], sizes["unembed.b_U"]
    total += W.numel() + b.numel()
    rows.append(["head (scores)", _times(W), str(b.numel()), str(W.numel() + b.numel())])
    query = weights["blocks.0.attn.W_Q"]
    beside = sizes["embed.W_E"].numel() + sizes["pos_embed.W_pos"].numel()
    return Stage(
        title="268 numbers",
        parts=[
            Paragraph(
                text="The miniature is a [[transformer]] of one [[block]] that fits on a page. It"
                f" knows {weights['embed.W_E'].shape[0]} words and has {query.shape[-1]} numbers"
                " for each. These are its [[weight|weights]] and [[bias|biases]]."
            ),
            Table(
                title="The learnable weights",
                header=["part", "matrix", "biases", "together"],
                rows=[*rows, ["all", "", "", str(total)]],
                note=f"The embeddings of words and places have {beside} more numbers. They learn"
                " too, and are counted apart.",
            ),
            Task(
                question="The way up in the MLP is a matrix of 4 rows and 16 columns, with 16"
                " biases. How many numbers are that?",
                expected=sizes["blocks.0.mlp.W_in"].numel() + sizes["blocks.0.mlp.b_in"].numel(),
                tolerance=0.3,
                hint="Rows times columns, and the biases.",
                worked=["4 × 16 + 16 = 80"],
            ),
        ],
    )


def _times(shape: tuple[int, ...]) -> str:
    return " × ".join(str(size) for size in shape if size > 1 or len(shape) < 3)


def _bars(state: TrainState, prompt: str, title: str) -> Bars:
    probs = probs_of(state, prompt)
    order = probs.argsort(descending=True, stable=True).tolist()
    return Bars(
        title=title,
        labels=[state.tokenizer.token(i) for i in order],
        values=[probs[i].item() for i in order],
        percent=True,
    )


def _guess(room: Classroom) -> Stage:
    state = room.state("miniature")
    chance = probs_of(state, PROMPT)[state.tokenizer.id(WORD)].item()
    n = state.model.config.vocab_size
    blind = f"about {100 / n:g}%"
    return Stage(
        title="The first guess",
        parts=[
            guess(
                f"The miniature has learned nothing yet. Its weights are random. It reads"
                f" “{PROMPT}”. How likely does it find {code(WORD)}?",
                blind,
                {
                    "0%": "It knows no better, so it can't rule a word out.",
                    "about 50%": f"There are {n} words to choose from, not two.",
                    "about 100%": "It has not seen the sentence yet.",
                },
                f"It gives {code(WORD)} {percent(chance)}. With {n} words, a blind guess has"
                f" 1 / {n} = {100 / n:g}%.",
            ),
            _bars(state, PROMPT, "Before the training"),
            room.look(
                f"Where the chance of {code(WORD)} comes from",
                f"fwd/probs[pos={len(state.tokenizer.encode(PROMPT)) - 1},"
                f"vocab={state.tokenizer.id(WORD)}]",
                prompt=PROMPT,
                model="miniature",
            ),
        ],
    )


def _learns(chances: list[float]) -> Stage:
    half = next((i for i, chance in enumerate(chances) if chance > 0.5), len(chances) - 1)
    return Stage(
        title=f"It learns “{WORD}”",
        parts=[
            Paragraph(
                text="Each [[training step]] does four things. It guesses. It measures the"
                " surprise, the [[loss]]. It finds the [[gradient]] of every weight: would the loss"
                " rise if this weight were a little larger? Then [[AdamW]] moves each weight a"
                " little the other way."
            ),
            Curve(
                title=f"The probability of “{WORD}” after each step",
                axes=("steps", "probability"),
                lines=[Line(name=WORD, x=[float(i) for i in range(len(chances))], y=chances)],
                note=f"At first {percent(chances[0])}, above one half after {half} steps, and"
                f" {percent(chances[-1])} after {len(chances) - 1}.",
            ),
            Command(
                line=f'glassformer step miniature "{PROMPT}" --target {WORD} --steps {STEPS}'
                " --out runs/miniature",
                shows="the same steps; the model is kept in runs/miniature",
            ),
        ],
    )


def _asked(state: TrainState) -> Stage:
    logits = state.model.watch(state.tokenizer.encode(PROMPT))["fwd/logits"][-1].double()
    columns = {t: (logits / t).softmax(-1) for t in TEMPERATURES}
    order = logits.argsort(descending=True, stable=True).tolist()
    best, second = order[:2]
    token = state.tokenizer.token
    ratio = number((columns[1.0][best] / columns[1.0][second]).item(), 3)
    squared = float(ratio) ** 2
    return Stage(
        title="Ask it",
        parts=[
            Paragraph(
                text="When a model is asked, its weights are frozen. The prompt goes through them"
                " once, one way. Out come eight scores, the [[logit|logits]], and [[softmax]] makes"
                " shares of them. One can take the most likely word. Or one draws a word, and turns"
                " the [[temperature]]: every score is divided by it first."
            ),
            Matrix(
                title=f"After “{PROMPT}”, at three temperatures",
                rows=[token(i) for i in order],
                columns=[f"{t:g}" for t in TEMPERATURES],
                values=[[columns[t][i].item() for t in TEMPERATURES] for i in order],
                axes=("word", "temperature"),
                note="A low temperature makes the likely words more likely still. A high one gives"
                " the others a chance.",
            ),
            Task(
                question=f"At temperature 1, {code(token(best))} is {ratio} times as likely as"
                f" {code(token(second))}. At temperature 0.5 this ratio is squared. What is it?",
                expected=squared,
                tolerance=0.01 * squared,
                hint="Squared: times itself.",
                worked=[f"{ratio} × {ratio} = {number(squared)}"],
            ),
            Command(
                line=f'glassformer ask runs/miniature "{PROMPT}" --max-tokens 1 --temperature 0.5',
                shows="ask the model that was kept",
            ),
        ],
    )


def _goes_on(state: TrainState, sentence: Sentence) -> Stage:
    longer = f"{PROMPT} {WORD}"
    token = state.tokenizer.token
    before = probs_of(state, longer)
    words = SENTENCE.split()
    rows = []
    for n in range(1, len(words)):
        chance = probs_of(sentence.state, " ".join(words[:n]))[state.tokenizer.id(words[n])].item()
        rows.append([" ".join(words[:n]), words[n], percent(chance)])
    first = int(before.argmax())
    return Stage(
        title="Go on to the full stop",
        parts=[
            Paragraph(
                text=f"The new word joins the prompt, and the longer text is read again:"
                f" “{longer}”. What comes next? It has learned one word only. So here it says"
                f" {code(token(first))}, with {percent(before[first].item())}."
            ),
            Paragraph(
                text=f"We go on training, now with the whole sentence. Every word is asked after"
                f" those before it. After {sentence.steps} more steps each has more than"
                f" {percent(SURE)}."
            ),
            Table(
                title="The whole sentence, learned",
                header=["it reads", "next", "probability"],
                rows=rows,
            ),
            Command(
                line=f'glassformer step runs/miniature "{SENTENCE}" --steps {sentence.steps}'
                f" --lr {state.next_lr:g} --out runs/sentence",
                shows="the whole sentence is learned, and the model is kept in runs/sentence",
            ),
        ],
    )
