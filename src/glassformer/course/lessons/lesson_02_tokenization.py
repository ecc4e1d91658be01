"""Tokenization: a text becomes numbers, and byte pairs are learned merge by merge."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from itertools import pairwise

from glassformer.course.asking import guess
from glassformer.course.classroom import BEGINNING, BYTES, MERGES, Classroom
from glassformer.course.lesson import Command, Heading, Lesson, Paragraph, Stage, Table, Task
from glassformer.course.spell import code, quoted, visible
from glassformer.describe import counted
from glassformer.formula.spelling import number
from glassformer.text.merges import merge_all
from glassformer.text.tokenizer import Tokenizer

SHOWN = 12  # merges
LETTERS = 40  # of the text that is cut in three ways
SHORTER = 0.8  # tokens for a letter, at most: of capitals, byte pairs join few

HEADING = Heading(
    name="2",
    title="Tokenization",
    question="How does a text become numbers?",
    minutes=8,
)


def lesson(room: Classroom) -> Lesson:
    return HEADING.lesson(
        stages=[_ways(room), _pairs(room), _merges(room), _there_and_back(room)],
        takeaway="A [[tokenizer]] cuts a text into [[token|tokens]] and gives each its number."
        " Byte pair encoding starts from characters and joins, again and again, the two neighbors"
        " that come together most often.",
    )


def sample(room: Classroom) -> str:
    """The first words of the text, short enough for a line, that byte pairs make shorter.

    Of a script without spaces, letters.
    """
    lines = [_line(sentence) for sentence in room.sentences]
    shorter = (line for line in lines if len(room.by_pairs.encode(line)) <= SHORTER * len(line))
    return next(shorter, lines[0])


def _line(sentence: str) -> str:
    if len(sentence) <= LETTERS:
        return sentence
    return sentence[: LETTERS + 1].rpartition(" ")[0] or sentence[:LETTERS]


def _ways(room: Classroom) -> Stage:
    text = sample(room)
    kinds = {
        "characters": room.by_characters,
        "words": room.by_words,
        "byte pairs": room.by_pairs,
    }
    rows, lengths = [], {}
    for name, tokenizer in kinds.items():
        ids = tokenizer.encode(text)
        lengths[name] = len(ids)
        pieces = " | ".join(visible(tokenizer.token(i)) for i in ids)
        rows.append([name, f"{len(ids)}", pieces, " ".join(map(str, ids))])
    fewest = min(lengths, key=lengths.__getitem__)
    said = ", ".join(f"{name} give {n} tokens" for name, n in lengths.items())
    return Stage(
        title="Three ways to cut",
        parts=[
            guess(
                f"“{text}” can be cut into characters, into words, or into byte pairs. Which way"
                " gives the fewest [[token|tokens]]?",
                fewest,
                {
                    name: f"They give {counted(n, 'token')}."
                    for name, n in lengths.items()
                    if n > lengths[fewest]
                },
                f"{said[0].upper()}{said[1:]}.",
            ),
            Table(
                title="One text, cut in three ways",
                header=["way", "tokens", "the pieces", "their numbers"],
                rows=rows,
                note=f"The byte pairs are those of {counted(MERGES, 'merge')} at most.",
            ),
            Paragraph(
                text="Each way has a price. Characters need a short list, but a text becomes long."
                " Words make a text short, but a new word is in no list. Byte pairs lie between the"
                " two: common words are one token, rare ones are several, and nothing is unknown."
                " GPT models use byte pairs, by a program called tiktoken. Google's models use"
                " SentencePiece, which is much alike."
            ),
        ],
    )


def pair_counts(words: Counter[str], pieces: dict[str, list[str]]) -> Counter[tuple[str, str]]:
    """How often two pieces are neighbors within a word."""
    counts: Counter[tuple[str, str]] = Counter()
    for word, times in words.items():
        for pair in pairwise(pieces[word]):
            counts[pair] += times
    return counts


def words_of(room: Classroom) -> Counter[str]:
    """The words that byte pairs are counted in, each with the space before it, as pieces' signs."""
    split = room.by_pairs.engine.pre_tokenizer
    assert split is not None
    return Counter(word for word, _ in split.pre_tokenize_str(room.beginning))


def _merged(tokenizer: Tokenizer, rank: int) -> str:
    """What a merge makes one piece, in the vocabulary's signs."""
    left, right = tokenizer.content["model"]["merges"][rank]
    return f"{left}{right}"


def _pairs(room: Classroom) -> Stage:
    words = words_of(room)
    counts = pair_counts(words, {word: list(word) for word in words})
    show = room.by_pairs.vocabulary.show
    merges = room.by_pairs.merges_learned or []
    first = merges[0]
    by_count: dict[int, tuple[str, str]] = {}
    for pair, times in counts.most_common():
        by_count.setdefault(times, pair)  # one for each count: no two choices are equally right
    others = [pair for times, pair in by_count.items() if times < first.count][:3]
    joined = visible(show(_merged(room.by_pairs, 0)))
    longer = next((sign for sign in room.beginning if not sign.isascii()), None)
    several = (
        f" {code(longer)} is one of those that a computer stores as several [[byte|bytes]]: of"
        " these it starts with the bytes."
        if longer
        else ""
    )
    return Stage(
        title="Which two come together most often?",
        parts=[
            Paragraph(
                text="Byte pair encoding (BPE) learns its pieces from the text. It starts with"
                f" single characters.{several} It counts every pair of neighbors inside the words."
                " A word takes the space before it along, written ␣ here."
            ),
            guess(
                "Which pair comes most often?",
                f"{visible(first.left)} + {visible(first.right)}",
                {
                    f"{visible(show(left))} + {visible(show(right))}": "It comes"
                    f" {counted(counts[left, right], 'time')}."
                    for left, right in others
                },
                f"{code(first.left)} and {code(first.right)} come together"
                f" {counted(first.count, 'time')}. So {code(joined)} becomes a token of its own.",
            ),
            Table(
                title="The pairs that come most often, before the first merge",
                header=["pair", "times"],
                rows=[
                    [f"{visible(show(left))} + {visible(show(right))}", str(times)]
                    for (left, right), times in counts.most_common(6)
                ],
                note="Where several pairs come equally often, one of them goes first.",
            ),
        ],
    )


def _merges(room: Classroom) -> Stage:
    show = room.by_pairs.vocabulary.show
    text = sample(room)
    split = room.by_pairs.engine.pre_tokenizer
    assert split is not None
    line = [list(word) for word, _ in split.pre_tokenize_str(text)]
    content = room.by_pairs.content["model"]["merges"]
    learned = room.by_pairs.merges_learned or []
    rows = [["", "", "", _spelled(line, show), str(sum(map(len, line)))]]
    for merge, (left, right) in list(zip(learned, content, strict=True))[:SHOWN]:
        line = [merge_all(pieces, left, right) for pieces in line]
        rows.append(
            [
                str(merge.rank + 1),
                f"{visible(merge.left)} + {visible(merge.right)}",
                str(merge.count),
                _spelled(line, show),
                str(sum(map(len, line))),
            ]
        )
    last = int(rows[-1][-1])
    ratio = len(text) / last
    return Stage(
        title="Merge by merge",
        parts=[
            Paragraph(
                text="The best pair becomes one piece. Then the counting begins again, with the new"
                f" piece. This goes on until the list is long enough. Here are the first"
                f" {len(rows) - 1} merges, each with the times it came when its turn was, and what"
                f" becomes of “{text}”."
            ),
            Table(
                title="The text after each merge",
                header=["merge", "pair", "times", "the text", "tokens"],
                rows=rows,
            ),
            Task(
                question=f"“{text}” has {len(text)} characters, and {last} tokens after the last"
                " merge of the table. How many characters does a token have on average?",
                expected=ratio,
                tolerance=0.02,
                hint="Divide the characters by the tokens.",
                worked=[f"{len(text)} / {last} = {number(ratio)}"],
            ),
            Command(
                line=f"glassformer tokenize {quoted(text)} --kind bpe"
                f" --corpus {{course}}/{BEGINNING} --vocab-size {BYTES + len(rows) - 1} --trace",
                shows="the same merges, in every word",
            ),
        ],
    )


def _spelled(line: list[list[str]], show: Callable[[str], str]) -> str:
    return " | ".join(visible(show(piece)) for word in line for piece in word)


def _there_and_back(room: Classroom) -> Stage:
    prompt = room.prompt
    ids = room.tokenizer.encode_prompt(prompt)
    tokens = [room.tokenizer.token(i) for i in ids]
    return Stage(
        title="There and back",
        parts=[
            Paragraph(
                text="To encode is to go from text to numbers. To decode is to go back. The number"
                " of a token, its [[token ID]], is only its place in the [[vocabulary]]. It says"
                f" nothing about the meaning. Our model reads “{prompt}” like this:"
            ),
            Table(
                title="Encode",
                header=["token", "token ID"],
                rows=[[visible(token), str(i)] for token, i in zip(tokens, ids, strict=True)],
                note=f"Decode: {' '.join(map(str, ids))} → “{room.tokenizer.decode(ids)}”",
            ),
            room.look(
                f"What the model makes of the number {ids[-1]}",
                f"fwd/embed[pos={len(ids) - 1},d_model=0]",
            ),
        ],
    )
