"""Rows of preferences: `prompt`, and a `chosen` and a `rejected` reply to it, as tokens."""

from __future__ import annotations

from collections.abc import Collection
from itertools import takewhile
from typing import NamedTuple

import numpy as np

from glassformer.jsons import kind
from glassformer.text.chat import Message, RenderedChat
from glassformer.text.chat_rows import messages_in, render_messages, wrong_row
from glassformer.text.rows import Row, value_of, whole_characters
from glassformer.text.tokenizer import Tokenizer

PROMPT, CHOSEN, REJECTED = "prompt", "chosen", "rejected"


class Preference(NamedTuple):
    """Two conversations that go on differently, whole; both end with the assistant's reply."""

    chosen: list[Message]
    rejected: list[Message]


def is_preference(fields: Collection[str]) -> bool:
    """Whether a row's fields are those of a preference."""
    return CHOSEN in fields and REJECTED in fields


def preference_of(row: Row) -> Preference:
    """The two conversations of a row, in trl's forms but that of texts without a prompt.

    A reply is a text or a list of messages; so is `prompt`, which may be missing where both replies
    are whole conversations. A text is one message.

    >>> row = Row("rows.jsonl:1", {"prompt": "Red?", "chosen": "Yes.", "rejected": "No."})
    >>> [message["content"] for message in preference_of(row).chosen]
    ['Red?', 'Yes.']
    """
    prompt = row.values.get(PROMPT)
    if isinstance(prompt, str):
        before = [_message(row, PROMPT, "user", prompt)]
    else:
        before = [] if prompt is None else messages_in(row, PROMPT, prompt)
    return Preference(*(_conversation(row, name, before) for name in (CHOSEN, REJECTED)))


def _conversation(row: Row, name: str, before: list[Message]) -> list[Message]:
    value = value_of(row, name, "a preference has a chosen and a rejected reply")
    if isinstance(value, str):
        if not before:
            raise wrong_row(row, f"{name!r} is a text and there is no {PROMPT!r}", "a reply to one")
        return [*before, _message(row, name, "assistant", value)]
    if not isinstance(value, list):
        raise wrong_row(row, f"{name!r} is {kind(value)}", "a text or a list of messages")
    messages = [*before, *messages_in(row, name, value)]
    if messages[-1]["role"] != "assistant":
        raise wrong_row(
            row, f"{name!r} ends with the {messages[-1]['role']}", "the assistant's reply"
        )
    return messages


def _message(row: Row, name: str, role: str, content: str) -> Message:
    return {"role": role, "content": whole_characters(content, row.where, name)}


def render_preference(
    row: Row, template: str, tokenizer: Tokenizer
) -> tuple[RenderedChat, RenderedChat]:
    """Both conversations of a row as tokens; asked for is what the assistant says in one alone."""
    pair = preference_of(row)
    same = sum(1 for _ in takewhile(lambda two: two[0] == two[1], zip(*pair, strict=False)))
    common = 0
    if any(message["role"] == "assistant" for message in pair.chosen[:same]):
        common = int(
            np.count_nonzero(render_messages(row, pair.chosen[:same], template, tokenizer).is_reply)
        )
    chosen, rejected = (
        _after(render_messages(row, messages, template, tokenizer), common) for messages in pair
    )
    return chosen, rejected


def _after(chat: RenderedChat, common: int) -> RenderedChat:
    """The chat without the first `common` tokens of its replies among those that are asked for."""
    is_reply = chat.is_reply.copy()
    is_reply[np.flatnonzero(is_reply)[:common]] = False
    return RenderedChat(chat.ids, is_reply)


def n_bytes(row: Row) -> int:
    """The size of what both conversations say, in UTF-8."""
    return sum(len(m["content"].encode()) for chat in preference_of(row) for m in chat)
