"""Text cut into words as tokenizers do, written once more with Python's own classes."""

import re
import unicodedata

CONTRACTED = re.compile(r"'(?:s|t|re|ve|m|ll|d)")
RUN = re.compile(r" ?L+| ?N+| ?O+|[ S]+(?![LNO])|[ S]+")
WORD = re.compile(r"['’]s(?![ws])|[ws]+(?:(?!['’]s(?![ws]))['’\-][ws]+)*|[^ws\s]")


def for_byte_pairs(text: str) -> list[str]:
    """What GPT-2 counts pairs in: letters, digits or signs, each with the space before it."""
    classes = "".join(map(_class, text))
    pieces: list[str] = []
    while (at := sum(map(len, pieces))) < len(text):
        match = CONTRACTED.match(text, at) or RUN.match(classes, at)
        assert match, text[at:]
        pieces.append(text[at : match.end()])
    return pieces


def words_and_marks(text: str) -> list[str]:
    """The tokens of a tokenizer of words: whole words, the 's of a possessive, and every mark."""
    classes = re.sub(r"[^'’\-\s]", lambda letter: _inside(letter[0]), text)
    return [text[match.start() : match.end()] for match in WORD.finditer(classes)]


def plain_words(text: str) -> list[str]:
    """The words that people count."""
    classes = "".join("w" if _inside(sign) in "ws" or sign in "'’-" else " " for sign in text)
    runs = [text[match.start() : match.end()].strip("'’-") for match in re.finditer("w+", classes)]
    return [run for run in runs if run]


def spelled(piece: bytes) -> str:
    """Bytes as text, or each by its name where they are no whole characters."""
    try:
        return piece.decode()
    except UnicodeDecodeError:
        return "".join(f"<0x{byte:02X}>" for byte in piece)


def _class(sign: str) -> str:
    if sign == " ":
        return " "
    if sign.isspace():
        return "S"
    return {"L": "L", "N": "N"}.get(unicodedata.category(sign)[0], "O")


def _inside(sign: str) -> str:
    """The letter s, any other letter of a word, or the sign itself."""
    if sign in "sS":
        return "s"
    is_inside = sign == "_" or unicodedata.category(sign)[0] in "LMN"
    return "w" if is_inside else "."
