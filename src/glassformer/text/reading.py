"""Reading UTF-8 text in pieces that tokenize as the whole does.

What is no text is answered with the file, the line and what to do.
"""

import codecs
import re
from collections.abc import Callable, Iterable, Iterator
from io import BufferedIOBase
from typing import NamedTuple, TypeVar

from glassformer.errors import GlassformerError

BLOCK_BYTES = 2**17  # small enough that all cores get some of a batch of pieces
LONGEST_WORD = 2**24  # characters; one "word" this long is no text, and could not be tokenized

T = TypeVar("T")

# Between a letter or digit and a white space after it (or a full-width mark, where a script writes
# no spaces) every pre-tokenizer in use splits, whatever stands further left or right.
_LINE_END = re.compile(r".*[^\W_](?=[\r\n])", re.DOTALL)
WORD_END = re.compile(r".*[^\W_](?=[\s。，、！？；：])", re.DOTALL)


class Piece(NamedTuple):
    """A stretch of a document; `ends_document` where the separator comes after it."""

    text: str
    ends_document: bool


def text_pieces(file: BufferedIOBase, name: str, separator: str | None = None) -> Iterator[Piece]:
    """Yield a text file in pieces of about BLOCK_BYTES.

    The file is one document, or with a `separator` as many as it separates, less the white space
    at their ends. A piece ends where a tokenizer splits in any case, at the end of a line if
    possible, so that the pieces have the tokens of the whole.
    """
    decoder = Utf8(name)
    text, searched, inside = "", 0, False  # of a document
    block = file.read(BLOCK_BYTES)
    while block:
        text += decoder.decode(block)
        block = file.read(BLOCK_BYTES)
        if separator is not None:
            *documents, text = text.split(separator)
            for document in documents:
                document = document.rstrip() if inside else document.strip()
                if document or inside:
                    yield Piece(document, ends_document=True)
                inside = False
            if documents:
                searched = 0
            if not inside:
                text = text.lstrip()
        uncut = len(text) if separator is None else max(0, len(text) - len(separator))
        end = _LINE_END.match(text, searched, uncut) or WORD_END.match(text, searched, uncut)
        if block and end:
            yield Piece(text[: end.end()], ends_document=False)
            text, searched, inside = text[end.end() :], 0, True
        else:
            searched = max(0, uncut - 1)
        if len(text) > LONGEST_WORD:
            raise GlassformerError(
                f"{name}: {len(text):,} characters up to line {decoder.line:,} have no space and "
                "no line end after a letter or digit, and one word that long can't be tokenized; "
                "is it text? If so, break it into lines"
            )
    text += decoder.decode(b"", final=True)
    if separator is not None:
        text = text.rstrip() if inside else text.strip()
    if text or inside:
        yield Piece(text, ends_document=True)


def in_groups(items: Iterable[T], size: Callable[[T], int], least: int) -> Iterator[list[T]]:
    """Items in their order, in groups of at least such a size together; the last may have less.

    >>> list(in_groups(["a", "bc", "def", "g"], len, 3))
    [['a', 'bc'], ['def'], ['g']]
    """
    group: list[T] = []
    total = 0
    for item in items:
        group.append(item)
        total += size(item)
        if total >= least:
            yield group
            group, total = [], 0
    if group:
        yield group


def size_in_utf8(text: str) -> int:
    """How many bytes a text has."""
    return len(text) if text.isascii() else len(text.encode())


class Utf8:
    """Decodes a file block by block, and says where it is not UTF-8 text."""

    def __init__(self, name: str, line: int = 1) -> None:
        self.name = name
        self.line = line  # in which the next byte stands
        self._decoder = codecs.getincrementaldecoder("utf-8")()
        self._n_bytes = 0  # decoded so far

    def decode(self, block: bytes, *, final: bool = False) -> str:
        if self.line == 1 and self._n_bytes == 0:
            if block.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
                raise GlassformerError(
                    f"{self.name} is UTF-16 text; convert it: iconv -f UTF-16 -t UTF-8"
                )
            if block.startswith(codecs.BOM_UTF8):
                block = block.removeprefix(codecs.BOM_UTF8)
                self._n_bytes = len(codecs.BOM_UTF8)
        if b"\0" in block:
            raise GlassformerError(
                f"{self.name}: a zero byte in line {self._line_of(block, block.index(0)):,}, so "
                "this is no text but a binary file; give text files"
            )
        held, _ = self._decoder.getstate()  # the first bytes of a character that a block's end cut
        try:
            text = self._decoder.decode(block, final)
        except UnicodeDecodeError as error:
            byte = self._n_bytes - len(held) + error.start
            raise GlassformerError(
                f"{self.name}: byte {byte:,} (0x{error.object[error.start]:02X}, in line "
                f"{self._line_of(error.object, error.start):,}) is not UTF-8; if the file is in "
                "another encoding, convert it, as in: iconv -f LATIN1 -t UTF-8"
            ) from error
        self._n_bytes += len(block)
        self.line = self._line_of(block, len(block))
        return text

    def _line_of(self, block: bytes, offset: int) -> int:
        return self.line + block.count(b"\n", 0, offset)
