"""Attention: queries, keys, values, scores, scale, mask, softmax, mix, heads, W_O."""

from __future__ import annotations

import math

import torch

from glassformer.course.classroom import Classroom
from glassformer.course.heads import LAYER, strongest_head, tokens_of
from glassformer.course.lesson import (
    AnyPart,
    Bars,
    Command,
    Guess,
    Heading,
    Lesson,
    Matrix,
    Model,
    Paragraph,
    Stage,
    Table,
    Task,
)
from glassformer.course.spell import code, percent, quoted, rounded, term
from glassformer.describe import counted
from glassformer.formula.spelling import number

BY_HAND = 4  # numbers of a query that a person multiplies without losing patience

HEADING = Heading(
    name="9",
    title="Attention",
    question="How does a token learn from the others?",
    minutes=10,
)


def lesson(room: Classroom) -> Lesson:
    return HEADING.lesson(
        stages=[
            _guess(room),
            _three_lists(room),
            _scores(room),
            _mask(room),
            _softmax(room),
            _mix(room),
            _heads(room),
        ],
        takeaway="A token asks with its [[query]]. Every earlier token answers with its [[key]]."
        " The better they fit, the more of its [[value]] is copied. A [[head]] does this once; a"
        " block has several, side by side.",
    )


def _guess(room: Classroom) -> Stage:
    tokens = tokens_of(room, room.prompt)
    head = strongest_head(room)
    shares = room.watch(room.prompt)[LAYER + "pattern"][head, -1].tolist()
    # a token may stand twice in a prompt: its place tells which
    names = [f"{token} (place {i})" for i, token in enumerate(tokens)]
    order = sorted(range(len(shares)), key=lambda i: -shares[i])[:4]
    chosen = sorted(order)
    best = chosen.index(order[0])
    return Stage(
        title="Guess first",
        parts=[
            Paragraph(
                text="[[attention|Attention]] is the heart of a [[transformer]]. Each token looks"
                " at itself and at the tokens before it, and takes something from each. It has 100%"
                " of attention to give away."
            ),
            Guess(
                question=f"“{room.prompt}”: which token does the last one look at most, in head"
                f" {head}?",
                choices=[names[i] for i in chosen],
                answer=best,
                reveal=f"It gives {percent(shares[order[0]])} to {names[order[0]]}.",
                misses=[
                    "" if i == best else f"It gives that one {percent(shares[choice])}."
                    for i, choice in enumerate(chosen)
                ],
            ),
            Bars(
                title=f"What “{tokens[-1]}” looks at",
                labels=names,
                values=shares,
                percent=True,
                marked=order[0],
            ),
            Paragraph(
                text="People do it too. In “The cat sat on the mat that was red”, the word “that”"
                " sends you back to “mat”. Nobody told the head what to look at. Training found it,"
                " because it made the right next token more likely. How it works takes six small"
                " steps."
            ),
        ],
    )


def _three_lists(room: Classroom) -> Stage:
    head = strongest_head(room)
    trace, tokens = room.watch(room.prompt), tokens_of(room, room.prompt)
    d_head = room.model.config.d_head
    pictures: list[AnyPart] = [
        Matrix(
            title=title,
            rows=tokens,
            columns=[str(i) for i in range(d_head)],
            values=trace[LAYER + name][:, head].tolist(),
            axes=("token", "number"),
        )
        for name, title in (("q", "Queries"), ("k", "Keys"), ("v", "Values"))
    ]
    return Stage(
        title="Three lists for each token",
        parts=[
            Paragraph(
                text="From each token's [[vector]] the head makes three lists of"
                f" {counted(d_head, 'number')}, by three matrices that were found by training: a"
                " [[query]] (what am I looking for?), a [[key]] (what do I have?) and a [[value]]"
                " (what do I hand on?)."
            ),
            *pictures,
            room.look(
                "Where a number of a query comes from", f"{LAYER}q[pos=0,head={head},d_head=0]"
            ),
        ],
    )


def _dot_product(room: Classroom) -> Task:
    """One score by hand: the course's model where its queries are short, else the worked"
    " example."""
    model: Model = "course" if room.model.config.d_head <= BY_HAND else "worked_example"
    prompt = room.prompt if model == "course" else "the cat sat on"
    head = strongest_head(room) if model == "course" else 0
    trace = room.watch(prompt, model)
    config = room.state(model).model.config
    each = (-1, config.n_heads, config.d_head)  # of one head alone, a trace has no such axis
    q, k = (
        trace[LAYER + name].reshape(each)[at, head].tolist() for name, at in (("q", 1), ("k", 0))
    )
    a, b = ([rounded(x, 1) for x in row] for row in (q, k))
    terms = " + ".join(f"{term(x)} × {term(y)}" for x, y in zip(a, b, strict=True))
    total = sum(x * y for x, y in zip(a, b, strict=True))
    tokenizer = room.state(model).tokenizer
    names = [tokenizer.token(i) for i in tokenizer.encode(prompt)]
    whose = "" if model == "course" else " (in the worked example, whose queries are short)"
    return Task(
        question=f"Rounded, the query of {code(names[1])} is {a} and the key of {code(names[0])} is"
        f" {b}{whose}. What is their dot product?",
        expected=round(total, 4),
        tolerance=0.02 + 0.01 * abs(total),
        hint="Multiply first by first, second by second, and so on; then add.",
        worked=[f"{terms} = {total:.6g}"],
    )


def _scores(room: Classroom) -> Stage:
    head = strongest_head(room)
    trace, tokens = room.watch(room.prompt), tokens_of(room, room.prompt)
    d_head = room.model.config.d_head
    raw = trace[LAYER + "scores_raw"][head]
    return Stage(
        title="Scores, and their scale",
        parts=[
            Paragraph(
                text="How well does a query fit a key? Multiply them number by number and add: the"
                " [[dot product]]. It is large where both point the same way, and negative where"
                " they point against each other."
            ),
            Matrix(
                title="Scores: each row asks, each column answers",
                rows=tokens,
                columns=tokens,
                values=raw.tolist(),
                axes=("query of", "key of"),
            ),
            _dot_product(room),
            Paragraph(
                text=f"A sum of many products is larger than a sum of few. So each score is divided"
                f" by the square root of their number, √{d_head} = {number(math.sqrt(d_head), 4)}."
                " This is [[scaling]]."
            ),
            room.look("One score with all digits", f"{LAYER}scores_raw[head={head},query=1,key=0]"),
            room.look("The same, scaled", f"{LAYER}scores_scaled[head={head},query=1,key=0]"),
        ],
    )


def _mask(room: Classroom) -> Stage:
    tokens = tokens_of(room, room.prompt)
    allowed = torch.ones(len(tokens), len(tokens)).tril()
    n = len(tokens)
    return Stage(
        title="The mask: no looking ahead",
        parts=[
            Paragraph(
                text="A model that is to guess the next token must not see it. The [[causal mask]]"
                " has a 1 where a token may look and a 0 where it may not. Where it has a 0, the"
                " score becomes minus infinity."
            ),
            Matrix(
                title="Who may look at whom",
                rows=tokens,
                columns=tokens,
                values=allowed.tolist(),
                axes=("query of", "key of"),
                note="the triangle: each token sees itself and what stands before it",
            ),
            Task(
                question=f"With {n} tokens, how many 1s does the mask have?",
                expected=float(n * (n + 1) // 2),
                tolerance=0.0,
                hint="The first row has one, the second two, and so on.",
                worked=[" + ".join(str(i) for i in range(1, n + 1)) + f" = {n * (n + 1) // 2}"],
            ),
        ],
    )


def _softmax(room: Classroom) -> Stage:
    head = strongest_head(room)
    trace, tokens = room.watch(room.prompt), tokens_of(room, room.prompt)
    scores = trace[LAYER + "attn_scores"][head, 1, :2].tolist()
    a, b = (rounded(x, 2) for x in scores)
    powers = [number(math.exp(x), 4) for x in (a, b)]
    share = float(powers[0]) / sum(map(float, powers))
    return Stage(
        title="Softmax: scores become shares",
        parts=[
            Paragraph(
                text="[[softmax|Softmax]] raises e = 2.718… to each score and divides by the sum of"
                " all. The results lie between 0 and 1, and each row adds up to 1. Minus infinity"
                " becomes exactly 0."
            ),
            Table(
                title=f"The row of “{tokens[1]}”",
                header=["looks at", "score", "e^score", "share"],
                rows=[
                    [tokens[i], f"{x:z.2f}", powers[i], percent(p)]
                    for i, (x, p) in enumerate(((a, share), (b, 1 - share)))
                ],
                note="computed from scores of two decimals; the next picture has them all",
            ),
            Task(
                question=f"The two scores are {a:.2f} and {b:.2f}. What share does the first get?",
                expected=share,
                tolerance=0.006,
                hint=f"e^{a:.2f} divided by (e^{a:.2f} + e^{b:.2f}).",
                worked=[
                    f"e^{a:.2f} = {powers[0]}, e^{b:.2f} = {powers[1]}",
                    f"{powers[0]} / ({powers[0]} + {powers[1]}) = {number(share, 3)}",
                ],
            ),
            Matrix(
                title="Attention weights",
                rows=tokens,
                columns=tokens,
                values=trace[LAYER + "pattern"][head].tolist(),
                axes=("query of", "key of"),
            ),
            room.look("One share with all digits", f"{LAYER}pattern[head={head},query=1,key=0]"),
        ],
    )


def _mix(room: Classroom) -> Stage:
    head = strongest_head(room)
    trace, tokens = room.watch(room.prompt), tokens_of(room, room.prompt)
    pattern, v = (trace[LAYER + name] for name in ("pattern", "v"))
    p = [round(x, 2) for x in pattern[head, 1, :2].tolist()]
    values = [rounded(x, 2) for x in v[:2, head, 0].tolist()]
    mixed = p[0] * values[0] + p[1] * values[1]
    return Stage(
        title="The mix",
        parts=[
            Paragraph(
                text="Now each token's [[value]] is taken times its share, and all are added. What"
                " a token gets is a mix of the values it looked at."
            ),
            Task(
                question=f"“{tokens[1]}” gives {p[0]} to “{tokens[0]}” and {p[1]} to itself. The"
                f" first number of their values is {values[0]} and {values[1]}. What is the mix?",
                expected=mixed,
                tolerance=0.011,
                worked=[f"{p[0]} × {term(values[0])} + {p[1]} × {term(values[1])} = {mixed:.6g}"],
            ),
            Matrix(
                title="What each token gets from this head",
                rows=tokens,
                columns=[str(i) for i in range(room.model.config.d_head)],
                values=trace[LAYER + "z"][:, head].tolist(),
                axes=("token", "number"),
            ),
            Paragraph(
                text="All six steps fit into one line, the most famous of the paper of 2017:"
                " `Attention(Q, K, V) = softmax(Q Kᵀ / √d) V`. It compares all tokens at once, it"
                " reaches back as far as the context, and one can look at its shares."
            ),
            room.look("One number of it with all digits", f"{LAYER}z[pos=1,head={head},d_head=0]"),
        ],
    )


def _heads(room: Classroom) -> Stage:
    config = room.model.config
    trace, tokens = room.watch(room.prompt), tokens_of(room, room.prompt)
    pattern = trace[LAYER + "pattern"][:, -1]
    rows = []
    for head in range(config.n_heads):
        best = int(pattern[head].argmax())
        rows.append([f"head {head}", tokens[best], percent(pattern[head, best].item())])
    width = config.n_heads * config.d_head
    return Stage(
        title="Several heads, put together",
        parts=[
            Paragraph(
                text=f"Block 0 has {counted(config.n_heads, 'head')}, each with matrices of its"
                " own, each looking in its own way. This is [[multi-head attention]]."
            ),
            Table(
                title=f"What “{tokens[-1]}” looks at most",
                header=["head", "token", "share"],
                rows=rows,
                note="no head was given a duty; what each does was found by training",
            ),
            Paragraph(
                text=f"The mixes are put next to each other: {config.n_heads} × {config.d_head} ="
                f" {counted(width, 'number')} for each token. One more matrix, W_O, brings them"
                f" back to the {counted(config.d_model, 'number')} of the [[residual stream]]."
            ),
            Matrix(
                title=f"The heads' mixes of “{tokens[-1]}”, side by side",
                rows=[tokens[-1]],
                columns=[f"{h}.{i}" for h in range(config.n_heads) for i in range(config.d_head)],
                values=[trace[LAYER + "z"][-1].flatten().tolist()],
                axes=("token", "head.number"),
            ),
            room.look(
                "The first number that attention adds to the stream",
                f"{LAYER}attn_out[pos={len(tokens) - 1},d_model=0]",
            ),
            Command(
                line=f"glassformer plot {{course}} {quoted(room.prompt)}",
                shows="pictures of every head, of the next token and of the embeddings",
            ),
        ],
    )
