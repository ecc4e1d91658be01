"""Data sets on the Hugging Face hub, by OWNER/NAME, through `datasets`, as its Arrow files."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from glassformer.errors import GlassformerError

PREFIX = "hf:"
SPLIT = "train"
_NAME = re.compile(
    r"(?P<name>[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*)(:(?P<config>[\w.-]+))?(@(?P<split>\w+))?"
)


def find(name: str) -> list[Path] | None:
    """The local files of a hub data set: a cached one by its name, any as ``hf:OWNER/NAME``.

    ``hf:OWNER/NAME:CONFIG@SPLIT`` says which of its parts, else it is the split `train`. The
    network is asked only for a name that begins with ``hf:``. None where the name is neither.

    >>> find("stories/today.txt.zip") is None, find("./runs/story") is None
    (True, True)
    """
    parts = _NAME.fullmatch(name.removeprefix(PREFIX))
    asked = name.startswith(PREFIX)
    if parts is None:
        if asked:
            raise GlassformerError(
                f"{name!r} is no name of a hub data set; write {PREFIX}OWNER/NAME, for example"
                f" {PREFIX}roneneldan/TinyStories, and :CONFIG or @SPLIT after it where it has"
                " several"
            )
        return None
    try:
        import datasets
    except ModuleNotFoundError:
        if not asked:
            return None
        raise GlassformerError(
            f"to fetch {name!r} from the Hugging Face hub install the extra:"
            " pip install 'glassformer[data]'"
        ) from None
    chosen = {**parts.groupdict(), "split": parts["split"] or SPLIT}
    with _offline(datasets):
        files = _files(datasets, chosen, refused=False)
    return files or (_files(datasets, chosen, refused=True) if asked else None)


@contextmanager
def _offline(datasets: Any) -> Iterator[None]:
    """Meanwhile the library looks at its cache alone, as with HF_DATASETS_OFFLINE=1."""
    before = datasets.config.HF_HUB_OFFLINE
    datasets.config.HF_HUB_OFFLINE = True
    try:
        yield
    finally:
        datasets.config.HF_HUB_OFFLINE = before


def _files(datasets: Any, chosen: dict[str, Any], *, refused: bool) -> list[Path] | None:
    """The files of a split; where there are none a reason, if it is to be `refused`, or None."""
    name = chosen["name"]
    datasets.utils.logging.set_verbosity_error()
    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)  # it tells of every attempt
    try:
        data = datasets.load_dataset(name, chosen["config"], split=chosen["split"])
    except Exception as error:
        if not refused:
            return None
        reason = (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")
        raise GlassformerError(
            f"the data set {name!r} is not in the local cache, and it can't be had from the Hugging"
            f" Face hub ({reason}); check the name, :CONFIG and @SPLIT, or on a machine that"
            f" reaches it save it with `datasets` (save_to_disk) and give that folder"
        ) from error
    return [Path(file["filename"]) for file in data.cache_files]
