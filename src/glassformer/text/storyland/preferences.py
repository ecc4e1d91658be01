"""Preferences about little stories: a right reply, and one that the story does not say."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

from glassformer.text.storyland.chats import chats


def preferences(seed: int | str) -> Iterator[dict[str, Any]]:
    """Rows of `prompt`, `chosen` and `rejected` without end; the seed decides every one of them.

    Both replies have the same form, a sentence or a few words, so that only what they say differs.

    >>> row = next(preferences(1))
    >>> row["prompt"][-1]["content"], row["chosen"], row["rejected"]
    ('And the dog?', 'It ran in the park.', 'It rolled in the mud.')
    """
    draw = random.Random(f"storyland preferences {seed}")
    for chat in chats(f"preferences {seed}"):
        number = draw.choice([i for i, reply in enumerate(chat.replies) if reply.wrong])
        reply = chat.replies[number]
        prompt = chat.messages[: 2 * number + 1]
        yield {"prompt": prompt, "chosen": reply.text, "rejected": reply.wrong}
