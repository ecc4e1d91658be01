"""Which files a corpus consists of: files, folders, saved data sets, the hub's, standard input."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from glassformer.errors import GlassformerError, did_you_mean
from glassformer.jsons import read_json
from glassformer.text import hub
from glassformer.text.opened import COMPRESSIONS, suffixes

TEXT = (".txt", ".text", ".md", ".rst")
JSON_LINES = (".jsonl", ".ndjson")
PARQUET = (".parquet",)
ARROW = (".arrow",)
TABLES = PARQUET + ARROW
KNOWN = (*TEXT, *JSON_LINES, *TABLES)
STDIN = "-"

SPLITS, STATE = "dataset_dict.json", "state.json"  # of `datasets.save_to_disk`


class Source(NamedTuple):
    """One input of a corpus; a stream can be read only once, so it is first copied to the disk."""

    name: str
    path: Path
    is_stream: bool = False

    @property
    def suffix(self) -> str:
        """The kind of file, lower case, whether or not it is compressed."""
        return suffixes(self.path)[0]

    @property
    def compression(self) -> str:
        return suffixes(self.path)[1]

    @property
    def has_rows(self) -> bool:
        return self.suffix in (*JSON_LINES, *TABLES)


def sources_of(name: str | Path) -> Iterator[Source]:
    """Yield the files that a path, a hub's data set or "-" stands for."""
    path = Path(name)
    if str(name) == STDIN:
        yield Source("standard input", path, is_stream=True)
    elif path.is_dir():
        yield from _in_folder(path)
    elif path.is_file():
        if path.stat().st_size == 0:
            raise GlassformerError(f"{path} is empty (0 bytes); give a file with text")
        yield Source(str(path), path)
    elif path.exists():  # a pipe, as in <(command)
        yield Source(str(path), path, is_stream=True)
    elif (files := _of_the_hub(str(name))) is not None:
        for file in files:
            yield Source(f"{name} ({file.name})", file)
    else:
        neighbors = [other.name for other in path.parent.glob("*") if other.exists()]
        raise GlassformerError(
            f"there is no file or folder {path}.{did_you_mean(path.name, neighbors)} Give text "
            f"files, folders, {hub.PREFIX}OWNER/NAME for a data set on the Hugging Face hub, or"
            f" {STDIN} for standard input"
        )


def _of_the_hub(name: str) -> list[Path] | None:
    """A hub data set's files; what ends as files do is a file that is not there."""
    if not name.startswith(hub.PREFIX) and suffixes(Path(name))[0] in KNOWN:
        return None
    return hub.find(name)


def _in_folder(folder: Path) -> Iterator[Source]:
    if (folder / SPLITS).is_file():
        yield from _saved(folder / _split(folder))
    elif (folder / STATE).is_file():
        yield from _saved(folder)
    else:
        yield from _walked(folder)


def _split(folder: Path) -> str:
    """The split to train on, of the several that `datasets` saved to one folder."""
    splits = read_json(folder / SPLITS).get("splits", [])
    if hub.SPLIT not in splits:
        choices = ", ".join(str(folder / str(split)) for split in splits)
        raise GlassformerError(
            f"the data set {folder} has no split {hub.SPLIT!r}; give the folder of one of its own:"
            f" {choices or 'it has none'}"
        )
    return hub.SPLIT


def _saved(folder: Path) -> Iterator[Source]:
    """The Arrow files of one split that `datasets` saved, in its order."""
    state = read_json(folder / STATE)
    try:
        names = [Path(file["filename"]).name for file in state["_data_files"]]
    except (KeyError, TypeError) as error:
        raise GlassformerError(
            f"{folder / STATE} names no files, so {folder} is no data set that `datasets` saved;"
            " save it again"
        ) from error
    for name in names:
        if not (folder / name).is_file():
            raise GlassformerError(f"{folder / name} is missing; save the data set again")
        yield Source(str(folder / name), folder / name)


def _walked(folder: Path) -> Iterator[Source]:
    result, others = [], set()
    for parent, folders, names in os.walk(folder):
        folders[:] = (name for name in folders if not name.startswith("."))
        for name in names:
            path = Path(parent, name)
            if name.startswith("."):
                continue
            if suffixes(path)[0] in KNOWN:
                result.append(path)
            else:
                others.add(path.suffix or name)
    if not result:
        seen = f"only {', '.join(sorted(others)[:8])}" if others else "no files at all"
        raise GlassformerError(
            f"the folder {folder} holds no text files ({', '.join(KNOWN)}, also with"
            f" {' or '.join(COMPRESSIONS)} after it), {seen}; give another folder, or name the"
            " files themselves"
        )
    for path in sorted(result, key=lambda path: path.relative_to(folder).parts):
        yield Source(str(path), path)
