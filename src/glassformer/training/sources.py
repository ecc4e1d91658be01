"""What a run learns from: texts, chats, preferences, or a corpus of ours, by what was asked."""

from __future__ import annotations

from glassformer.errors import GlassformerError
from glassformer.text.chat_rows import MESSAGES
from glassformer.text.corpus import FIELD, Corpus
from glassformer.text.preference_rows import is_preference
from glassformer.training.chat import first_fields
from glassformer.training.choices import Choices
from glassformer.training.reply_sources import (
    Chats,
    Preferences,
    StorylandChats,
    StorylandPreferences,
)
from glassformer.training.source import Preset, Source
from glassformer.training.text_sources import Stories, Texts, Translations


def source_of(choices: Choices, preset: Preset) -> Source:
    """The source that was asked for: texts that are named, or the preset's own corpus."""
    corpus_settings = preset.get("corpus", {})
    if not choices.texts:
        _refuse_for_our_texts(choices)
    if "language" in corpus_settings:
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
    if corpus_settings.get("chats") == "storyland":
        return StorylandChats(choices, preset)
    return Stories(choices, preset)


def _refuse_for_our_texts(choices: Choices) -> None:
    """Refuse options that say how texts are read, where none is named."""
    is_field = choices.text_field != FIELD
    if is_field or choices.template is not None or choices.separator or choices.weights:
        raise GlassformerError(
            "--field, --template, --separator and --weights say how texts are read, and none is"
            " named; give a TEXT, or leave them out"
        )
