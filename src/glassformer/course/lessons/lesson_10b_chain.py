"""The worked example beside a printed one: stage by stage, and the one vector that does not"
" follow."""

from __future__ import annotations

import torch

from glassformer.course.classroom import Classroom
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
from glassformer.course.spell import percent
from glassformer.formula.spelling import number

PROMPT, WORD = "the cat sat on", "mat"
ATTN, MLP = "fwd/blocks.0.attn.", "fwd/blocks.0.mlp."

PRINTED = {  # what the example prints for the last word, `on`
    "x": (-0.20, 0.30, 0.50, 0.10),
    "attention adds": (0.14, 0.19, 0.22, 0.24),
    "after attention": (-0.06, 0.49, 0.72, 0.34),
    "MLP adds": (0.04, 0.17, 0.09, -0.04),
    "after the MLP": (-0.02, 0.66, 0.81, 0.30),
}
ROUNDED = 0.0051  # two printed decimals, and a little for the rounding of a half

HEADING = Heading(
    name="chain",
    title="A printed example, checked",
    question="Do the numbers of a textbook follow from each other?",
    minutes=7,
)


def lesson(room: Classroom) -> Lesson:
    return HEADING.lesson(
        stages=[_matrices(room), _beside(room), _continued(room)],
        takeaway="A number that can be computed again can be checked. In this printed example one"
        " vector does not follow from the matrices beside it; everything after it follows from it.",
    )


def _on(room: Classroom, name: str) -> list[float]:
    """The vector of the last word in this model."""
    return room.watch(PROMPT, "worked_example")[name][-1].flatten().tolist()


def _matrices(room: Classroom) -> Stage:
    trace = room.watch(PROMPT, "worked_example")
    state = room.state("worked_example")
    words = [state.tokenizer.token(i) for i in range(6)]
    weights = [
        Matrix(
            title=title,
            rows=[str(i) for i in range(4)],
            columns=[str(i) for i in range(4)],
            values=trace[f"weight/blocks.0.{name}"].reshape(4, 4).tolist(),
            axes=("in", "out"),
        )
        for name, title in (
            ("attn.W_Q", "W_Q"),
            ("attn.W_K", "W_K"),
            ("attn.W_V", "W_V"),
            ("attn.W_O", "W_O"),
            ("mlp.W_in", "W_1"),
            ("mlp.W_out", "W_2"),
        )
    ]
    return Stage(
        title="Six words, six matrices",
        parts=[
            Paragraph(
                text="A model small enough for a pencil: six words, four numbers each, one"
                " [[block]] with one [[head]]. Its [[weight|weights]] were chosen by hand. It reads"
                " “the cat sat on”; its author wants “mat”."
            ),
            _which(room),
            Matrix(
                title="The row of each word",
                rows=words,
                columns=[str(i) for i in range(4)],
                values=trace["weight/embed.W_E"].tolist(),
                axes=("word", "number"),
            ),
            Matrix(
                title="The row of each place",
                rows=[str(i) for i in range(4)],
                columns=[str(i) for i in range(4)],
                values=trace["weight/pos_embed.W_pos"].tolist(),
                axes=("place", "number"),
            ),
            *weights,
        ],
    )


def computed_stages(room: Classroom) -> dict[str, list[float]]:
    """What the matrices give for the last word, under the names of PRINTED."""
    return {
        "x": _on(room, "fwd/resid_start"),
        "attention adds": _on(room, ATTN + "attn_out"),
        "after attention": _on(room, "fwd/blocks.0.resid_mid"),
        "MLP adds": _on(room, MLP + "mlp_out"),
        "after the MLP": _on(room, "fwd/blocks.0.resid_post"),
    }


def first_that_differs(room: Classroom) -> str:
    """The first stage whose printed vector is not what the matrices give."""
    computed = computed_stages(room)
    return next(name for name, printed in PRINTED.items() if not follows(printed, computed[name]))


def _which(room: Classroom) -> Guess:
    names = [*PRINTED]
    first = first_that_differs(room)
    return Guess(
        question="The example was published with five vectors for its last word. Which is the first"
        " that does not follow from the matrices?",
        choices=names,
        answer=names.index(first),
        reveal=f"“{first}”. The next stage shows both.",
        misses=[
            ""
            if name == first
            else "That one follows."
            if names.index(name) < names.index(first)
            else "That one differs too, but only because it goes on from an earlier one."
            for name in names
        ],
    )


def _beside(room: Classroom) -> Stage:
    computed = computed_stages(room)
    rows = []
    for name, printed in PRINTED.items():
        same = follows(printed, computed[name])
        rows.append(
            [
                name,
                "  ".join(f"{x:z.2f}" for x in printed),
                "  ".join(f"{x:z.2f}" for x in computed[name]),
                "agrees" if same else "differs",
            ]
        )
    first = first_that_differs(room)
    return Stage(
        title="Printed and computed",
        parts=[
            Paragraph(
                text="This example was published with its results for the last word, `on`. Here"
                " they stand beside what the matrices give."
            ),
            Table(
                title="The vector of `on`, stage by stage",
                header=["stage", "printed", "computed", ""],
                rows=rows,
            ),
            Paragraph(
                text=f"The first that differs is “{first}”. No rounding makes the printed one of"
                " the matrices. All later ones differ because they go on from it."
            ),
            Task(
                question="The first number that attention adds: is it the printed"
                f" {PRINTED['attention adds'][0]}? Give the computed one, to two decimals.",
                expected=round(computed["attention adds"][0], 2),
                tolerance=0.011,
                hint="Follow it to its operands: the link below, or the table above.",
                worked=[f"attn_out[0] of `on` is {number(computed['attention adds'][0], 4)}"],
            ),
            room.look(
                "The vector in question, with its arithmetic",
                f"{ATTN}attn_out[pos=3,d_model=0]",
                prompt=PROMPT,
                model="worked_example",
            ),
            Command(
                line=f'glassformer explain worked_example "{PROMPT}"'
                " 'blocks.0.attn.attn_out[pos=3,d_model=0]' --follow",
                shows="the vector in question, down to the weights",
            ),
        ],
    )


def follows(printed: tuple[float, ...], computed: list[float]) -> bool:
    """Whether every printed number is the computed one, rounded to two decimals."""
    return all(abs(a - b) <= ROUNDED for a, b in zip(printed, computed, strict=True))


def continued(room: Classroom) -> dict[str, list[float]]:
    """The chain from the printed vector on, with the example's own matrices."""
    edit = {
        f"{ATTN}attn_out[batch=0,pos=3]": torch.tensor(PRINTED["attention adds"]),
    }
    state = room.state("worked_example")
    trace = state.model.watch(state.tokenizer.encode(PROMPT), edit=edit)
    return {
        "after attention": trace["fwd/blocks.0.resid_mid"][-1].tolist(),
        "MLP adds": trace[MLP + "mlp_out"][-1].tolist(),
        "after the MLP": trace["fwd/blocks.0.resid_post"][-1].tolist(),
        "probs": trace["fwd/probs"][-1].tolist(),
    }


def _continued(room: Classroom) -> Stage:
    chain = continued(room)
    rows = [
        [
            name,
            "  ".join(f"{x:z.2f}" for x in PRINTED[name]),
            "  ".join(f"{x:z.2f}" for x in chain[name]),
            "agrees" if follows(PRINTED[name], chain[name]) else "differs",
        ]
        for name in ("after attention", "MLP adds", "after the MLP")
    ]
    state = room.state("worked_example")
    words = [state.tokenizer.token(i) for i in range(6)]
    best = max(range(6), key=chain["probs"].__getitem__)
    target = words.index(WORD)
    return Stage(
        title="Going on from the printed vector",
        parts=[
            Paragraph(
                text="Put the printed vector in the place of the computed one, and let the same"
                " matrices go on from there."
            ),
            Table(
                title="The chain, continued",
                header=["stage", "printed", "computed from the printed vector", ""],
                rows=rows,
            ),
            Bars(
                title="What comes next, then",
                labels=words,
                values=chain["probs"],
                percent=True,
                marked=best,
            ),
            Paragraph(
                text=f"The model says {words[best]} with {percent(chain['probs'][best])};"
                f" {WORD} has {percent(chain['probs'][target])}. Its weights were made up, not"
                " trained. Training would move them until it says “mat”."
            ),
        ],
    )
