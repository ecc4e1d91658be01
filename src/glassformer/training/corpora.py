"""A run's corpus: what run.json says of it, its tokens on the disk, and the data they become."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Annotated, Any, Literal, NotRequired

from pydantic import Field, with_config
from typing_extensions import TypedDict

from glassformer.jsons import LARGEST, OPEN, Count, DamagedFileError, Schema, Sha256
from glassformer.text.blocks import Blocks
from glassformer.text.corpus import Corpus
from glassformer.text.mixture import Mixture, Part
from glassformer.text.shard import Shard
from glassformer.text.shard_writing import write_shard
from glassformer.text.tokenizer import Tokenizer
from glassformer.training.chat import ChatData
from glassformer.training.data import BlocksData, Data
from glassformer.training.masking import Frame, MaskedData
from glassformer.training.preference import PreferenceData
from glassformer.training.recipe import Recipe
from glassformer.training.run import FIX
from glassformer.training.storyland import WRITERS, open_storyland
from glassformer.training.translation import open_translation

Progress = Callable[[float], object]
"""Is told, now and then, which share of a work is done."""


@with_config(OPEN)
class PartFile(TypedDict):
    """A text of a mixture: its tokens in the shard, and its share of all blocks."""

    name: str
    weight: Annotated[float, Field(gt=0, le=1)]
    first: Count
    end: Count


@with_config(OPEN)
class TrainingCorpus(TypedDict):
    """What run.json says of a corpus; of Storyland also its `floor`, nats per token.

    `prompts` are those of `text.translation.prompts`, documents of known probability like it.

    `whole`: all of it is learned, and none held out. `parts`: the texts of a mixture.
    `beta` and `reference_sha256`: of preferences, how much a gain counts and what it is over.
    `document_mask`: attention does not cross from one document to the next. Translations have a
    `language`, and what fills sentences up and begins them. `masked`: an encoder says what is
    hidden. `made`: of chats, the corpus of ours that they are.
    """

    kind: Literal["storyland", "prompts", "text", "chat", "preference", "translation"]
    n_ctx: Annotated[int, Field(ge=1, le=LARGEST)]
    floor: NotRequired[float]
    whole: NotRequired[bool]
    parts: NotRequired[list[PartFile]]
    language: NotRequired[str]
    pad_id: NotRequired[Count]
    start_id: NotRequired[Count]
    document_mask: NotRequired[bool]
    masked: NotRequired[bool]
    made: NotRequired[str]
    beta: NotRequired[Annotated[float, Field(gt=0)]]
    reference_sha256: NotRequired[Sha256]


_CORPUS = Schema(TrainingCorpus)


def write_corpus(
    folder: str | Path,
    corpus: Corpus,
    tokenizer: Tokenizer,
    progress: Progress = lambda share: None,
) -> tuple[Shard, tuple[str, ...]]:
    """Tokenize a corpus into a shard; say which marks between documents were read as letters."""
    result: Counter[str] = Counter()
    shard = write_shard(
        folder,
        corpus.pieces_counting(tokenizer.usual_separators, result),
        tokenizer,
        progress=lambda n_bytes: progress(corpus.n_read / (corpus.n_bytes or 1)),
    )
    return shard, tuple(
        f"{mark} stands {count:,} time{'' if count == 1 else 's'} in the text and is read as"
        f" letters; if it separates the documents of a text file, add --separator '{mark}'"
        for mark, count in sorted(result.items())
    )


def open_data(folder: Path, corpus: dict[str, Any], tokenizer: Tokenizer, recipe: Recipe) -> Data:
    """The tokens that a run keeps in `folder`; `corpus` is its run.json's."""
    if corpus.get("kind") == "chat":
        return ChatData(Shard(folder, tokenizer=tokenizer), recipe.seed, corpus.get("floor"))
    if corpus.get("kind") == "preference":
        _check_fields(corpus, folder, ("beta", "reference_sha256"))
        shard = Shard(folder, tokenizer=tokenizer)
        return PreferenceData(shard, recipe.seed, corpus["beta"], corpus["reference_sha256"])
    if corpus.get("kind") != "translation":
        return open_blocks(folder, corpus, tokenizer, recipe)
    _check_fields(corpus, folder, ("floor", "pad_id", "start_id"))
    return open_translation(folder, tokenizer, recipe.seed, corpus)


def _check_fields(corpus: dict[str, Any], folder: Path, names: Iterable[str]) -> None:
    """Raise for a field that this kind of corpus must have, or one that can't be."""
    file = folder.parent / "run.json"
    described = _CORPUS.check(corpus, file, FIX, within="corpus")
    for name in names:
        if name not in described:
            raise DamagedFileError(file, f"has no 'corpus.{name}'", FIX, f"corpus.{name}")


def open_blocks(
    folder: Path, corpus: dict[str, Any], tokenizer: Tokenizer, recipe: Recipe
) -> BlocksData | MaskedData:
    """The tokens of a text that a run keeps in `folder`, as blocks."""
    file = folder.parent / "run.json"
    described = _CORPUS.check(corpus, file, FIX, within="corpus")
    apart = described.get("document_mask", False)
    masked = described.get("masked", False)
    # what stands around a text has its room
    n_ctx = described["n_ctx"] - (Frame(tokenizer).width if masked else 0)
    if described["kind"] in WRITERS:
        floor = described.get("floor")
        if masked:
            stories = open_storyland(folder, tokenizer, n_ctx, recipe.seed, 0.0)
            return MaskedData(stories.blocks, tokenizer, recipe.seed)
        if floor is None:
            raise DamagedFileError(file, "has no 'corpus.floor'", FIX, "corpus.floor")
        return open_storyland(folder, tokenizer, n_ctx, recipe.seed, floor, apart)
    shard = Shard(folder, tokenizer=tokenizer)
    if "parts" in described:
        parts = [Part(**part) for part in described["parts"]]
        blocks: Blocks | Mixture = Mixture(shard, n_ctx, parts)
    else:
        mode: Literal["stream", "whole"] = "whole" if described.get("whole") else "stream"
        blocks = Blocks(shard, n_ctx, mode=mode)
    if masked:
        return MaskedData(blocks, tokenizer, recipe.seed)
    return BlocksData(blocks, recipe.seed, document_mask=apart)
