"""Tokens on the disk: a shard is written once, piece by piece, and read through a memory map.

A shard is a folder. `shard.json` says what is in it and names two files beside it: all tokens
(uint16, or uint32 for a vocabulary above 65,536; little-endian) and where each document starts in
them (uint64). With a tokenizer that has a separator the tokens are

    <eos> document <eos> document <eos> ... document <eos>

so that each token of each document, the first one too, is predicted from a token before it.
"""

import hashlib
import json
import os
import secrets
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Annotated, BinaryIO, Literal

import numpy as np
from pydantic import BaseModel, Field

from glassformer.errors import GlassformerError
from glassformer.files import write_atomically
from glassformer.jsons import LARGEST, STRICT, Count, DamagedFileError, Schema, Sha256
from glassformer.text.reading import Piece
from glassformer.text.tokenizer import Tokenizer

FORMAT = 1
HEADER = "shard.json"
FIX = "write the shard again"
BATCH_CHARACTERS = 2**21  # encoded at once: bounds the memory that writing takes


FileName = Annotated[str, Field(pattern=r"^[\w-]+\.bin$", max_length=100)]
"""The name of a file beside shard.json."""


class ShardHeader(BaseModel, frozen=True):
    """What shard.json says."""

    model_config = STRICT

    format: int
    dtype: Literal["uint16", "uint32"]
    n_tokens: Annotated[int, Field(ge=1, le=LARGEST // 8)]  # separators included
    n_documents: Annotated[int, Field(ge=1, le=LARGEST // 8)]
    n_bytes: Count  # of the text, in UTF-8
    vocab_size: Annotated[int, Field(ge=1, le=2**32)]
    eos_id: Count | None
    tokenizer: Sha256  # its fingerprint
    sha256: Sha256  # of the tokens
    tokens_file: FileName
    documents_file: FileName


_HEADER = Schema(ShardHeader)


class Shard:
    """A text as token ids, memory-mapped: `tokens` and `documents`, where each document starts.

    Source of the layout: the flat token files of nanoGPT and Megatron-LM.
    """

    def __init__(self, folder: str | Path, *, tokenizer: Tokenizer | None = None) -> None:
        self.folder = Path(folder)
        self.header = _read_header(self.folder)
        if tokenizer is not None and tokenizer.fingerprint != self.header.tokenizer:
            raise GlassformerError(
                f"{self.folder} holds tokens of another tokenizer (fingerprint "
                f"{self.header.tokenizer[:12]}, this one's is {tokenizer.fingerprint[:12]}); write "
                "it again with this one"
            )
        if (self.header.eos_id or 0) >= self.header.vocab_size:
            problem = f"has an eos_id beyond its vocab_size, {self.header.vocab_size:,}"
            raise DamagedFileError(self.folder / HEADER, problem, FIX, "eos_id")
        if tokenizer is not None and self.header.vocab_size != tokenizer.vocab_size:
            raise DamagedFileError(
                self.folder / HEADER,
                f"says vocab_size {self.header.vocab_size:,} and its tokenizer has"
                f" {tokenizer.vocab_size:,} tokens",
                FIX,
                "vocab_size",
            )
        try:
            self.tokens, self.documents = _maps(self.folder, self.header)
        except FileNotFoundError as error:
            before, self.header = self.header, _read_header(self.folder)
            if self.header == before:
                raise GlassformerError(
                    f"{error.filename} is missing; write the shard again"
                ) from error
            self.tokens, self.documents = _maps(self.folder, self.header)  # it was written anew

    def __len__(self) -> int:
        return self.header.n_tokens

    @property
    def fingerprint(self) -> str:
        """The SHA-256 of the tokens: equal for equal data."""
        return self.header.sha256

    def verify(self) -> None:
        """Read all tokens and raise if a bit of them has changed since they were written.

        Documents must begin one after the other within the tokens; no file says their SHA-256.
        """
        with (self.folder / self.header.tokens_file).open("rb") as file:
            result = hashlib.file_digest(file, "sha256").hexdigest()
        if result != self.header.sha256:
            raise GlassformerError(
                f"{self.folder / self.header.tokens_file} has changed since it was written (its "
                "SHA-256 is another one); write the shard again"
            )
        starts = self.starts(slice(None))
        if (starts[1:] < starts[:-1]).any():
            raise self._no_documents()

    def starts(self, numbers: slice | np.ndarray) -> np.ndarray:
        """Where these documents start, int64; a place beyond the tokens is refused.

        With a separator the first document starts behind one.
        """
        starts = self.documents[numbers]
        first = 0 if self.header.eos_id is None else 1
        if starts.size and (starts.min() < first or starts.max() > len(self)):
            raise self._no_documents()
        return starts.astype(np.int64)

    def _no_documents(self) -> DamagedFileError:
        return DamagedFileError(
            self.folder / self.header.documents_file,
            "does not hold the places of documents, one after the other within the tokens",
            FIX,
        )

    def ids(self, places: slice | np.ndarray) -> np.ndarray:
        """The token ids at some places, int64; one beyond the vocabulary is refused."""
        ids = self.tokens[places].astype(np.int64)
        if ids.size and ids.max() >= self.header.vocab_size:
            raise DamagedFileError(
                self.folder / self.header.tokens_file,
                f"holds the token id {ids.max():,}, and the vocabulary ends at"
                f" {self.header.vocab_size - 1:,}",
                FIX,
            )
        return ids


def write_shard(
    folder: str | Path,
    texts: Iterable[Piece | str],
    tokenizer: Tokenizer,
    *,
    progress: Callable[[int], object] = lambda n_bytes: None,
) -> Shard:
    """Tokenize texts into a shard: the pieces of a corpus, or strings, each a whole document.

    `progress` is told how many bytes of text are done, every few million. The shard appears when
    it is whole; one that was there before is replaced, and what has mapped it keeps the old tokens.

    >>> import tempfile
    >>> words = Tokenizer.train("words", ["the cat sat"])
    >>> shard = write_shard(tempfile.mkdtemp(), ["the cat", "cat sat"], words)
    >>> " ".join(words.token(id) for id in shard.tokens), shard.documents.tolist()
    ('<eos> the cat <eos> cat sat <eos>', [1, 4])
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    mark = secrets.token_hex(4)  # two processes that write at once do not meet
    files = [folder / f"{name}-{mark}.bin" for name in ("tokens", "documents")]
    try:
        with files[0].open("xb") as tokens, files[1].open("xb") as documents:
            header = _write(tokens, documents, _pieces(texts, tokenizer), tokenizer, progress)
        before = _read_header(folder) if (folder / HEADER).exists() else None
        write_atomically(folder / HEADER, json.dumps(header.model_dump(), indent=2))
    except BaseException:
        for file in files:
            file.unlink(missing_ok=True)
        raise
    if before is not None:
        for name in (before.tokens_file, before.documents_file):
            (folder / name).unlink(missing_ok=True)
    return Shard(folder)


def _write(
    tokens_file: BinaryIO,
    documents_file: BinaryIO,
    pieces: Iterator[Piece],
    tokenizer: Tokenizer,
    progress: Callable[[int], object],
) -> ShardHeader:
    dtype: Literal["uint16", "uint32"] = "uint16" if tokenizer.vocab_size <= 2**16 else "uint32"
    eos = [] if tokenizer.eos_id is None else [tokenizer.eos_id]
    separator = np.array(eos, dtype=np.uint32)
    # a template that begins with the separator itself finds it there already
    framed = tokenizer.blanks  # an encoder's rows are framed when they are made
    begin = [] if framed or tokenizer.begin_ids == eos else tokenizer.begin_ids
    beginning = np.array(begin, dtype=np.uint32)
    digest = hashlib.sha256()
    n_tokens = n_documents = n_bytes = 0
    inside = False  # of a document
    for batch in _batches(pieces):
        texts = [piece.text for piece in batch]
        parts, starts = [] if n_documents else [separator], []
        end = n_tokens + sum(map(len, parts))
        for piece, ids in zip(batch, tokenizer.encode_arrays(texts), strict=True):
            if not inside:
                starts.append(end)
                parts.append(beginning)
                end += len(beginning)
            inside = not piece.ends_document
            parts += [ids] if inside else [ids, separator]
            end += len(ids) + (0 if inside else len(separator))
        block = np.concatenate(parts).astype(np.dtype(dtype).newbyteorder("<")).tobytes()
        digest.update(block)
        tokens_file.write(block)
        documents_file.write(np.array(starts, "<u8").tobytes())
        n_tokens = end
        n_documents += len(starts)
        n_bytes += sum(len(text.encode()) for text in texts)
        progress(n_bytes)
    if n_tokens <= len(separator) * (1 + n_documents) + len(beginning) * n_documents:
        raise GlassformerError(
            f"the texts hold no token of this {tokenizer.kind} tokenizer; give a text with words"
        )
    for file in (tokens_file, documents_file):
        file.flush()
        os.fsync(file.fileno())
    return ShardHeader(
        format=FORMAT,
        dtype=dtype,
        n_tokens=n_tokens,
        n_documents=n_documents,
        n_bytes=n_bytes,
        vocab_size=tokenizer.vocab_size,
        eos_id=tokenizer.eos_id,
        tokenizer=tokenizer.fingerprint,
        sha256=digest.hexdigest(),
        tokens_file=Path(tokens_file.name).name,
        documents_file=Path(documents_file.name).name,
    )


def _batches(pieces: Iterator[Piece]) -> Iterator[list[Piece]]:
    batch: list[Piece] = []
    characters = 0
    for piece in pieces:
        batch.append(piece)
        characters += len(piece.text)
        if characters >= BATCH_CHARACTERS:
            yield batch
            batch, characters = [], 0
    if batch:
        yield batch


def _pieces(texts: Iterable[Piece | str], tokenizer: Tokenizer) -> Iterator[Piece]:
    """Yield pieces that may be tokenized one by one: as they come, or joined to documents."""
    one_by_one = tokenizer.splits_where_pieces_end
    parts: list[str] = []
    for text in texts:
        piece = Piece(text, ends_document=True) if isinstance(text, str) else text
        if one_by_one:
            yield piece
            continue
        parts.append(piece.text)
        if piece.ends_document:
            yield Piece("".join(parts), ends_document=True)
            parts = []


def _read_header(folder: Path) -> ShardHeader:
    file = folder / HEADER
    if not file.is_file():
        raise GlassformerError(f"there is no {file}, so {folder} is no token shard; write it first")
    return _HEADER.read(file, FIX, version=FORMAT)


def _maps(folder: Path, header: ShardHeader) -> tuple[np.memmap, np.memmap]:
    dtype = np.dtype(header.dtype).newbyteorder("<")
    return (
        _map(folder / header.tokens_file, dtype, header.n_tokens),
        _map(folder / header.documents_file, np.dtype("<u8"), header.n_documents),
    )


def _map(file: Path, dtype: np.dtype, count: int) -> np.memmap:
    expected, result = count * dtype.itemsize, file.stat().st_size
    if result != expected:
        raise GlassformerError(
            f"{file} is {result:,} bytes long and shard.json says {expected:,}; it was cut off or "
            "belongs to another shard: write the shard again"
        )
    return np.memmap(file, dtype, mode="r", shape=(count,))
