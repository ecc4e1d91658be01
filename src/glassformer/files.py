"""Writing a file so that a reader, or a crash, finds it whole: either the old or the new one."""

import hashlib
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from glob import escape
from pathlib import Path

import platformdirs

from glassformer.errors import GlassformerError


def write_atomically(path: Path, content: str | bytes) -> None:
    """Replace a file's content in one move, once the new content is safely on the disk."""
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        with temporary.open("xb") as file:
            file.write(content.encode() if isinstance(content, str) else content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def sha256(path: Path) -> str:
    """The SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def ordinary_mode(path: Path) -> Iterator[None]:
    """What a library writes to `path` meanwhile may be read by whom the umask lets read new files.

    safetensors writes files that only their owner may read.
    """
    path.touch()
    mode = path.stat().st_mode
    yield
    path.chmod(mode)


@contextmanager
def staged(folder: Path) -> Iterator[Path]:
    """A folder to write files into; when all are there they move to `folder`, each in one move.

    A new folder appears whole. In one that is there already files of the same names are replaced
    and the others stay. When writing fails, nothing has changed.
    """
    new = not folder.exists()
    home = folder.parent if new else folder
    home.mkdir(parents=True, exist_ok=True)
    for left_by_a_crash in home.glob(f".{escape(folder.name)}.????????.tmp"):
        shutil.rmtree(left_by_a_crash)
    stage = home / f".{folder.name}.{secrets.token_hex(4)}.tmp"
    stage.mkdir()
    try:
        yield stage
        for path in [*stage.rglob("*"), stage]:
            sync(path)
        if new:
            stage.rename(folder)
        else:
            for path in [path for path in stage.rglob("*") if path.is_file()]:
                target = folder / path.relative_to(stage)
                target.parent.mkdir(exist_ok=True)
                path.replace(target)
        sync(home)
    finally:
        shutil.rmtree(stage, ignore_errors=True)


def sync(path: Path) -> None:
    """Wait until a file, or a folder's list of files, is on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def cache_folder() -> Path:
    """Where compiled code is kept: not in the system's temporary folder, which is emptied."""
    try:
        return platformdirs.user_cache_path("glassformer", appauthor=False)
    except RuntimeError as error:
        raise GlassformerError(
            "there is no home folder to keep compiled code in; name a folder in $XDG_CACHE_HOME"
        ) from error
