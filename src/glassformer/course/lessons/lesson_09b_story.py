"""The journey of a sentence in eight acts, each with this prompt's own numbers."""

from __future__ import annotations

import math

from glassformer.course.classroom import Classroom
from glassformer.course.heads import LAYER, strongest_head, tokens_of
from glassformer.course.lesson import (
    Bars,
    Command,
    Guess,
    Heading,
    Lesson,
    Matrix,
    Paragraph,
    Stage,
    Table,
    Task,
)
from glassformer.course.spell import code, listed, percent, quoted, visible
from glassformer.describe import counted
from glassformer.formula.spelling import number

SHOWN = 4  # numbers of a vector
BEST = 5  # tokens that the committee is asked about

HEADING = Heading(
    name="story",
    title="The journey of a sentence",
    question="Who does what in the office of a language model?",
    minutes=6,
)


def lesson(room: Classroom) -> Lesson:
    return HEADING.lesson(
        title=f"The journey of “{room.prompt}”",
        stages=[
            _alice(room),
            _bob(room),
            _charlie(room),
            _diana(room),
            _emma(room),
            _committee(room),
            _calculator(room),
            _out(room),
        ],
        takeaway="Each part has one duty, and none of them understands the sentence. Together they"
        " find the next word.",
    )


def _alice(room: Classroom) -> Stage:
    tokens = tokens_of(room, room.prompt)
    return Stage(
        title="Act 1: Alice at the reception, the tokenizer",
        parts=[
            Paragraph(
                text=f"A text arrives: “{room.prompt}”. Alice is the [[tokenizer]]. She cuts it"
                f" into {counted(len(tokens), 'piece')} and writes each on a card:"
                f" {listed([code(token) for token in tokens])}."
            ),
            _next_word(room),
        ],
    )


def _next_word(room: Classroom) -> Guess:
    ranked = [token for token, _ in room.next_tokens(room.prompt)[:4]]
    chosen = sorted(ranked)
    shares = dict(room.next_tokens(room.prompt))
    return Guess(
        question="Which word will leave the office at the end of the eighth act?",
        choices=[visible(token) for token in chosen],
        answer=chosen.index(ranked[0]),
        reveal=f"{code(ranked[0])}. Follow it through the office.",
        misses=[
            "" if token == ranked[0] else f"That one will get {percent(shares[token])} only."
            for token in chosen
        ],
    )


def _bob(room: Classroom) -> Stage:
    ids = room.tokenizer.encode_prompt(room.prompt)
    tokens = tokens_of(room, room.prompt)
    return Stage(
        title="Act 2: Bob and the catalog, the token IDs",
        parts=[
            Paragraph(
                text=f"Bob has a catalog of {counted(room.tokenizer.vocab_size, 'token')}, the"
                f" [[vocabulary]]. He does not read the words. He writes down their numbers: {ids}."
            ),
            Table(
                title="Bob's list",
                header=["card", "number"],
                rows=[[token, str(i)] for token, i in zip(tokens, ids, strict=True)],
            ),
        ],
    )


def _charlie(room: Classroom) -> Stage:
    trace, tokens = room.watch(room.prompt), tokens_of(room, room.prompt)
    return Stage(
        title="Act 3: Charlie and the drawers, the embeddings",
        parts=[
            Paragraph(
                text="Charlie has a drawer for each number. In it lies a row of"
                f" {counted(room.model.config.d_model, 'number')}, the [[embedding]]. Training put"
                " them there. Tokens that are used alike lie near each other."
            ),
            Matrix(
                title="What Charlie takes out",
                rows=tokens,
                columns=[str(i) for i in range(room.model.config.d_model)],
                values=trace["fwd/embed"].tolist(),
                axes=("token", "number"),
            ),
        ],
    )


def _diana(room: Classroom) -> Stage:
    trace, tokens = room.watch(room.prompt), tokens_of(room, room.prompt)
    start = trace["fwd/resid_start"]
    return Stage(
        title="Act 4: Diana and the queue, the positions",
        parts=[
            Paragraph(
                text="Diana knows who stands where. She adds a row for the place, so that"
                f" {code(tokens[0])} says “I am the first” and {code(tokens[-1])} says “I am number"
                f" {len(tokens)}”."
            ),
            Table(
                title=f"The first {SHOWN} numbers now",
                header=["token", *(str(i) for i in range(SHOWN))],
                rows=[
                    [token, *(number(x, 3) for x in row[:SHOWN])]
                    for token, row in zip(tokens, start.tolist(), strict=True)
                ],
            ),
        ],
    )


def _emma(room: Classroom) -> Stage:
    trace, tokens = room.watch(room.prompt), tokens_of(room, room.prompt)
    config, head = room.model.config, strongest_head(room)
    shares = trace[LAYER + "pattern"][head, -1].tolist()
    best = max(range(len(shares)), key=shares.__getitem__)
    post = trace["fwd/blocks.0.mlp.post"][-1]
    active = int((post > 0).sum())
    return Stage(
        title="Act 5: Emma and the experts, the transformer blocks",
        parts=[
            Paragraph(
                text="Emma is [[attention]]. She decides who listens to whom. For"
                f" {code(tokens[-1])} her plan of head {head} is: {percent(shares[best])} to"
                f" {code(tokens[best])}, and the rest to the others. Nobody may listen to those"
                " further back in the queue."
            ),
            Bars(
                title=f"Emma's plan for “{tokens[-1]}”",
                labels=[f"{token} (place {i})" for i, token in enumerate(tokens)],
                values=shares,
                percent=True,
                marked=best,
            ),
            Paragraph(
                text=f"The experts are the {counted(post.numel(), 'neuron')} of the [[MLP]]. Each"
                " sits alone, looks at one token, and writes a note or next to nothing. For"
                f" {code(tokens[-1])}, {active} of them write something positive."
                + (
                    f" The model has {config.n_layers} such offices, one after the other."
                    if config.n_layers > 1
                    else " Large models have many such offices, one after the other; ours has one."
                )
            ),
        ],
    )


def _committee(room: Classroom) -> Stage:
    logits = room.watch(room.prompt)["fwd/logits"][-1].double()
    ranked = logits.argsort(descending=True).tolist()
    chosen = [*ranked[:BEST], ranked[-1]]
    return Stage(
        title="Act 6: The committee, the logits",
        parts=[
            Paragraph(
                text=f"The committee gives every one of the {counted(len(ranked), 'token')} a"
                " score, the [[logit]]. It may be any number, also a negative one. Why not a"
                " probability at once? Scores are free: training can push each up or down as it"
                " likes. Softmax makes shares of whatever they are."
            ),
            Table(
                title="The committee's list",
                header=["token", "score"],
                rows=[
                    [visible(room.tokenizer.token(i)), number(logits[i].item(), 4)] for i in chosen
                ],
                note=f"the best {BEST} and the last one",
            ),
        ],
    )


def _calculator(room: Classroom) -> Stage:
    ranked = room.next_tokens(room.prompt)[:BEST]
    return Stage(
        title="Act 7: The calculator, softmax",
        parts=[
            Paragraph(
                text="The calculator makes [[probability|probabilities]] of the scores by"
                " [[softmax]]. They add up to 100%."
            ),
            Bars(
                title="The calculator's list",
                labels=[visible(token) for token, _ in ranked],
                values=[p for _, p in ranked],
                percent=True,
                marked=0,
            ),
            _by_hand(room),
        ],
    )


def _by_hand(room: Classroom) -> Task:
    """How much likelier the first is than the second, from their scores."""
    first, second = (round(x, 2) for x in _best_scores(room))
    apart = round(first - second, 2)
    times = math.exp(apart)
    return Task(
        question=f"The two best scores are {first} and {second}. By softmax, the first is e to the"
        f" power of their difference times as likely. How many times is that?",
        expected=times,
        tolerance=0.02 * times,
        hint=f"The difference is {apart}.",
        worked=[f"e^({first} - {second}) = e^{apart} = {times:.4g}"],
    )


def _best_scores(room: Classroom) -> list[float]:
    logits = room.watch(room.prompt)["fwd/logits"][-1].double()
    return logits.sort(descending=True).values[:2].tolist()


def _out(room: Classroom) -> Stage:
    token, share = room.next_tokens(room.prompt)[0]
    longer = room.tokenizer.decode(
        [*room.tokenizer.encode_prompt(room.prompt), room.best_token(room.prompt)]
    )
    said = next((answer for prompt, answer in room.completions if prompt == room.prompt), None)
    text = (
        ""
        if said is None
        else f" The text says {code(said)} too."
        if said.strip() == token.strip()
        else f" The text says {code(said)} here."
    )
    return Stage(
        title="Act 8: The next word goes out",
        parts=[
            Paragraph(
                text=f"The most likely token is {code(token)}, with {percent(share)}.{text} The"
                f" text is now “{longer}”, and the journey begins again with one token more."
            ),
            room.look(
                f"The probability of {code(token)}, with all digits",
                f"fwd/probs[pos={len(tokens_of(room, room.prompt)) - 1},"
                f"vocab={room.best_token(room.prompt)}]",
            ),
            Command(
                line=f"glassformer ask {{course}} {quoted(room.prompt)} --show",
                shows="the whole journey on one screen",
            ),
        ],
    )
