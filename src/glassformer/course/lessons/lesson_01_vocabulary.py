"""The vocabulary: the list of everything that a model can read."""

from __future__ import annotations

from collections import Counter

from glassformer.course.asking import guess
from glassformer.course.classroom import BEGINNING, Classroom
from glassformer.course.lesson import Command, Heading, Lesson, Paragraph, Stage, Table, Task
from glassformer.course.spell import code, listed, quoted, visible
from glassformer.describe import counted
from glassformer.model import load_preset
from glassformer.text.tokenizer import Tokenizer

OUTSIDE = "éüñжあ🙂"
"""Letters of which most texts lack one."""

ACROSS = 6  # entries of a list side by side
LISTED = 120  # entries of a long list
SIGNS = 12  # of those that are no letters

HEADING = Heading(
    name="1",
    title="The vocabulary",
    question="What can a model read?",
    minutes=5,
)


def lesson(room: Classroom) -> Lesson:
    return HEADING.lesson(
        stages=[_characters(room), _outside(room), _words(room)],
        takeaway="A [[vocabulary]] is a list of [[token|tokens]], each with a number. It is made"
        " once, from a text, before the [[training]]. What is not in the list has to be put"
        " together from smaller pieces.",
    )


def characters(tokenizer: Tokenizer) -> list[int]:
    """The ids of the characters themselves: no bytes and no mark."""
    listing = range(tokenizer.vocab_size)
    return [
        i for i in listing if not tokenizer.token(i).startswith("<") or tokenizer.token(i) == "<"
    ]


def _characters(room: Classroom) -> Stage:
    tokenizer = room.by_characters
    ids = characters(tokenizer)
    times = Counter(room.beginning)
    n = len(ids)
    entries = [f"{visible(tokenizer.token(i))} ×{times[tokenizer.token(i)]}" for i in ids[:LISTED]]
    letters = sum(tokenizer.token(i).isalpha() for i in ids)
    signs = [code(tokenizer.token(i)) for i in ids if not tokenizer.token(i).isalpha()]
    many = f"{len(signs)} other signs, such as " if len(signs) > SIGNS else ""
    others = f"{many}{listed(signs[:SIGNS])}"
    prompt = room.prompt
    different = list(dict.fromkeys(prompt))
    return Stage(
        title="A list of characters",
        parts=[
            Paragraph(
                text="A model reads numbers. So every piece of text needs a number. First we list"
                f" all pieces that there are. The simplest pieces are characters. Take {room.name}:"
                " find every character once, and write them in a list. That is a [[vocabulary]]."
            ),
            guess(
                f"{_of(room)} has {counted(len(room.beginning), 'character')}. How many different"
                " ones are there? A capital letter, a space and a full stop count too.",
                str(n),
                {
                    f"{len(room.beginning):,}": "That would be so if no character came twice.",
                    str(n // 2): "There are more: look at the rare letters.",
                    "26": f"The alphabet has 26 letters. The text uses {letters} of the small and"
                    f" capital ones, and {n - letters} other signs.",
                    str(3 * n): "There are not so many: most characters come again and again.",
                },
                f"The list has {n} characters: {letters} letters, and {others}.",
            ),
            Table(
                title=f"The vocabulary of {room.name}, and how often each character comes",
                header=[""] * ACROSS,
                rows=rows(entries),
                note="␣ is a space." + (f" The first {LISTED} of {n}." if n > LISTED else ""),
            ),
            Task(
                question=f"How many different characters does “{prompt}” have, the space included?",
                expected=len(different),
                tolerance=0.3,
                hint="Write each one down once. A capital and a small letter are two.",
                worked=[f"{' '.join(map(code, different))}: {len(different)}"],
            ),
        ],
    )


def rows(entries: list[str]) -> list[list[str]]:
    """Entries in lines of `ACROSS`, the last one filled up."""
    filled = [*entries, *[""] * (-len(entries) % ACROSS)]
    return [filled[i : i + ACROSS] for i in range(0, len(filled), ACROSS)]


def _of(room: Classroom) -> str:
    if room.is_story:
        return "The story"
    return "Your text" if len(room.text) == len(room.beginning) else "The beginning of your text"


def _outside(room: Classroom) -> Stage:
    tokenizer = room.by_characters
    letter = next((letter for letter in OUTSIDE if letter not in room.beginning), OUTSIDE[-1])
    ids = tokenizer.encode(letter)
    return Stage(
        title="What is not in the list",
        parts=[
            Paragraph(
                text=f"{code(letter)} does not come in {room.name}. Can the model read it? A"
                " computer stores every character as one [[byte]] or several. There are only 256"
                " bytes. So the list has them too, after the characters. What is not in the list is"
                " spelled by its bytes."
            ),
            Table(
                title=f"{letter} as bytes",
                header=["byte", "its number in the vocabulary"],
                rows=[[visible(tokenizer.token(i)), str(i)] for i in ids],
                note=f"{counted(len(ids), 'byte')} for one character. The whole list has"
                f" {counted(tokenizer.vocab_size, 'token')}: the characters, 256 bytes, and"
                f" {code(tokenizer.token(tokenizer.eos_id or 0))} for the end of a text.",
            ),
            Command(
                line=f"glassformer tokenize {quoted(letter)} --kind chars"
                f" --corpus {{course}}/{BEGINNING} --vocabulary",
                shows="the list, characters first, and the bytes in one line",
            ),
        ],
    )


def _words(room: Classroom) -> Stage:
    tokenizer = room.tokenizer
    tokens = [tokenizer.token(i) for i in range(tokenizer.vocab_size)]
    parts = tokenizer.vocabulary.listing()
    entries = [f"{i} {visible(tokens[i])}" for i in sorted([*parts.text, *parts.special])]
    n_bytes = len(parts.bytes)
    notes = [
        f"The first {LISTED} of {len(entries):,}." if len(entries) > LISTED else "",
        f"{n_bytes} single bytes are left out; they spell what is not in the list."
        if n_bytes
        else "",
    ]
    gpt2 = load_preset("gpt2")["model"]["vocab_size"]
    kinds = {"words": "whole words", "chars": "characters", "bpe": "pieces of words"}
    unknown = (
        " A word that is not there is read as `<unk>`, for unknown."
        if tokenizer.kind == "words"
        else ""
    )
    first = tokenizer.encode_prompt(room.prompt)[0]
    return Stage(
        title="Larger pieces",
        parts=[
            Paragraph(
                text="Characters are a good beginning, but a text becomes very long. Large models"
                " take larger pieces. The small model of this course reads"
                f" {kinds[tokenizer.kind]}. Its list has {counted(len(tokens), 'token')}.{unknown}"
                " `<eos>` stands for the end of a text."
            ),
            Table(
                title="The vocabulary of this course's model",
                header=[""] * ACROSS,
                rows=rows(entries[:LISTED]),
                note=" ".join(filter(None, notes)),
            ),
            Paragraph(
                text=f"GPT-2 has {gpt2:,} tokens. They are not chosen by hand. A program finds them"
                " in a very large text: the pieces that come most often. The next lesson shows how."
            ),
            room.look(
                f"The first number by which the model knows {code(tokens[first])}",
                "fwd/embed[pos=0,d_model=0]",
            ),
        ],
    )
