"""A conversation: what was said before goes with each message, as far as the context holds it."""

from __future__ import annotations

from collections.abc import Iterator

from glassformer.cli.answer import Answers, write
from glassformer.cli.streams import note
from glassformer.errors import GlassformerError
from glassformer.generation.generation import Generation
from glassformer.text.chat import Message, prompt_ids, usual_template

RESERVED = 16  # tokens that are kept free for a reply


class ChatAnswers(Answers):
    """Replies in place of continuations; `messages` is the conversation so far."""

    alone = True

    def __post_init__(self) -> None:
        super().__post_init__()
        self.messages: list[Message] = []
        if usual_template(self.tokenizer) is None:
            raise GlassformerError(
                "this model's tokenizer has no chat template, so it was not made for chats; leave"
                " --chat out, or train it on rows of messages"
            )

    def complete(self, prompt: str) -> Generation:
        """Stream the reply to a message."""
        generation, pieces = self.begin(prompt)
        try:
            for piece in pieces:
                write(piece)
        finally:
            write("\n")
        if not self.messages[-1]["content"]:
            note("the reply is empty")
        return generation

    def begin(self, prompt: str) -> tuple[Generation, Iterator[str]]:
        """The reply to a message, piece by piece; message and reply are kept."""
        generation, pieces = super().begin(prompt)
        reply = {"role": "assistant", "content": ""}
        self.messages.append(reply)

        def kept() -> Iterator[str]:
            for piece in pieces:
                reply["content"] += piece
                yield piece

        return generation, kept()

    def begin_with(self, prompt: str) -> list[int]:
        """The conversation's tokens with a new message; the oldest go where the context is full."""
        template = usual_template(self.tokenizer)
        assert template is not None, "looked at when it began"
        messages = [*self.messages, {"role": "user", "content": prompt}]
        n_ctx = self.model.config.n_ctx
        ids = prompt_ids(template, self.tokenizer, messages)
        while len(ids) + min(RESERVED, n_ctx // 4) > n_ctx and len(messages) > 2:
            del messages[:2]  # what was asked and what was replied
            ids = prompt_ids(template, self.tokenizer, messages)
        forgotten = len(self.messages) + 1 - len(messages)
        if forgotten:
            note(f"the context of {n_ctx:,} tokens is full: the {forgotten} oldest messages go")
        self.messages = messages
        return ids
