"""Rows of chats: the `messages` of each, as text to learn a vocabulary from, and as tokens."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from glassformer.errors import GlassformerError
from glassformer.jsons import kind
from glassformer.text.chat import ChatError, Message, RenderedChat, render_chat, rendered
from glassformer.text.rows import Row, value_of, whole_characters
from glassformer.text.tokenizer import Tokenizer

MESSAGES = "messages"
ROLES = ("system", "developer", "user", "assistant", "tool")


class ChatText:
    """A chat as its template writes it; `names` are special tokens by role.

    >>> row = Row("chats.jsonl:1", {"messages": [{"role": "user", "content": "Hello."}]})
    >>> ChatText("{% for one in messages %}{{ one.content }}{% endfor %}", {})(row)
    'Hello.'
    """

    fields: Sequence[str] = (MESSAGES,)

    def __init__(self, template: str, names: Mapping[str, str]) -> None:
        self._template, self._names = template, names

    def __call__(self, row: Row) -> str:
        try:
            return rendered(self._template, messages_of(row), self._names)
        except ChatError as error:
            raise _in_row(row, error) from error


def render_row(row: Row, template: str, tokenizer: Tokenizer) -> RenderedChat:
    """A row's tokens, and which of them the assistant said."""
    return render_messages(row, messages_of(row), template, tokenizer)


def render_messages(
    row: Row, messages: Sequence[Message], template: str, tokenizer: Tokenizer
) -> RenderedChat:
    """The tokens of messages of a row, and which of them the assistant said."""
    try:
        return render_chat(template, tokenizer, messages)
    except ChatError as error:
        raise _in_row(row, error) from error


def messages_of(row: Row) -> list[Message]:
    """The messages of a row; raises, with the row's place, for what is none."""
    return messages_in(row, MESSAGES, value_of(row, MESSAGES, "a chat's row has them"))


def messages_in(row: Row, name: str, values: Any) -> list[Message]:
    """The messages of a field of a row; raises, with the row's place, for what is none."""
    if not isinstance(values, list) or not values:
        got = "empty" if values == [] else kind(values)
        raise wrong_row(row, f"{name!r} is {got}", "a list of messages")
    return [_message(row, number, value) for number, value in enumerate(values, start=1)]


def _message(row: Row, number: int, value: Any) -> Message:
    if not isinstance(value, Mapping):
        raise wrong_row(
            row, f"message {number} is {kind(value)}", "an object with role and content"
        )
    role, content = value.get("role"), value.get("content")
    if role not in ROLES:
        raise wrong_row(
            row, f"message {number} has the role {role!r}", f"one of {', '.join(ROLES)}"
        )
    if not isinstance(content, str):
        raise wrong_row(row, f"the content of message {number} is {kind(content)}", "a text")
    named = {"name": value["name"]} if isinstance(value.get("name"), str) else {}
    return {
        "role": role,
        "content": whole_characters(content, row.where, f"message {number}"),
        **named,
    }


def wrong_row(row: Row, got: str, fix: str) -> GlassformerError:
    """What is to be said of a row that is not as it must be."""
    return GlassformerError(f"{row.where}: {got}; it must be {fix}: mend it or leave the row out")


def _in_row(row: Row, error: ChatError) -> GlassformerError:
    return GlassformerError(f"{row.where}: {error}")
