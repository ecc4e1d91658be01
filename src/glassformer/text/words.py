"""Words and sentences as people count them, in any script."""

from __future__ import annotations

import re
import unicodedata
from itertools import groupby

_SENTENCE_END = re.compile(r"(?<=[.!?؟۔।])\s+|\n+|(?<=[。！？])")
_STOPS = ".!?؟۔।。！？"
_INSIDE = "'’-"  # of a word, not at its ends


def words_of(text: str) -> list[str]:
    """The words of a text, without what stands between them; of a script without spaces, its runs.

    >>> words_of("“The dog's life -- well-known?” Naïve: la vie."), words_of("猫坐。")
    (['The', "dog's", 'life', 'well-known', 'Naïve', 'la', 'vie'], ['猫坐'])
    """
    runs = ("".join(run) for inside, run in groupby(text, _is_inside) if inside)
    return [word for word in (run.strip(_INSIDE) for run in runs) if word]


def sentences_of(text: str) -> list[str]:
    """The sentences of a text, those without letters left out; a line's end ends one, too.

    >>> sentences_of("The cat sat. It ran!\\nWhy? ...")
    ['The cat sat.', 'It ran!', 'Why?']
    """
    parts = (part.strip() for part in _SENTENCE_END.split(text))
    return [part for part in parts if any(letter.isalnum() for letter in part)]


def is_ended(sentence: str) -> bool:
    """Whether a full stop, or what stands for one, ends it."""
    return sentence.endswith(tuple(_STOPS))


def without_end(sentence: str) -> tuple[str, str] | None:
    """A sentence without its last word, and that word; None where no word ends it.

    >>> without_end("The cat sat on the mat."), without_end("猫坐在垫子上。")
    (('The cat sat on the', 'mat'), ('猫坐在垫子', '上'))
    >>> without_end("Sat."), without_end("I have a 🐱.")
    (None, None)
    """
    words = words_of(sentence)
    if not words:
        return None
    has_words = sentence.isascii() or " " in sentence  # else a letter stands for one
    word = words[-1] if has_words else words[-1][-1]
    before, _, after = sentence.rpartition(word)
    only_marks = all(unicodedata.category(mark).startswith("P") for mark in after.strip())
    return (before.rstrip(), word) if only_marks and words_of(before) else None


def first_word(text: str) -> str:
    """The word that a text begins with, or the sign.

    >>> first_word(" mat. The"), first_word("... and"), first_word("")
    ('mat', '.', '')
    """
    text = text.lstrip()
    run = next(("".join(run) for inside, run in groupby(text, _is_inside) if inside), "")
    return run if run and text.startswith(run) else text[:1]


def _is_inside(letter: str) -> bool:
    """Whether it may stand inside a word: a letter, a digit, a letter's own mark, a hyphen."""
    return (
        letter.isalnum() or letter in f"_{_INSIDE}" or unicodedata.category(letter).startswith("M")
    )
