"""Opening a file of text as it is or compressed: .gz by Python's own library, .zst by pyarrow's."""

from __future__ import annotations

import gzip
import io
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import cast

from glassformer.errors import GlassformerError
from glassformer.text.tables import needs_pyarrow

COMPRESSIONS = (".gz", ".zst")


def suffixes(path: Path) -> tuple[str, str]:
    """What kind of file it is, and how it is compressed, by its name.

    >>> suffixes(Path("rows.JSONL.gz")), suffixes(Path("story.txt")), suffixes(Path("dump.zst"))
    (('.jsonl', '.gz'), ('.txt', ''), ('', '.zst'))
    """
    compression = path.suffix.lower()
    if compression not in COMPRESSIONS:
        return compression, ""
    return Path(path.stem).suffix.lower(), compression


@contextmanager
def opened(
    path: Path, name: str, compression: str
) -> Iterator[tuple[io.BufferedIOBase, Callable[[], int]]]:
    """A file's bytes, decompressed, and how many bytes of the file itself are read so far."""
    with path.open("rb") as file:
        if not compression:
            yield file, file.tell
            return
        try:
            yield _decompressed(file, name, compression), file.tell
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise _damaged(name, compression, error) from error
        except OSError as error:  # pyarrow's have no number
            if error.errno is not None:
                raise
            raise _damaged(name, compression, error) from error


def _decompressed(file: io.BufferedReader, name: str, compression: str) -> io.BufferedIOBase:
    if compression == ".gz":
        return gzip.GzipFile(fileobj=file)
    stream = needs_pyarrow(name).CompressedInputStream(file, "zstd")
    return io.BufferedReader(cast("io.RawIOBase", stream), 2**17)


def _damaged(name: str, compression: str, error: Exception) -> GlassformerError:
    cause = (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")
    return GlassformerError(
        f"{name} can't be decompressed as {compression} ({cause}); it was cut off or is damaged:"
        " fetch it again"
    )
