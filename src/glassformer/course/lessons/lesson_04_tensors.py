"""Tensors: what numbers look like in a model, and what is in memory."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from glassformer.course.asking import guess
from glassformer.course.classroom import Classroom
from glassformer.course.lesson import (
    Command,
    Heading,
    Lesson,
    Matrix,
    Paragraph,
    Stage,
    Table,
    Task,
)
from glassformer.course.spell import code, visible
from glassformer.describe import counted
from glassformer.formula.spelling import number

SHOWN = 6  # numbers of a buffer
TEXTS = 3  # blocks, as a batch
COLUMN = 3  # of the embedding table, for the task


class Named(NamedTuple):
    """A tensor of the model and what it is."""

    name: str
    what: str
    axes: str
    tensor: Tensor


HEADING = Heading(
    name="4",
    title="Tensors",
    question="What do all these numbers look like in a computer?",
    minutes=9,
)


def lesson(room: Classroom) -> Lesson:
    return HEADING.lesson(
        stages=[_dimensions(room), _objects(room), _strides(room), _gpu(room)],
        takeaway="A [[tensor]] is one long row of numbers in memory, and a description: [[shape]],"
        " [[stride|strides]], [[data type]] and [[device]]. Change the description, and the same"
        " numbers become another table.",
    )


def tensors(room: Classroom) -> list[Named]:
    """Tensors of this model of no to four dimensions."""
    blocks = room.data.batch(0, TEXTS).ids
    pattern = room.model.watch(blocks, keep="blocks.0.attn.pattern")["fwd/blocks.0.attn.pattern"]
    weights = dict(room.model.weights())
    return [
        Named("one bias", "a number", "", weights["blocks.0.mlp.b_in"][0]),
        Named("the prompt's token IDs", "a list", "place", room.watch(room.prompt)["token/ids"]),
        Named(f"{TEXTS} blocks of token IDs", "a matrix", "block, place", blocks),
        Named("the query weights W_Q", "a cube", "head, in, out", weights["blocks.0.attn.W_Q"]),
        Named(
            "the attention of those blocks", "four directions", "block, head, query, key", pattern
        ),
    ]


def _dimensions(room: Classroom) -> Stage:
    named = tensors(room)
    cube = named[3].tensor
    total = cube.numel()
    return Stage(
        title="From a number to a cube",
        parts=[
            Paragraph(
                text="A number is a point. A list is a line of numbers. A [[matrix]] has rows and"
                " columns. A cube is several matrices, one behind the other. The common name for"
                " all of them is [[tensor]]. Everything in a model is one: its data, its weights,"
                " its results, its gradients. These five are in our model now:"
            ),
            Table(
                title="Tensors of this model",
                header=["tensor", "it is", "directions", "shape", "numbers"],
                rows=[
                    [
                        one.name,
                        one.what,
                        f"{one.tensor.ndim}{': ' if one.axes else ''}{one.axes}",
                        _tuple(one.tensor.shape),
                        f"{one.tensor.numel():,}",
                    ]
                    for one in named
                ],
            ),
            Task(
                question=f"W_Q has the [[shape]] {_tuple(cube.shape)}. How many numbers are in it?",
                expected=total,
                tolerance=0.3,
                hint="Multiply the sizes.",
                worked=[f"{' × '.join(map(str, cube.shape))} = {total:,}"],
            ),
        ],
    )


def _tuple(sizes: tuple[int, ...]) -> str:
    return f"({', '.join(map(str, sizes))})"


def _objects(room: Classroom) -> Stage:
    table = dict(room.model.weights())["embed.W_E"]
    trace = room.watch(room.prompt)
    ids, q = trace["token/ids"], trace["fwd/blocks.0.attn.q"]
    weights = room.model.embed.W_E
    rows, width = table.shape
    numbers = table.detach().reshape(-1)[:SHOWN].tolist()
    return Stage(
        title="What is really in memory",
        parts=[
            guess(
                f"W_E has {counted(rows, 'row')} of {counted(width, 'number')}. How does it stand"
                " in memory?",
                "as one long row of numbers",
                {
                    "as a table with lines": "Memory has no lines. It is one row of cells, each"
                    " with a number of its own.",
                    "each row in a place of its own": "That is possible, but slow. Here one row"
                    " follows right after the other.",
                },
                f"All {counted(rows * width, 'number')} stand one after the other. This row is the"
                f" [[buffer]]. It begins: {', '.join(map(number, numbers))} …",
            ),
            Paragraph(
                text="A tensor is like a car. The buffer is the engine: raw numbers in a row. The"
                " rest of the car says how to use it. The shape is the chassis. The strides steer."
                " The data type is the fuel. The device says where it drives. Flags are the lamps"
                " on the dashboard."
            ),
            Table(
                title="Three tensors, with all that belongs to them",
                header=["", "W_E", "token IDs", "queries"],
                rows=[
                    ["[[shape]]", *(_tuple(t.shape) for t in (table, ids, q))],
                    ["[[stride|strides]]", *(_tuple(t.stride()) for t in (table, ids, q))],
                    ["[[data type]]", *(_dtype(t) for t in (table, ids, q))],
                    ["bytes for a number", *(str(t.element_size()) for t in (table, ids, q))],
                    ["[[device]]", *(str(t.device) for t in (table, ids, q))],
                    ["flag: needs a gradient", *(_yes(t.requires_grad) for t in (weights, ids, q))],
                    ["flag: contiguous", *(_yes(t.is_contiguous()) for t in (table, ids, q))],
                    ["numbers in its buffer", *(_buffer(t) for t in (table, ids, q))],
                ],
                note="Contiguous: the numbers stand in memory in the order in which one reads them."
                " A weight needs a gradient, for training changes it. Where in memory a buffer"
                " begins is its address; it is another one each time.",
            ),
            Command(line="glassformer params {course}", shows="every weight with its shape"),
        ],
    )


def _dtype(tensor: Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")


def _yes(flag: bool) -> str:
    return "yes" if flag else "no"


def _buffer(tensor: Tensor) -> str:
    return f"{tensor.untyped_storage().nbytes() // tensor.element_size():,}"


def _strides(room: Classroom) -> Stage:
    table = dict(room.model.weights())["embed.W_E"].detach()
    small = table[:2, :3].contiguous()
    transposed = torch.as_strided(small, (3, 2), (1, 3))
    ids = room.tokenizer.encode_prompt(room.prompt)
    token = ids[-1]
    name = visible(room.tokenizer.token(token))
    stride = table.stride()[0]
    offset = token * stride + COLUMN * table.stride()[1]
    flat = ", ".join(map(number, small.reshape(-1).tolist()))
    return Stage(
        title="Strides, and a transpose for nothing",
        parts=[
            Paragraph(
                text="How does the computer find row 1, column 2 in one long row? By the"
                " [[stride|strides]]. A stride says how many cells one has to go on: to the next"
                " row, and to the next column. We take 2 rows and 3 columns of W_E. In memory they"
                f" are: {flat}."
            ),
            _matrix("Shape (2, 3), strides (3, 1)", small),
            Paragraph(
                text="Now we change only the description: shape (3, 2), strides (1, 3). No number"
                " moves in memory. But rows and columns have changed places. This is the"
                " [[transpose]]."
            ),
            _matrix("Shape (3, 2), strides (1, 3): the same six cells", transposed),
            Task(
                question=f"In W_E the strides are ({stride}, 1). {code(name)} is row {token}. At"
                f" which place in the buffer, counted from 0, is its number {COLUMN}?",
                expected=offset,
                tolerance=0.3,
                hint="row x stride of the rows + column x 1",
                worked=[
                    f"{token} × {stride} + {COLUMN} × 1 = {offset:,}",
                    f"There stands {number(table.reshape(-1)[offset].item())}.",
                ],
            ),
            room.look(
                f"The number at this place, and what reads it: {name}",
                f"fwd/embed[pos={len(ids) - 1},d_model={COLUMN}]",
            ),
        ],
    )


def _matrix(title: str, tensor: Tensor) -> Matrix:
    rows, columns = tensor.shape
    return Matrix(
        title=title,
        rows=[str(i) for i in range(rows)],
        columns=[str(i) for i in range(columns)],
        values=tensor.tolist(),
        axes=("row", "column"),
    )


def _gpu(room: Classroom) -> Stage:
    config = room.model.config
    n = len(room.tokenizer.encode_prompt(room.prompt))
    sums = n * config.vocab_size
    device = room.watch(room.prompt)["fwd/logits"].device
    return Stage(
        title="What a graphics card gets",
        parts=[
            Paragraph(
                text="A graphics card (GPU) knows no matrix and no cube. It gets three things:"
                " where the buffer begins, the shape, and the strides. With these, thousands of"
                " small processors each work out which cells are theirs. All of them compute at"
                " once."
            ),
            Paragraph(
                text=f"For our prompt the last step alone makes {n} × {config.vocab_size} ="
                f" {sums:,} scores. No score needs another one. So each could have a processor of"
                f" its own. This course computes on the device `{device}`. A GPU would get the same"
                " buffers and give the same numbers, but for rounding."
            ),
        ],
    )
