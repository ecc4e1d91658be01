"""Runs that learn texts: those that are named, documents of our own, or pairs of sentences."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from glassformer.errors import GlassformerError
from glassformer.model import EncoderDecoder
from glassformer.model.kinds import AnyModel
from glassformer.model.size import parameter_count
from glassformer.text.corpus import Corpus
from glassformer.text.mixture import name_of, parts_of, shares
from glassformer.text.tokenizer import Tokenizer
from glassformer.training.choices import Choices
from glassformer.training.corpora import write_corpus
from glassformer.training.recipe import Recipe
from glassformer.training.sizing import (
    LONGEST,
    is_learned_whole,
    measured,
    out_of_proportion,
    sized,
    spelled,
)
from glassformer.training.source import REHEARSED, Begun, Preset, Source, Written
from glassformer.training.storyland import documents, write_storyland
from glassformer.training.translation import (
    describe_translation,
    towers_of,
    translation_tokenizer,
)

VOCABULARY_DOCUMENTS = 5_000  # of a corpus of ours have each of its words
WHOLE = "the whole text is learned: it is too short to hold out a part of it and measure on that"


class Texts(Source):
    """Texts that are named. Without a preset their length decides the sizes of a new model."""

    def __init__(self, choices: Choices, preset: Preset, corpus: Corpus) -> None:
        self.names = [name_of(text) for text in choices.texts]
        if choices.weights:
            shares(choices.weights, self.names)
        self.corpus = corpus
        self.size = None
        if choices.preset is None and choices.start_from is None:
            self.size = measured(corpus.texts())
            preset = sized(self.size, preset, choices.tokenizer)
        super().__init__(choices, preset)

    def texts(self) -> Iterable[str]:
        return self.corpus.texts()

    @property
    def is_short(self) -> bool:
        n_bytes = self.corpus.n_bytes
        return n_bytes is not None and n_bytes <= REHEARSED

    def write(self, folder: Path, begun: Begun) -> Written:
        choices = self.choices
        described: dict[str, Any] = {"kind": "text", "texts": [*choices.texts]}
        shard, notes = write_corpus(folder, self.corpus, begun.tokenizer, begun.progress)
        if choices.weights:
            parts = parts_of(shard, self.names, choices.weights, self.corpus.n_documents)
            described["parts"] = [part._asdict() for part in parts]
        elif is_learned_whole(len(shard)):
            described["whole"] = True
            notes += (WHOLE,)
        return Written(described, (*notes, *self._size_notes(begun, len(shard))))

    def _size_notes(self, begun: Begun, n_tokens: int) -> Iterable[str]:
        """Which sizes were chosen for the text; and whether a person's are out of proportion."""
        config = begun.model.config
        if self.size is not None and self.size.n_characters < LONGEST:
            n = self.size.n_characters
            chosen = spelled(begun.tokenizer.kind, config.to_dict(), begun.recipe.to_dict())
            yield f"for a text of {n:,} character{'' if n == 1 else 's'}: {chosen}"
        has_own_sizes = self.choices.preset is not None or bool(self.choices.model)
        if self.choices.start_from is None and has_own_sizes:
            too_large = out_of_proportion(parameter_count(config), n_tokens)
            if too_large is not None:
                yield too_large


class Stories(Source):
    """Storyland's documents, or another corpus of ours whose documents have known probability."""

    @property
    def kind(self) -> str:
        kind: str = self.preset.get("corpus", {}).get("kind", "storyland")
        return kind

    def texts(self) -> Iterable[str]:
        return (d.text for d in documents("vocabulary", VOCABULARY_DOCUMENTS, self.kind))

    def write(self, folder: Path, begun: Begun) -> Written:
        floor = write_storyland(folder, begun.tokenizer, begun.recipe, self.kind)
        if not begun.model.config.causal:
            return Written({"kind": self.kind})
        return Written({"kind": self.kind, "floor": floor})


class Translations(Source):
    """Pairs of sentences, for two towers."""

    def __init__(self, choices: Choices, preset: Preset) -> None:
        options = (choices.tokenizer, choices.vocab_size)
        if choices.texts or options != (None, None) or choices.document_mask:
            raise GlassformerError(
                f"--preset {choices.preset} writes its own pairs of sentences and has a tokenizer"
                " of their words; leave out TEXT, --tokenizer, --vocab-size and --document-mask"
            )
        super().__init__(choices, preset)
        self.language: str = preset["corpus"]["language"]

    def begin(self, recipe: Recipe) -> tuple[AnyModel, Tokenizer]:
        tokenizer = translation_tokenizer(self.language)
        towers = towers_of(self.preset["model"], self.choices.model, tokenizer)
        return EncoderDecoder(self.trainable(towers, recipe)), tokenizer

    def rehearse(self, recipe: Recipe) -> tuple[AnyModel, Tokenizer]:
        return self.begin(recipe)  # its towers are small

    def accept(self, model: AnyModel) -> None:
        if not isinstance(model, EncoderDecoder):
            raise GlassformerError(
                "translations are for an encoder-decoder, and this model has one tower; leave out"
                " --preset, or --from to train a new one"
            )

    def write(self, folder: Path, begun: Begun) -> Written:
        model, tokenizer, recipe = begun.model, begun.tokenizer, begun.recipe
        assert isinstance(model, EncoderDecoder), "accepted above, or begun here"
        return Written(describe_translation(folder, model, tokenizer, recipe, self.language))
