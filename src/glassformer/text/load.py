"""A folder's tokenizer, in whichever files it is."""

from __future__ import annotations

from pathlib import Path

from glassformer.text import marian, tokenizer_files
from glassformer.text.marian import MarianTokenizer
from glassformer.text.tokenizer import Tokenizer


def has_tokenizer(folder: Path) -> bool:
    """Whether a folder holds a tokenizer that can be read."""
    return marian.holds_marian(folder) or tokenizer_files.holds_tokenizer(folder)


def load_tokenizer(path: str | Path, *, blanks: bool = False) -> Tokenizer:
    """Read a folder's tokenizer: see `Tokenizer.load`, and `MarianTokenizer` for Marian's own."""
    if marian.holds_marian(Path(path)):
        return MarianTokenizer(Path(path))
    return Tokenizer.load(path, blanks=blanks)
