"""Where text comes from: files, folders, rows of data sets and standard input, piece by piece.

Memory stays flat: a text file is read in blocks, rows a few at a time.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
import weakref
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import BinaryIO, TypeVar

from glassformer.errors import GlassformerError
from glassformer.text.opened import opened
from glassformer.text.reading import Piece, text_pieces
from glassformer.text.rows import Document, Field, Row, Template, json_rows
from glassformer.text.sources import JSON_LINES, PARQUET, STDIN, TABLES, Source, sources_of
from glassformer.text.tables import arrow_rows, parquet_rows

FIELD = "text"

T = TypeVar("T")
BytesRead = Callable[[], int]
"""How many bytes of a file are read so far."""
Reader = Callable[[Source, Path], AbstractContextManager[tuple[Iterator[T], BytesRead]]]


class Corpus:
    """Text to train on or to measure: files, folders, hub data sets, or "-", in that order.

    A row of JSON lines (.jsonl, .ndjson), parquet (.parquet) or Arrow (.arrow) is a document, its
    text in `field`, or `template` with its fields in it: "{question}\\n{answer}". Any other file
    is one document, or as many as `separator` separates, as "<|endoftext|>" often does. Text and
    JSON lines may be compressed (.gz, .zst). Of a folder all these files are read (text where it
    ends in .txt, .text, .md, .rst), those of folders in it too, in the order of their paths; hidden
    ones are left out. A folder that `datasets` saved is read in its own order, the split `train` of
    several; OWNER/NAME is a data set in its cache, ``hf:OWNER/NAME`` is downloaded where it is not.

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
        field: str = FIELD,
        separator: str | None = None,
        template: str | None = None,
    ) -> None:
        if separator is not None and not separator.strip():
            raise GlassformerError(
                "a separator must have letters or signs, as '<|endoftext|>' has; white space alone"
                " stands in the documents too"
            )
        if template is not None and field != FIELD:
            raise GlassformerError(
                "a template names the fields it reads, so no field is named beside it; leave one"
                " of both out"
            )
        self.document: Document = Field(field) if template is None else Template(template)
        self.separator = separator
        self.n_read = 0
        """How many bytes of all files the pieces so far have taken."""
        self.n_documents: list[int] = []
        """Of each path that was given, how many documents the pieces so far have ended."""
        self._paths = [paths] if isinstance(paths, str | Path) else list(paths)
        sources = [(source, i) for i, path in enumerate(self._paths) for source in sources_of(path)]
        self.sources = [source for source, _ in sources]
        self._refuse_what_none_has(template is not None or field != FIELD)
        self._of_path = [index for _, index in sources]
        self._copies: dict[str, Path] = {}  # where each stream's copy is

    def _refuse_what_none_has(self, asks_for_rows: bool) -> None:
        has_rows = {source.has_rows for source in self.sources}
        named = ", ".join(map(str, self._paths))
        if asks_for_rows and has_rows == {False}:
            raise GlassformerError(
                f"a field or a template says where rows have their text, and {named} has no rows;"
                f" leave it out, or give JSON lines ({JSON_LINES[0]}), parquet or Arrow"
            )
        if self.separator is not None and has_rows == {True}:
            raise GlassformerError(
                f"a separator is for files of text, and {named} has rows, of which each is a"
                " document; leave it out"
            )

    @property
    def n_bytes(self) -> int | None:
        """The size of all files as they are on the disk; None until a stream has been read."""
        files = [self._copies.get(source.name, source.path) for source in self.sources]
        if not all(file.is_file() for file in files):
            return None
        return sum(file.stat().st_size for file in files)

    def pieces(self) -> Iterator[Piece]:
        """Yield the documents, long ones in pieces that have the tokens of the whole."""
        has_text = False
        self.n_documents = [0] * len(self._paths)
        for index, piece in self._counted(self._pieces_of):
            has_text = True
            self.n_documents[index] += piece.ends_document
            yield piece
        if not has_text:
            raise GlassformerError(
                f"there is no text in {', '.join(map(str, self._paths))}; give files with text"
            )

    def rows(self) -> Iterator[Row]:
        """Yield the rows with all their fields; text that has none is refused."""
        for source in self.sources:
            if not source.has_rows:
                raise GlassformerError(
                    f"{source.name} has no rows; give files of JSON lines ({JSON_LINES[0]}),"
                    f" parquet or Arrow ({', '.join(TABLES)})"
                )
        counted = self._counted(lambda source, path: self._rows_of(source, path, None))
        return (row for _, row in counted)

    def pieces_counting(self, marks: Iterable[str], counts: Counter[str]) -> Iterator[Piece]:
        """Yield the pieces, and count in `counts` how often each mark stands in them as text."""
        for piece in self.pieces():
            for mark in marks:
                if mark in piece.text:
                    counts[mark] += piece.text.count(mark)
            yield piece

    def texts(self) -> Iterator[str]:
        """Yield the text of each piece, as training a tokenizer needs it."""
        return (piece.text for piece in self.pieces())

    def _counted(self, read: Reader[T]) -> Iterator[tuple[int, T]]:
        """What a reader finds in each source, and of which path; `n_read` says how far it is."""
        before = 0
        for source, index in zip(self.sources, self._of_path, strict=True):
            path = self._file(source)
            with read(source, path) as (items, bytes_read):
                for item in items:
                    self.n_read = before + bytes_read()
                    yield index, item
            before += path.stat().st_size
            self.n_read = before

    @contextmanager
    def _pieces_of(self, source: Source, path: Path) -> Iterator[tuple[Iterator[Piece], BytesRead]]:
        if not source.has_rows:
            with opened(path, source.name, source.compression) as (file, bytes_read):
                yield text_pieces(file, source.name, self.separator), bytes_read
            return
        with self._rows_of(source, path, self.document.fields) as (rows, bytes_read):
            texts = map(self.document, rows)
            yield (Piece(text, ends_document=True) for text in texts if text), bytes_read

    @contextmanager
    def _rows_of(
        self, source: Source, path: Path, fields: Sequence[str] | None
    ) -> Iterator[tuple[Iterator[Row], BytesRead]]:
        if source.suffix in JSON_LINES:
            with opened(path, source.name, source.compression) as (file, bytes_read):
                yield json_rows(file, source.name), bytes_read
            return
        if source.compression:
            raise GlassformerError(
                f"{source.name} is {source.suffix} within {source.compression}, and tables are read"
                " in place; unpack it (they are compressed inside as it is)"
            )
        table_rows = parquet_rows if source.suffix in PARQUET else arrow_rows
        with table_rows(path, source.name, fields) as result:
            yield result

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
