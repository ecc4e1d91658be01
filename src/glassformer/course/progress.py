"""How far a person has come, kept on this machine alone."""

from __future__ import annotations

from pathlib import Path

import platformdirs
from pydantic import BaseModel, ValidationError

from glassformer.errors import GlassformerError
from glassformer.files import write_atomically


class Done(BaseModel):
    """A lesson that was gone through: so many of its questions were answered right at once."""

    right: int
    asked: int


class Progress(BaseModel):
    """Lessons gone through, by text and by name."""

    texts: dict[str, dict[str, Done]] = {}

    def of(self, text: str) -> dict[str, Done]:
        """What was done with a text; `text` is its run's name."""
        return self.texts.get(text, {})

    def add(self, text: str, lesson: str, done: Done) -> None:
        self.texts.setdefault(text, {})[lesson] = done


def progress_file() -> Path:
    """The file."""
    try:
        return platformdirs.user_data_path("glassformer", appauthor=False) / "course.json"
    except RuntimeError as error:
        raise GlassformerError(
            "there is no home folder to keep your progress in; name a folder in $XDG_DATA_HOME"
        ) from error


def read_progress(file: Path) -> Progress:
    """What the file holds; nothing where it is not there, or is no such file any more."""
    try:
        return Progress.model_validate_json(file.read_text(encoding="utf-8"))
    except (FileNotFoundError, UnicodeDecodeError, ValidationError):
        return Progress()


def write_progress(progress: Progress, file: Path) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(file, progress.model_dump_json(indent=1))
