"""Chats of clients become tokens, by the tokenizer's own template."""

from __future__ import annotations

from collections.abc import Sequence

from glassformer.server.v1.engines import Served
from glassformer.server.v1.errors import FieldError
from glassformer.server.v1.schemas import Message
from glassformer.text.chat import ChatError, prompt_ids, usual_template


def chat_ids(served: Served, messages: Sequence[Message]) -> list[int]:
    """The tokens of a chat up to where the assistant goes on.

    Errors: a tokenizer without a template, a model that translates, and what `prompt_ids` refuses.
    """
    tokenizer = served.tokenizer
    if served.towers is not None:
        raise FieldError(
            "model", f"{served.run} translates and holds no chats; use /v1/completions"
        )
    template = usual_template(tokenizer)
    if template is None:
        raise FieldError(
            "messages",
            "this model's tokenizer has no chat_template, so it was not made for chats; use"
            " /v1/completions, or put a chat_template.jinja into the model's folder",
        )
    plain = [
        {"role": message.role, "content": message.text}
        | ({} if message.name is None else {"name": message.name})
        for message in messages
    ]
    try:
        return prompt_ids(template, tokenizer, plain)
    except ChatError as error:
        raise FieldError("messages", str(error)) from error
