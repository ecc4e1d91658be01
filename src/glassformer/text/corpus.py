"""Where text comes from: files, folders, JSON lines and standard input, read piece by piece.

Memory stays flat: a text file is read in blocks, JSON lines row by row.
"""

import os
import shutil
import sys
import tempfile
import weakref
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import BinaryIO, NamedTuple

from glassformer.errors import GlassformerError, did_you_mean
from glassformer.text.reading import Piece, json_lines, text_pieces

TEXT_SUFFIXES = (".txt", ".text", ".md", ".rst")
ROW_SUFFIXES = (".jsonl", ".ndjson")
STDIN = "-"


class Source(NamedTuple):
    """One input of a corpus; a stream can be read only once, so it is first copied to the disk."""

    name: str
    path: Path
    is_stream: bool = False


class Corpus:
    """Text to train on or to measure: files, folders, or "-" for standard input, in that order.

    A file of JSON lines (.jsonl, .ndjson) holds a document per row, its text in `field`. Any other
    file is one document, or as many as `separator` separates, as "<|endoftext|>" often does. Of a
    folder all text files (.txt, .text, .md, .rst) and JSON lines are read, those of folders in it
    too, in the order of their paths; hidden ones are left out.

    >>> import pathlib, tempfile
    >>> folder = pathlib.Path(tempfile.mkdtemp())
    >>> _ = (folder / "rows.jsonl").write_text('{"text": "One day."}\\n{"text": "Then."}\\n')
    >>> list(Corpus(folder).texts())
    ['One day.', 'Then.']
    """

    def __init__(
        self,
        paths: str | Path | Sequence[str | Path],
        *,
        field: str = "text",
        separator: str | None = None,
    ) -> None:
        if separator is not None and not separator.strip():
            raise GlassformerError(
                "a separator must have letters or signs, as '<|endoftext|>' has; white space alone"
                " stands in the documents too"
            )
        self.field, self.separator = field, separator
        self._given = [paths] if isinstance(paths, str | Path) else list(paths)
        self.sources = [source for path in self._given for source in _sources(path)]
        self._copies: dict[str, Path] = {}  # where each stream's copy is

    @property
    def n_bytes(self) -> int | None:
        """The size of all files, JSON's own signs included; None until a stream has been read."""
        files = [self._copies.get(source.name, source.path) for source in self.sources]
        if not all(file.is_file() for file in files):
            return None
        return sum(file.stat().st_size for file in files)

    def pieces(self) -> Iterator[Piece]:
        """Yield the documents, long ones in pieces that have the tokens of the whole."""
        has_text = False
        for source in self.sources:
            with self._file(source).open("rb") as file:
                if source.path.suffix.lower() in ROW_SUFFIXES:
                    pieces = json_lines(file, source.name, self.field)
                else:
                    pieces = text_pieces(file, source.name, self.separator)
                for piece in pieces:
                    has_text = True
                    yield piece
        if not has_text:
            raise GlassformerError(
                f"there is no text in {', '.join(map(str, self._given))}; give files with text"
            )

    def pieces_counting(self, marks: Iterable[str], counts: Counter[str]) -> Iterator[Piece]:
        """Yield the pieces, and count in `found` how often each mark stands in them as text."""
        for piece in self.pieces():
            for mark in marks:
                if mark in piece.text:
                    counts[mark] += piece.text.count(mark)
            yield piece

    def texts(self) -> Iterator[str]:
        """Yield the text of each piece, as training a tokenizer needs it."""
        return (piece.text for piece in self.pieces())

    def _file(self, source: Source) -> Path:
        """Return the file of a source, or the copy of a stream, made when it is first read."""
        if not source.is_stream:
            return source.path
        if source.name not in self._copies:
            folder = Path(tempfile.mkdtemp(prefix="glassformer-"))
            weakref.finalize(self, shutil.rmtree, folder, ignore_errors=True)
            copy = folder / "text"
            with copy.open("wb") as file, _stream(source) as stream:
                shutil.copyfileobj(stream, file, 2**20)
            self._copies[source.name] = copy
        return self._copies[source.name]


def _stream(source: Source) -> AbstractContextManager[BinaryIO]:
    if source.path == Path(STDIN):
        return nullcontext(sys.stdin.buffer)
    return source.path.open("rb")


def _sources(source: str | Path) -> Iterator[Source]:
    """Yield the files that a path given by the user stands for."""
    path = Path(source)
    if str(source) == STDIN:
        yield Source("standard input", path, is_stream=True)
    elif path.is_dir():
        yield from _in_folder(path)
    elif path.is_file():
        if path.stat().st_size == 0:
            raise GlassformerError(f"{path} is empty (0 bytes); give a file with text")
        yield Source(str(path), path)
    elif path.exists():  # a pipe, as in <(command)
        yield Source(str(path), path, is_stream=True)
    else:
        neighbors = [other.name for other in path.parent.glob("*")]
        raise GlassformerError(
            f"there is no file or folder {path}.{did_you_mean(path.name, neighbors)} Give text "
            f"files, folders, or {STDIN} for standard input"
        )


def _in_folder(folder: Path) -> Iterator[Source]:
    result, others = [], set()
    for parent, folders, names in os.walk(folder):
        folders[:] = (name for name in folders if not name.startswith("."))
        for name in names:
            path = Path(parent, name)
            if name.startswith("."):
                continue
            if path.suffix.lower() in (*TEXT_SUFFIXES, *ROW_SUFFIXES):
                result.append(path)
            else:
                others.add(path.suffix or name)
    if not result:
        seen = f"only {', '.join(sorted(others)[:8])}" if others else "no files at all"
        raise GlassformerError(
            f"the folder {folder} holds no text files ({', '.join(TEXT_SUFFIXES + ROW_SUFFIXES)}), "
            f"{seen}; give another folder, or name the files themselves"
        )
    for path in sorted(result, key=lambda path: path.relative_to(folder).parts):
        yield Source(str(path), path)
