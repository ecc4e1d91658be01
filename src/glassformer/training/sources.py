"""What a run learns from: texts, chats, or a corpus of ours; a new model and tokens for each."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

from glassformer.errors import GlassformerError
from glassformer.model import Config, Decoder, EncoderDecoder
from glassformer.model.kinds import AnyModel, kind_of
from glassformer.model.size import parameter_count
from glassformer.text.chat import PLAIN
from glassformer.text.chat_rows import MESSAGES, ChatText
from glassformer.text.corpus import FIELD, Corpus
from glassformer.text.mixture import name_of, parts_of, shares
from glassformer.text.preference_rows import is_preference
from glassformer.text.tokenizer import Tokenizer
from glassformer.training.chat import context_of, first_fields, for_chats, write_chats
from glassformer.training.choices import Choices
from glassformer.training.corpora import Progress, write_corpus
from glassformer.training.device import choose_device
from glassformer.training.new_tokenizer import new_tokenizer
from glassformer.training.plan import refuse_larger_than_memory
from glassformer.training.preference import (
    storyland_preferences,
    write_preferences,
    write_reference,
)
from glassformer.training.recipe import Recipe
from glassformer.training.sizing import (
    LONGEST,
    is_learned_whole,
    measured,
    out_of_proportion,
    sized,
    spelled,
)
from glassformer.training.storyland import documents, write_storyland
from glassformer.training.storyland_chat import chat_tokenizer, write_storyland_chats
from glassformer.training.trainable import HEAD, check_trainable
from glassformer.training.translation import (
    describe_translation,
    towers_of,
    translation_tokenizer,
)

VOCABULARY_DOCUMENTS = 5_000  # of a corpus of ours have each of its words
WHOLE = "the whole text is learned: it is too short to hold out a part of it and measure on that"

Preset = dict[str, Any]


class Begun(NamedTuple):
    """What is decided before tokens are written."""

    model: AnyModel
    tokenizer: Tokenizer
    recipe: Recipe
    n_ctx: int
    progress: Progress
    """Is told which share of the text is tokens by now."""


class Written(NamedTuple):
    """What run.json says of the tokens, and what the person should know of them."""

    corpus: dict[str, Any]
    notes: tuple[str, ...] = ()


def source_of(choices: Choices, preset: Preset) -> Source:
    """The source that was asked for: texts that are named, or the preset's own corpus."""
    own = preset.get("corpus", {})
    if "language" in own:
        return Translations(choices, preset)
    if choices.beta is not None and not choices.texts:
        return StorylandPreferences(choices, preset)
    if choices.texts:
        corpus = Corpus(
            choices.texts,
            field=choices.text_field,
            separator=choices.separator,
            template=choices.template,
        )
        if choices.beta is not None:
            return Preferences(choices, preset, corpus)
        whole_rows = choices.template is None and choices.text_field == FIELD
        fields = first_fields(corpus) if whole_rows else ()
        if FIELD not in fields and is_preference(fields):
            raise GlassformerError(
                f"{corpus.sources[0].name} has rows of chosen and rejected replies; add --dpo and"
                " --from MODEL, which learns to prefer the chosen ones, or name one --field"
            )
        kind = Chats if MESSAGES in fields and FIELD not in fields else Texts
        return kind(choices, preset, corpus)
    if own.get("chats") == "storyland":
        return StorylandChats(choices, preset)
    return Stories(choices, preset)


class Source(ABC):
    """A corpus that a model of one tower learns from."""

    def __init__(self, choices: Choices, preset: Preset) -> None:
        self.choices, self.preset = choices, preset

    def begin(self, recipe: Recipe) -> tuple[AnyModel, Tokenizer]:
        """A new model and its tokenizer, of the sizes of the preset and of the choices."""
        tokenizer = self.new_tokenizer()
        config = Config.from_dict(self.sizes(tokenizer))
        check_trainable(config)
        refuse_larger_than_memory(config, recipe.batch_size)
        return kind_of(config)(config), tokenizer

    def new_tokenizer(self) -> Tokenizer:
        return new_tokenizer(self.choices, self.preset.get("tokenizer", {}), self.texts())

    def sizes(self, tokenizer: Tokenizer) -> dict[str, Any]:
        """The model's, the neurons as many times the stream's width as in the preset.

        An output head that is trained alone has a matrix of its own.
        """
        usual = self.preset["model"]
        if HEAD in self.choices.recipe.get("only", ()):
            usual = {**usual, "tied": False}
        sizes = {**usual, **self.choices.model, "vocab_size": tokenizer.vocab_size}
        if "d_mlp" in sizes:
            sizes["d_mlp"] = sizes["d_mlp"] * sizes["d_model"] // usual["d_model"]
        return sizes

    def accept(self, model: AnyModel) -> None:
        """Refuse a trained model that can't go on learning from this."""
        if isinstance(model, EncoderDecoder):
            raise GlassformerError(
                "an encoder-decoder learns from pairs of sentences; say which by --preset"
                " translation"
            )

    def with_template(self, tokenizer: Tokenizer) -> Tokenizer:
        """The tokenizer with all that the corpus needs of it."""
        return tokenizer

    def texts(self) -> Iterable[str]:
        """Texts to learn a vocabulary from; none where a tokenizer is there already."""
        return ()

    @abstractmethod
    def write(self, folder: Path, begun: Begun) -> Written:
        """Write the tokens into a folder."""


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


class Chats(Texts):
    """Rows of `messages`; the assistant's tokens alone are learned."""

    def __init__(self, choices: Choices, preset: Preset, corpus: Corpus) -> None:
        if choices.weights or choices.document_mask:
            raise GlassformerError(
                "chats are learned one by one; leave out --weights and --document-mask"
            )
        corpus.document = ChatText(PLAIN, {})
        super().__init__(choices, preset, corpus)

    def sizes(self, tokenizer: Tokenizer) -> dict[str, Any]:
        sizes = super().sizes(tokenizer)
        if "n_ctx" not in self.choices.model:
            sizes["n_ctx"] = max(sizes["n_ctx"], context_of(self.corpus, tokenizer))
        return sizes

    def with_template(self, tokenizer: Tokenizer) -> Tokenizer:
        return for_chats(tokenizer)

    def write(self, folder: Path, begun: Begun) -> Written:
        _, notes = write_chats(folder, self.corpus, begun.tokenizer, begun.n_ctx, begun.progress)
        return Written({"kind": "chat", "texts": [*self.choices.texts]}, notes)


class Preferences(Texts):
    """Rows of two replies to a prompt, of which a trained model learns to prefer one."""

    def __init__(self, choices: Choices, preset: Preset, corpus: Corpus) -> None:
        refuse_for_preferences(choices)
        super().__init__(choices, preset, corpus)

    def accept(self, model: AnyModel) -> None:
        refuse_for_replies(model)

    def with_template(self, tokenizer: Tokenizer) -> Tokenizer:
        return for_chats(tokenizer)

    def write(self, folder: Path, begun: Begun) -> Written:
        corpus = self.corpus
        written = write_preferences(
            folder,
            corpus.rows(),
            begun.tokenizer,
            begun.n_ctx,
            lambda _: begun.progress(corpus.n_read / (corpus.n_bytes or 1)),
        )
        described = {"kind": "preference", "texts": [*self.choices.texts]}
        return compared(described, folder, begun, self.choices, written)


class Stories(Source):
    """Storyland's documents, or another corpus of ours whose documents have known probability."""

    @property
    def kind(self) -> str:
        return self.preset.get("corpus", {}).get("kind", "storyland")

    def texts(self) -> Iterable[str]:
        return (d.text for d in documents("vocabulary", VOCABULARY_DOCUMENTS, self.kind))

    def write(self, folder: Path, begun: Begun) -> Written:
        floor = write_storyland(folder, begun.tokenizer, begun.recipe, self.kind)
        if not begun.model.config.causal:
            return Written({"kind": self.kind})
        return Written({"kind": self.kind, "floor": floor})


class StorylandChats(Stories):
    """Conversations about Storyland, with a known floor."""

    def new_tokenizer(self) -> Tokenizer:
        if self.choices.tokenizer is None and self.choices.vocab_size is None:
            return chat_tokenizer()
        return super().new_tokenizer()

    def with_template(self, tokenizer: Tokenizer) -> Tokenizer:
        return for_chats(tokenizer)

    def write(self, folder: Path, begun: Begun) -> Written:
        floor = write_storyland_chats(folder, begun.tokenizer, begun.recipe, begun.n_ctx)
        return Written({"kind": "chat", "made": "storyland", "floor": floor})


class StorylandPreferences(Source):
    """Right and wrong replies to questions about Storyland."""

    def __init__(self, choices: Choices, preset: Preset) -> None:
        refuse_for_preferences(choices)
        super().__init__(choices, preset)

    def accept(self, model: AnyModel) -> None:
        refuse_for_replies(model)

    def with_template(self, tokenizer: Tokenizer) -> Tokenizer:
        return for_chats(tokenizer)

    def write(self, folder: Path, begun: Begun) -> Written:
        rows = storyland_preferences(begun.recipe)
        notes = write_preferences(folder, rows, begun.tokenizer, begun.n_ctx)
        described = {"kind": "preference", "made": "storyland"}
        return compared(described, folder, begun, self.choices, notes)


def compared(
    described: dict[str, Any],
    folder: Path,
    begun: Begun,
    choices: Choices,
    notes: tuple[str, ...],
) -> Written:
    """What run.json says of preferences, after the model that begins has read every reply."""
    assert isinstance(begun.model, Decoder), "accepted before"
    model = begun.model.to(choose_device(choices.device))
    reference = write_reference(folder, model, begun.tokenizer)
    return Written({**described, "beta": choices.beta, "reference_sha256": reference}, notes)


def refuse_for_preferences(choices: Choices) -> None:
    """Refuse what has no meaning where replies are compared."""
    if choices.start_from is None:
        raise GlassformerError(
            "--dpo compares a trained model with what it was before; say which by --from FOLDER"
        )
    fields = choices.template is not None or choices.text_field != FIELD
    if choices.preset or choices.weights or choices.document_mask or choices.separator or fields:
        raise GlassformerError(
            "--dpo reads rows of prompt, chosen and rejected; leave out --preset, --field,"
            " --template, --separator, --weights and --document-mask"
        )


def refuse_for_replies(model: AnyModel) -> None:
    """Refuse a model that doesn't reply."""
    if not isinstance(model, Decoder):
        raise GlassformerError(
            "--dpo is for a model that replies to what comes before, and this one has an encoder;"
            " give a model of one tower that reads from left to right"
        )


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
        check_trainable(towers)
        refuse_larger_than_memory(towers, recipe.batch_size)
        return EncoderDecoder(towers), tokenizer

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
