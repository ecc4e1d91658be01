"""What the answers of both kinds have in common: their parts as they come, and their glass."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from typing import Any, TypeVar

from glassformer.generation.batch import Chosen
from glassformer.server.v1 import schemas
from glassformer.server.v1.answer import Answer
from glassformer.server.v1.choice import Choice
from glassformer.server.v1.engines import Served
from glassformer.server.v1.glass import Glass
from glassformer.server.v1.responses import FINGERPRINT, usage
from glassformer.server.v1.stream import event, in_pieces

Written = TypeVar("Written")


class Writer(ABC):
    """Writes the choices of an answer, as far as they are; base: the server's address."""

    def __init__(self, served: Served, asked: schemas.Request, answer: Answer, base: str) -> None:
        self.tokenizer, self.answer = served.tokenizer, answer
        self.about: dict[str, Any] = {
            "id": answer.id,
            "created": answer.created,
            "model": answer.model,
            "system_fingerprint": FINGERPRINT,
        }
        options = asked.stream_options
        self._tells_usage = options is not None and options.include_usage
        texts = answer.texts if asked.glass else []
        self._glass = [Glass(served.tokenizer, text, answer.model, base) for text in texts]

    @abstractmethod
    def part(self, choice: Choice, is_first: bool) -> schemas.Completion | schemas.ChatChunk:
        """What is new of a choice."""

    @abstractmethod
    def end(self, spent: schemas.Usage) -> schemas.Completion | schemas.ChatChunk:
        """The last part, which says how many tokens there were."""

    async def parts(self) -> AsyncIterator[str]:
        """All parts, as server-sent events."""
        begun, ended = set[int](), set[int]()

        def events() -> Iterator[str]:
            for choice in self.answer.choices:
                index = choice.index
                if index in ended or not (choice.has_news or choice.done):
                    continue
                part = self.part(choice, is_first=index not in begun)
                begun.add(index)
                if part.choices[0].finish_reason is not None:
                    ended.add(index)
                yield event(part)

        async for _ in self.answer.news():
            async for piece in in_pieces(events()):
                yield piece
        if self._tells_usage:
            yield event(self.end(usage(self.answer)))

    async def written(self, write: Callable[[], Written]) -> Written:
        """A choice in one piece: beside the event loop where its many links take long."""
        if self._glass:
            return await asyncio.to_thread(write)
        if len(self.answer.choices) > 1:
            await asyncio.sleep(0)  # others have their turn
        return write()

    def glass(self, choice: Choice, new: Sequence[Chosen]) -> list[schemas.GlassToken] | None:
        """Where the new tokens of a choice can be looked into, if that is asked for."""
        if not self._glass:
            return None
        return self._glass[choice.index].tokens([one.token for one in new])
