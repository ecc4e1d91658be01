"""The metrics of a run that goes on: what is new in them."""

from __future__ import annotations

import os
from pathlib import Path

from glassformer.jsons import parse_object
from glassformer.metrics import Row
from glassformer.training.run import ROW, TAKE_OUT


class GrowingMetrics:
    """A metrics.jsonl that is written meanwhile: each row is read once, however long it grows."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file, self._end = 0, 0  # which file it is, and how far it has been read
        self._n_rows = 0

    def new_rows(self) -> list[Row]:
        """The whole lines since the last time; a run that is resumed has a file made anew."""
        try:
            file = self._path.open("rb")
        except FileNotFoundError:
            return []
        with file:
            known = 0
            if (now := os.fstat(file.fileno()).st_ino) != self._file:
                known = self._n_rows
                self._file, self._end, self._n_rows = now, 0, 0
            file.seek(self._end)
            complete = file.read().rpartition(b"\n")[0]
        if not complete:
            return []
        self._end += len(complete) + 1
        contents = (parse_object(line, self._path, TAKE_OUT) for line in complete.split(b"\n"))
        rows: list[Row] = [{**ROW.check(content, self._path, TAKE_OUT)} for content in contents]
        self._n_rows += len(rows)
        return rows[known:]
