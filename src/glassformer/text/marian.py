"""Marian's own tokenizer: pieces by SentencePiece, ids by a vocabulary of both languages.

A folder holds source.spm, by which a text is cut into pieces, target.spm, and vocab.json, which
gives every piece of both its id. Source: Kudo and Richardson 2018, "SentencePiece"; `transformers`,
`MarianTokenizer`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import tokenizers
from tokenizers import AddedToken, decoders, models

from glassformer.errors import GlassformerError
from glassformer.files import write_atomically
from glassformer.jsons import read_json
from glassformer.text.codec import Ids
from glassformer.text.text_trace import TextTrace
from glassformer.text.tokenizer import Tokenizer
from glassformer.text.tokenizer_files import CONFIG, ExtraFiles

VOCABULARY, SOURCE, TARGET = "vocab.json", "source.spm", "target.spm"
END, UNK, PAD = "</s>", "<unk>", "<pad>"


def holds_marian(folder: Path) -> bool:
    """Whether a folder holds these files, and no tokenizer.json."""
    files = [folder / name for name in (VOCABULARY, SOURCE, TARGET)]
    return all(file.is_file() for file in files) and not (folder / "tokenizer.json").is_file()


class MarianTokenizer(Tokenizer):
    """Pieces of words of two languages; a source ends in `</s>`.

    A source may begin with the code of the language that is wanted, `>>fra<<`, which is one token.
    """

    def __init__(self, folder: Path) -> None:
        """Errors: no `sentencepiece` installed, a damaged file, a vocabulary without its ids."""
        self.pieces = _pieces(folder)
        ids: dict[str, Any] = read_json(folder / VOCABULARY)
        if {*ids.values()} != {*range(len(ids))}:
            raise GlassformerError(
                f"{folder / VOCABULARY} must give its {len(ids):,} pieces the ids 0 to"
                f" {len(ids) - 1:,}; copy it again"
            )
        for name in (END, UNK):
            if name not in ids:
                raise GlassformerError(f"{folder / VOCABULARY} has no {name}; copy it again")
        engine = tokenizers.Tokenizer(models.WordLevel(ids, unk_token=UNK))
        engine.decoder = decoders.Metaspace()
        special = [name for name in (END, UNK, PAD) if name in ids]
        engine.add_special_tokens([AddedToken(name, normalized=False) for name in special])
        config = read_json(folder / CONFIG) if (folder / CONFIG).is_file() else {}
        if config.get("separate_vocabs"):
            raise GlassformerError(
                f"{folder / CONFIG} says separate_vocabs: its target has a vocabulary of its own;"
                " take a model with one vocabulary for both languages"
            )
        roles = {"eos_token": END, "unk_token": UNK, **({"pad_token": PAD} if PAD in ids else {})}
        super().__init__(engine, eos=END, extra_files=ExtraFiles({**config, **roles}))
        self.files = {name: (folder / name).read_bytes() for name in (VOCABULARY, SOURCE, TARGET)}
        if (folder / CONFIG).is_file():
            self.files[CONFIG] = (folder / CONFIG).read_bytes()

    @property
    def kind(self) -> str:
        return "sentencepiece"

    @property
    def bos_id(self) -> int | None:
        """None: what begins a translation is the model's start token."""
        return None

    def split(self, text: str) -> list[str]:
        """The pieces of a text, known to the vocabulary or not."""
        code, rest = _language_code(text)
        return [*code, *self.pieces.encode(rest, out_type=str)]

    def encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
        super().encode_batch(texts)  # refuses what is no text
        ids = self.engine.get_vocab()
        return [[ids.get(piece, ids[UNK]) for piece in self.split(text)] for text in texts]

    def encode_source(self, text: str) -> list[int]:
        return [*self.encode(text), self.engine.get_vocab()[END]]

    def decode(self, ids: Ids) -> str:
        return super().decode(ids).strip()

    def unknown_words(self, text: str) -> list[str]:
        unknown = [piece for piece in self.split(text) if self.engine.token_to_id(piece) is None]
        return list(dict.fromkeys(piece.replace("▁", "") for piece in unknown))

    @cached_property
    def splits_where_pieces_end(self) -> bool:
        return False  # each piece of a text would begin as a text does

    def trace(self, text: str) -> TextTrace:
        raise GlassformerError(
            f"SentencePiece picks the most probable cut of all of a text at once, and has no merges"
            f" to replay; {len(self.split(text))} pieces came of it: {' '.join(self.split(text))}"
        )

    @cached_property
    def fingerprint(self) -> str:
        """The SHA-256 of the files that decide every id."""
        names = (VOCABULARY, SOURCE, TARGET)
        return hashlib.sha256(b"".join(self.files[name] for name in names)).hexdigest()

    def save(self, folder: str | Path) -> None:
        """Write the files as they were read; `transformers` reads them."""
        where = Path(folder)
        where.mkdir(parents=True, exist_ok=True)
        config = {"tokenizer_class": "MarianTokenizer", "eos_token": END, "unk_token": UNK}
        for name, content in {CONFIG: json.dumps(config, indent=2).encode(), **self.files}.items():
            write_atomically(where / name, content)


def _language_code(text: str) -> tuple[list[str], str]:
    """The code of a language at a text's beginning, and the rest.

    >>> _language_code(">>fra<< the cat")
    (['>>fra<<'], ' the cat')
    """
    end = text.find("<<")
    return ([text[: end + 2]], text[end + 2 :]) if text.startswith(">>") and end > 0 else ([], text)


def _pieces(folder: Path) -> Any:
    """SentencePiece with the source's pieces."""
    try:
        import sentencepiece
    except ImportError:
        raise GlassformerError(
            f"{folder} has Marian's own tokenizer ({VOCABULARY}, {SOURCE} and {TARGET}), which"
            " SentencePiece reads, and that is not installed: pip install 'glassformer[marian]'"
        ) from None
    try:
        return sentencepiece.SentencePieceProcessor(model_file=str(folder / SOURCE))
    except (OSError, RuntimeError) as error:
        raise GlassformerError(
            f"{folder / SOURCE} is no model of SentencePiece ({str(error).splitlines()[0]}); copy"
            " it again"
        ) from error
