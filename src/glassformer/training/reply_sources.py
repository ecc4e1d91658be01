"""Runs that learn replies: conversations, and replies of which one is preferred to another."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from glassformer.errors import GlassformerError
from glassformer.model import Decoder
from glassformer.model.kinds import AnyModel
from glassformer.text.chat import PLAIN
from glassformer.text.chat_rows import ChatText
from glassformer.text.corpus import FIELD, Corpus
from glassformer.text.tokenizer import Tokenizer
from glassformer.training.chat import context_of, for_chats, write_chats
from glassformer.training.choices import Choices
from glassformer.training.device import choose_device
from glassformer.training.preference import (
    storyland_preferences,
    write_preferences,
    write_reference,
)
from glassformer.training.source import Begun, Preset, Source, Written
from glassformer.training.storyland_chat import (
    chat_tokenizer,
    refuse_short_context,
    write_storyland_chats,
)
from glassformer.training.text_sources import Stories, Texts


class Replies(Source):
    """Of which what a model replies is learned."""

    def __init__(self, choices: Choices, *of: Any) -> None:
        if choices.weights or choices.document_mask or choices.separator:
            raise GlassformerError(
                "chats are learned one by one; leave out --weights, --separator and --document-mask"
            )
        super().__init__(choices, *of)

    def with_template(self, tokenizer: Tokenizer) -> Tokenizer:
        return for_chats(tokenizer)


class Chats(Replies, Texts):
    """Rows of `messages`; the assistant's tokens alone are learned."""

    def __init__(self, choices: Choices, preset: Preset, corpus: Corpus) -> None:
        corpus.document = ChatText(PLAIN, {})
        super().__init__(choices, preset, corpus)

    def longest(self, tokenizer: Tokenizer) -> int:
        return context_of(self.corpus, tokenizer)

    def write(self, folder: Path, begun: Begun) -> Written:
        _, notes = write_chats(folder, self.corpus, begun.tokenizer, begun.n_ctx, begun.progress)
        return Written({"kind": "chat", "texts": [*self.choices.texts]}, notes)


class StorylandChats(Replies, Stories):
    """Conversations about Storyland, with a known floor."""

    def new_tokenizer(self, n_characters: int) -> Tokenizer:
        if self.choices.tokenizer is None and self.choices.vocab_size is None:
            return chat_tokenizer()
        return super().new_tokenizer(n_characters)

    def check_context(self, n_ctx: int) -> None:
        refuse_short_context(n_ctx)

    def write(self, folder: Path, begun: Begun) -> Written:
        floor = write_storyland_chats(folder, begun.tokenizer, begun.recipe)
        return Written({"kind": "chat", "made": "storyland", "floor": floor})


class ComparedReplies(Replies):
    """Of which a trained model learns to prefer one reply to another."""

    def __init__(self, choices: Choices, *of: Any) -> None:
        refuse_for_preferences(choices)
        super().__init__(choices, *of)

    def accept(self, model: AnyModel) -> None:
        if not isinstance(model, Decoder):
            raise GlassformerError(
                "--dpo is for a model that replies to what comes before, and this one has an"
                " encoder; give a model of one tower that reads from left to right"
            )

    def compared(
        self, described: dict[str, Any], folder: Path, begun: Begun, notes: tuple[str, ...]
    ) -> Written:
        """What run.json says of pairs, after the model that begins has read every reply."""
        assert isinstance(begun.model, Decoder), "accepted before"
        model = begun.model.to(choose_device(self.choices.device))
        reference = write_reference(folder, model, begun.tokenizer)
        how = {"beta": self.choices.beta, "reference_sha256": reference}
        return Written({**described, **how}, notes)


class Preferences(ComparedReplies, Texts):
    """Rows of two replies to a prompt, of which a trained model learns to prefer one."""

    @property
    def is_short(self) -> bool:
        return False  # the model reads every reply first

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
        return self.compared(described, folder, begun, written)


class StorylandPreferences(ComparedReplies):
    """Right and wrong replies to questions about Storyland."""

    def write(self, folder: Path, begun: Begun) -> Written:
        rows = storyland_preferences(begun.recipe)
        notes = write_preferences(folder, rows, begun.tokenizer, begun.n_ctx)
        described = {"kind": "preference", "made": "storyland"}
        return self.compared(described, folder, begun, notes)


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
