"""All texts that one request asks for."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator, Callable

from glassformer.generation.batch import Text
from glassformer.server.v1.choice import Choice


class Answer:
    """The choices of a request, and their texts.

    `at_once`: they are wanted all together, at the end.
    """

    def __init__(self, prefix: str, model: str, at_once: bool) -> None:
        self.id = f"{prefix}-{random.getrandbits(96):024x}"
        self.model, self.at_once = model, at_once
        self.created = int(time.time())
        self.choices: list[Choice] = []
        self.texts: list[Text] = []
        self.loop = asyncio.get_running_loop()
        self.event = asyncio.Event()
        self.begun = time.monotonic()
        self.ended: float | None = None
        self.touched = False
        self.cancelled = False
        self.left = False
        """Whether its client left before it had all."""
        self._at_end: list[Callable[[Answer], None]] = []

    def at_end(self, callback: Callable[[Answer], None]) -> None:
        """Have it called once nobody waits any more."""
        self._at_end.append(callback)

    def add(self, choice: Choice, text: Text) -> None:
        choice.text = text
        self.choices.append(choice)
        self.texts.append(text)

    def touch(self) -> None:
        """There is something new; those who wait for all of it are told at the end."""
        self.touched = not self.at_once or self.done

    @property
    def done(self) -> bool:
        return all(choice.done for choice in self.choices)

    @property
    def error(self) -> Exception | None:
        return next((c.error for c in self.choices if c.error is not None), None)

    def cancel(self) -> None:
        """Nobody waits any more: its texts end before their next token."""
        self.cancelled = True
        for text in self.texts:
            text.cancelled = True

    async def news(self) -> AsyncIterator[None]:
        """One turn whenever there is something new, and a last one when all is there.

        Who leaves it early cancels the answer. Raises what ended a text.
        """
        try:
            done = False
            while not done:
                await self.event.wait()
                self.event.clear()
                done = self.done
                yield
                if self.error is not None:
                    raise self.error
        finally:
            self.close()

    def close(self) -> None:
        """Nobody waits any more, and those who asked for it are called; once."""
        if self.ended is not None:
            return
        self.left = not self.done
        self.cancel()
        self.ended = time.monotonic()
        for callback in self._at_end:
            callback(self)

    @property
    def seconds(self) -> float:
        """How long it took, or has taken so far."""
        return (self.ended or time.monotonic()) - self.begun

    @property
    def prompt_tokens(self) -> int:
        """Tokens of the prompts, each counted once however often it is continued."""
        return sum(
            len(prompt) for prompt in {id(c.prompt): c.prompt for c in self.choices}.values()
        )

    @property
    def new_tokens(self) -> int:
        return sum(len(choice.chosen) for choice in self.choices)
