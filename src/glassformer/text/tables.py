"""Rows of parquet and Arrow files by pyarrow, a few at a time, so that memory stays flat."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from glassformer.errors import GlassformerError, did_you_mean
from glassformer.text.rows import Row

if TYPE_CHECKING:
    import pyarrow

ROWS = 128  # at once: bounds the memory, however long the rows are
BUFFER_BYTES = 2**20  # read at once of each column
ARROW_FILE = b"ARROW1"  # how a file begins that is no stream

Rows = tuple[Iterator[Row], Callable[[], int]]
"""The rows, and how many bytes of the file those so far take."""


def needs_pyarrow(what: str) -> Any:
    """The package pyarrow; raises where it is missing, in words about what needs it."""
    try:
        import pyarrow
    except ModuleNotFoundError as error:
        raise GlassformerError(
            f"{what} needs the package pyarrow; pip install 'glassformer[data]'"
        ) from error
    return pyarrow


@contextmanager
def parquet_rows(path: Path, name: str, fields: Sequence[str] | None) -> Iterator[Rows]:
    """Read a parquet file; `fields`: the columns that are read, all where None."""
    pyarrow = needs_pyarrow(name)
    with _errors_of(name, "parquet", pyarrow):
        from pyarrow import parquet

        size = path.stat().st_size
        # without a buffer a whole row group of each column would be held, and it may be the file
        with parquet.ParquetFile(path, pre_buffer=False, buffer_size=BUFFER_BYTES) as file:
            _refuse_unknown(fields, file.schema_arrow.names, name)
            columns = None if fields is None else [*fields]
            batches = file.iter_batches(ROWS, columns=columns, use_threads=False)
            counter = _Counted(batches, name)
            n_rows = max(1, file.metadata.num_rows)
            yield iter(counter), lambda: size * counter.n_rows // n_rows


@contextmanager
def arrow_rows(path: Path, name: str, fields: Sequence[str] | None) -> Iterator[Rows]:
    """Read an Arrow file or stream, as `datasets` keeps them; `fields` as for parquet."""
    pyarrow = needs_pyarrow(name)
    with _errors_of(name, "Arrow", pyarrow), pyarrow.memory_map(str(path)) as source:
        is_file = source.read(len(ARROW_FILE)) == ARROW_FILE
        source.seek(0)
        if is_file:
            file = pyarrow.ipc.open_file(source)
            schema = file.schema
            batches = (file.get_batch(index) for index in range(file.num_record_batches))
        else:
            batches = pyarrow.ipc.open_stream(source)
            schema = batches.schema
        _refuse_unknown(fields, schema.names, name)
        chosen = (batch if fields is None else batch.select([*fields]) for batch in batches)
        yield iter(_Counted(_in_slices(chosen), name)), source.tell


def _in_slices(batches: Iterator[pyarrow.RecordBatch]) -> Iterator[pyarrow.RecordBatch]:
    for batch in batches:
        for start in range(0, batch.num_rows, ROWS):
            yield batch.slice(start, ROWS)


class _Counted:
    """The rows of batches, counted from 1."""

    def __init__(self, batches: Iterator[pyarrow.RecordBatch], name: str) -> None:
        self._batches, self._name = batches, name
        self.n_rows = 0

    def __iter__(self) -> Iterator[Row]:
        for batch in self._batches:
            for values in batch.to_pylist():
                self.n_rows += 1
                yield Row(f"{self._name}, row {self.n_rows:,}", values)


@contextmanager
def _errors_of(name: str, form: str, pyarrow: Any) -> Iterator[None]:
    """What pyarrow finds wrong is said of the file, on one line."""
    try:
        yield
    except (pyarrow.ArrowException, UnicodeDecodeError) as error:
        cause = (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")
        raise GlassformerError(
            f"{name} can't be read as {form} ({cause}); it was cut off, or is not what its name"
            " says: fetch it again"
        ) from error
    except OSError as error:
        if error.errno is not None:
            raise
        raise GlassformerError(
            f"{name} can't be read as {form} ({str(error).splitlines()[0]}); it was cut off, or is"
            " damaged: fetch it again"
        ) from error


def _refuse_unknown(fields: Sequence[str] | None, columns: list[str], name: str) -> None:
    for field in fields or ():
        if field not in columns:
            raise GlassformerError(
                f"{name} has no column {field!r}; its columns are"
                f" {', '.join(map(repr, columns)) or 'none'}.{did_you_mean(field, columns)} Name"
                " the one that holds the text with --field, or several with --template"
            )
