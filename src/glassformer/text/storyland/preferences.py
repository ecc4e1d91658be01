"""Preferences about little stories: a right reply, and one that the story does not say."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

from glassformer.text.storyland.chats import NOT_SAID, chats

UNSURE = 0.2
"""Of the questions that the story answers, for how many it is rejected to say that it does not.

So that is rejected about as often as it is chosen, and not preferred whatever was asked.
"""


def preferences(seed: int | str) -> Iterator[dict[str, Any]]:
    """Rows of `prompt`, `chosen` and `rejected` without end; the seed decides every one of them.

    Both replies have the same form, a sentence or a few words, so that only what they say differs,
    and the rejected one is what a model might say: it does not contradict itself.

    >>> row = next(preferences(1))
    >>> row["prompt"][-1]["content"], row["chosen"], row["rejected"]
    ('And the dog?', 'It ran in the park.', 'It rolled in the mud.')
    """
    draw = random.Random(f"storyland preferences {seed}")
    for chat in chats(f"preferences {seed}"):
        number = draw.choice([i for i, reply in enumerate(chat.replies) if reply.wrong])
        reply = chat.replies[number]
        rejected = reply.wrong
        if reply.kind != "not said" and draw.random() < UNSURE:
            rejected = NOT_SAID[reply.forms.index(reply.text)]
        prompt = chat.messages[: 2 * number + 1]
        yield {"prompt": prompt, "chosen": reply.text, "rejected": rejected}
