"""Writing a shard: tokens go to the disk as they come, so that memory stays flat."""

import hashlib
import json
import os
import secrets
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import BinaryIO, Literal, NamedTuple

import numpy as np

from glassformer.errors import GlassformerError
from glassformer.files import write_atomically
from glassformer.text.reading import Piece, in_groups, size_in_utf8
from glassformer.text.shard import FORMAT, HEADER, Shard, ShardHeader, read_header
from glassformer.text.tokenizer import Tokenizer

BATCH_CHARACTERS = 2**21  # encoded at once: bounds the memory that writing takes


class Encoded(NamedTuple):
    """Tokens of a document, or of a piece of one; `asked` says which of them are asked for."""

    ids: np.ndarray
    ends_document: bool
    n_bytes: int
    asked: np.ndarray | None = None


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
    # a template that begins with the separator itself finds it there already
    framed = tokenizer.blanks  # an encoder's rows are framed when they are made
    begin = [] if framed or tokenizer.begin_ids == [tokenizer.eos_id] else tokenizer.begin_ids
    return _write(
        folder, _encoded(_pieces(texts, tokenizer), tokenizer), tokenizer, begin, progress
    )


def write_asked(
    folder: str | Path,
    documents: Iterable[Encoded],
    tokenizer: Tokenizer,
    *,
    progress: Callable[[int], object] = lambda n_bytes: None,
) -> Shard:
    """Write documents that are tokens already into a shard, with those that are asked for."""
    return _write(
        folder,
        in_groups(documents, lambda one: one.n_bytes, BATCH_CHARACTERS),
        tokenizer,
        [],
        progress,
    )


def _write(
    folder: str | Path,
    batches: Iterator[list[Encoded]],
    tokenizer: Tokenizer,
    begin: list[int],
    progress: Callable[[int], object],
) -> Shard:
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    mark = secrets.token_hex(4)  # two processes that write at once do not meet
    files = [folder / f"{name}-{mark}.bin" for name in ("tokens", "documents", "asked")]
    try:
        with ExitStack() as stack:
            opened = [stack.enter_context(file.open("xb")) for file in files]
            header = _write_files(opened, batches, tokenizer, begin, progress)
        if header.asked_file is None:
            files[2].unlink()
        before = read_header(folder) if (folder / HEADER).exists() else None
        unused = {"asked_file", "asked_sha256"} if header.asked_file is None else set()
        content = header.model_dump(exclude=unused)
        write_atomically(folder / HEADER, json.dumps(content, indent=2))
    except BaseException:
        for file in files:
            file.unlink(missing_ok=True)
        raise
    if before is not None:
        for name in (before.tokens_file, before.documents_file, before.asked_file):
            if name is not None:
                (folder / name).unlink(missing_ok=True)
    return Shard(folder)


def _write_files(
    files: Sequence[BinaryIO],
    batches: Iterator[list[Encoded]],
    tokenizer: Tokenizer,
    begin: list[int],
    progress: Callable[[int], object],
) -> ShardHeader:
    tokens_file, documents_file, asked_file = files
    dtype: Literal["uint16", "uint32"] = "uint16" if tokenizer.vocab_size <= 2**16 else "uint32"
    eos = [] if tokenizer.eos_id is None else [tokenizer.eos_id]
    separator, beginning = (np.array(ids, dtype=np.uint32) for ids in (eos, begin))
    digests = hashlib.sha256(), hashlib.sha256()
    n_tokens = n_documents = n_bytes = 0
    inside = has_asked = False  # of a document
    for batch in batches:
        parts: list[np.ndarray] = [] if n_documents else [separator]
        asked = [np.zeros(len(part), np.uint8) for part in parts]
        starts: list[int] = []
        end = n_tokens + sum(map(len, parts))
        for piece in batch:
            if not inside:
                starts.append(end)
                parts.append(beginning)
                end += len(beginning)
            inside = not piece.ends_document
            parts += [piece.ids] if inside else [piece.ids, separator]
            end += len(piece.ids) + (0 if inside else len(separator))
            if piece.asked is not None:
                has_asked = True
                asked += [piece.asked, np.zeros(len(separator), np.uint8)]
        block = np.concatenate(parts).astype(np.dtype(dtype).newbyteorder("<")).tobytes()
        digests[0].update(block)
        tokens_file.write(block)
        documents_file.write(np.array(starts, "<u8").tobytes())
        if has_asked:
            block = np.concatenate(asked).astype(np.uint8).tobytes()
            digests[1].update(block)
            asked_file.write(block)
        n_tokens = end
        n_documents += len(starts)
        n_bytes += sum(piece.n_bytes for piece in batch)
        progress(n_bytes)
    if n_tokens <= len(separator) * (1 + n_documents) + len(beginning) * n_documents:
        raise GlassformerError(
            f"the texts hold no token of this {tokenizer.kind} tokenizer; give a text with words"
        )
    for file in files:
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
        sha256=digests[0].hexdigest(),
        tokens_file=Path(tokens_file.name).name,
        documents_file=Path(documents_file.name).name,
        asked_file=Path(asked_file.name).name if has_asked else None,
        asked_sha256=digests[1].hexdigest() if has_asked else None,
    )


def _encoded(pieces: Iterator[Piece], tokenizer: Tokenizer) -> Iterator[list[Encoded]]:
    for batch in in_groups(pieces, lambda piece: len(piece.text), BATCH_CHARACTERS):
        texts = [piece.text for piece in batch]
        yield [
            Encoded(ids, piece.ends_document, size_in_utf8(piece.text))
            for piece, ids in zip(batch, tokenizer.encode_arrays(texts), strict=True)
        ]


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
