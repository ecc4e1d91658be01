"""Tokens on the disk: a shard is written once, piece by piece, and read through a memory map.

A shard is a folder. `shard.json` says what is in it and names two files beside it: all tokens
(uint16, or uint32 for a vocabulary above 65,536; little-endian) and where each document starts in
them (uint64). With a tokenizer that has a separator the tokens are

    <eos> document <eos> document <eos> ... document <eos>

so that each token of each document, the first one too, is predicted from a token before it. Of
chats a third file says of each token whether it is asked for (a byte, 0 or 1).
"""

from pathlib import Path
from typing import Annotated, Literal

import numpy as np
from pydantic import BaseModel, Field

from glassformer.errors import GlassformerError
from glassformer.files import sha256
from glassformer.jsons import LARGEST, STRICT, Count, DamagedFileError, Schema, Sha256
from glassformer.text.tokenizer import Tokenizer

FORMAT = 1
HEADER = "shard.json"
FIX = "write the shard again, or train again where it is a run's"


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
    asked_file: FileName | None = None
    asked_sha256: Sha256 | None = None


_HEADER = Schema(ShardHeader)


class Shard:
    """A text as token ids, memory-mapped: `tokens` and `documents`, where each document starts.

    `asked` says of each token whether it is asked for; None where every one is.

    Source of the layout: the flat token files of nanoGPT and Megatron-LM.
    """

    def __init__(self, folder: str | Path, *, tokenizer: Tokenizer | None = None) -> None:
        self.folder = Path(folder)
        self.header = read_header(self.folder)
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
            self.tokens, self.documents, self.asked = _maps(self.folder, self.header)
        except FileNotFoundError as error:
            before, self.header = self.header, read_header(self.folder)
            if self.header == before:
                raise GlassformerError(f"{error.filename} is missing; {FIX}") from error
            self.tokens, self.documents, self.asked = _maps(
                self.folder, self.header
            )  # written anew

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
        header = self.header
        expected = [(header.tokens_file, header.sha256), (header.asked_file, header.asked_sha256)]
        for name, digest in expected:
            if name is not None and sha256(self.folder / name) != digest:
                raise GlassformerError(
                    f"{self.folder / name} has changed since it was written (its SHA-256 is another"
                    f" one); {FIX}"
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

    def ids(self, indices: slice | np.ndarray) -> np.ndarray:
        """The token ids at some places, int64; one beyond the vocabulary is refused."""
        ids = self.tokens[indices].astype(np.int64)
        if ids.size and ids.max() >= self.header.vocab_size:
            raise DamagedFileError(
                self.folder / self.header.tokens_file,
                f"holds the token id {ids.max():,}, and the vocabulary ends at"
                f" {self.header.vocab_size - 1:,}",
                FIX,
            )
        return ids


def read_header(folder: Path) -> ShardHeader:
    """What shard.json of a folder says."""
    file = folder / HEADER
    if not file.is_file():
        raise GlassformerError(f"there is no {file}, so {folder} is no token shard; {FIX}")
    return _HEADER.read(file, FIX, version=FORMAT)


def _maps(folder: Path, header: ShardHeader) -> tuple[np.memmap, np.memmap, np.memmap | None]:
    dtype, asked = np.dtype(header.dtype).newbyteorder("<"), header.asked_file
    return (
        _map(folder / header.tokens_file, dtype, header.n_tokens),
        _map(folder / header.documents_file, np.dtype("<u8"), header.n_documents),
        None if asked is None else _map(folder / asked, np.dtype(np.uint8), header.n_tokens),
    )


def _map(file: Path, dtype: np.dtype, count: int) -> np.memmap:
    expected, result = count * dtype.itemsize, file.stat().st_size
    if result != expected:
        raise GlassformerError(
            f"{file} is {result:,} bytes long and shard.json says {expected:,}; it was cut off or "
            f"belongs to another shard: {FIX}"
        )
    return np.memmap(file, dtype, mode="r", shape=(count,))
