"""Blocks: how a text is cut for training, and what a longer context costs."""

from __future__ import annotations

from glassformer.course.asking import guess
from glassformer.course.classroom import Classroom
from glassformer.course.lesson import Command, Heading, Lesson, Paragraph, Stage, Table, Task
from glassformer.course.spell import visible
from glassformer.describe import counted
from glassformer.model import load_preset
from glassformer.ops import IGNORED
from glassformer.text.words import words_of

SIZE = 3  # words in a block of the first example
BLOCKS = 6  # of the text, as that example shows them
ROWS = 3  # blocks of the model's own, as a table
LARGE = ("gpt2", "gpt3")
BYTES = 4  # of a number in float32

HEADING = Heading(
    name="3",
    title="Blocks",
    question="How much does a model read at once?",
    minutes=6,
)


def lesson(room: Classroom) -> Lesson:
    return HEADING.lesson(
        stages=[_words(room), _blocks(room), _cost(room)],
        takeaway="A model learns from [[block of text|blocks]]: pieces of the text, as long as its"
        " [[context]]. A longer context sees more, and its attention costs more: twice the length"
        " is about four times the work.",
    )


def _words(room: Classroom) -> Stage:
    """Blocks of words, or of characters where no spaces stand between words."""
    noun, glue, words = "word", " ", words_of(room.beginning)
    if room.tokenizer.kind == "chars":
        noun, glue, words = "character", "", [*"".join(words)]
    full, rest = divmod(len(words), SIZE)
    n = full + (rest > 0)
    blocks = [words[i : i + SIZE] for i in range(0, len(words), SIZE)]
    what = "The story" if room.is_story else "The text"
    return Stage(
        title="Small pieces",
        parts=[
            Paragraph(
                text="Nobody learns a whole book at once, and no model does. It learns from small"
                " pieces of the text, one after the other. Such a piece is a [[block of text]]."
            ),
            guess(
                f"{what} has {counted(len(words), noun)}. We cut it into blocks of {SIZE} {noun}s."
                " How many blocks are there?",
                f"{n:,}",
                {
                    f"{len(words):,}": f"That would be so with one {noun} in each block.",
                    f"{len(words) * SIZE:,}": "Divide; don't multiply.",
                    f"{n + 2:,}": f"{len(words):,} divided by {SIZE} is less.",
                },
                f"{counted(len(words), noun)} give {counted(full, 'block')} of {SIZE}"
                + (f", and a last one of {counted(rest, noun)}." if rest else "."),
            ),
            Table(
                title=f"Blocks of {SIZE} {noun}s",
                header=["block", f"{noun}s"],
                rows=[[str(i + 1), glue.join(block)] for i, block in enumerate(blocks[:BLOCKS])],
                note=f"{noun.capitalize()}s make this easy to read. A real block is counted in"
                " tokens.",
            ),
        ],
    )


def first_blocks(room: Classroom) -> list[list[int]]:
    """The longest blocks of the first step, without what fills up one at the text's end."""
    batch = room.data.batch(0, room.state().recipe.batch_size)
    blocks = [
        [i for i, target in zip(ids, targets, strict=True) if target != IGNORED]
        for ids, targets in zip(batch.ids.tolist(), batch.targets.tolist(), strict=True)
    ]
    return sorted(blocks, key=len, reverse=True)[:ROWS]


def _blocks(room: Classroom) -> Stage:
    recipe, n_ctx = room.state().recipe, room.model.config.n_ctx
    shown = first_blocks(room)
    steps = [
        "Take some blocks.",
        "Show them to the model.",
        "At each place it says what comes next.",
        "Compare with what does come next.",
        "Change every weight a little.",
        "Take the next blocks.",
        f"Do this {recipe.steps} times.",
    ]
    read = recipe.steps * recipe.batch_size * n_ctx
    return Stage(
        title="The blocks of this course's model",
        parts=[
            Paragraph(
                text=f"Our model reads {counted(n_ctx, 'token')} at once. This is its [[context]]"
                f" length. In one [[training step]] it sees {counted(recipe.batch_size, 'block')},"
                " a [[batch]]. These are three blocks of its first step. They begin anywhere in the"
                " text, and so the same word comes at many places."
            ),
            Table(
                title="Three blocks of the first step",
                header=["block", "tokens"],
                rows=[
                    [str(i + 1), " | ".join(visible(room.tokenizer.token(t)) for t in row)]
                    for i, row in enumerate(shown)
                ],
            ),
            Table(
                title="One training step after the other",
                header=["", "what happens"],
                rows=[[str(i + 1), step] for i, step in enumerate(steps)],
            ),
            Task(
                question=f"There are {recipe.steps} steps. Each has {recipe.batch_size} blocks of"
                f" {n_ctx} tokens. How many tokens does the model read in all?",
                expected=read,
                tolerance=0.5,
                hint="Multiply the three numbers.",
                worked=[f"{recipe.steps} × {recipe.batch_size} × {n_ctx} = {read:,}"],
            ),
        ],
    )


def pairs(n: int) -> int:
    """How many pairs of tokens attention compares: each with itself and those before it."""
    return n * (n + 1) // 2


def _cost(room: Classroom) -> Stage:
    ours = room.model.config.n_ctx
    large = {name: load_preset(name)["model"]["n_ctx"] for name in LARGE}
    names = {"gpt2": "GPT-2", "gpt3": "GPT-3"}
    lengths = [("half of ours", ours // 2), ("ours", ours)]
    lengths += [(names[name], n) for name, n in large.items()]
    n = len(room.tokenizer.encode_prompt(room.prompt))
    last = room.watch(room.prompt)["fwd/blocks.0.attn.pattern"].shape[-1] - 1
    return Stage(
        title="What a longer context costs",
        parts=[
            Paragraph(
                text="A longer context shows the model more of the text. But in [[attention]] each"
                " token is compared with itself and with every token before it. So the work grows"
                " faster than the length."
            ),
            Table(
                title="Pairs of tokens that one head compares",
                header=["context", "tokens", "pairs", "memory for the scores"],
                rows=[
                    [name, f"{length:,}", f"{pairs(length):,}", _memory(length * length * BYTES)]
                    for name, length in lengths
                ],
                note=f"The memory is for a square of all scores, {BYTES} bytes each. Today's models"
                " read far more tokens than GPT-3, and use tricks to save memory.",
            ),
            Task(
                question=f"“{room.prompt}” has {counted(n, 'token')}. The first is compared with"
                " itself, the second with two, and so on. How many pairs are that?",
                expected=pairs(n),
                tolerance=0.3,
                hint=f"Add 1 + 2 + … + {n}.",
                worked=[f"{' + '.join(map(str, range(1, n + 1)))} = {pairs(n)}"],
            ),
            room.look(
                "How much the last token looks at the first",
                f"fwd/blocks.0.attn.pattern[head=0,query={last},key=0]",
            ),
            Command(
                line=f"glassformer train {{text}} --n-ctx {max(ours // 2, 4)} --out runs/short",
                shows="a model with half the context",
            ),
        ],
    )


def _memory(n: int) -> str:
    """Bytes as people say them.

    >>> _memory(1024), _memory(4_194_304)
    ('1,024 bytes', '4.2 MB')
    """
    return f"{n:,} bytes" if n < 10_000 else f"{n / 1e3:.0f} KB" if n < 1e6 else f"{n / 1e6:.1f} MB"
