"""What the endpoints for clients share."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Annotated, TypeVar

from fastapi import Depends, Request

from glassformer.model import Encoder
from glassformer.server.guard import is_loopback
from glassformer.server.schemas import ClientRequest
from glassformer.server.v1.answer import Answer
from glassformer.server.v1.engines import Engines, Served
from glassformer.server.v1.errors import FieldError
from glassformer.server.v1.metrics import Metrics
from glassformer.server.work import Workers

Result = TypeVar("Result")

REMEMBERED = 50
"""Requests that can be seen after they ended."""

SHORT = 1_000
"""Characters that are cut into tokens in less than a millisecond."""


@dataclass
class Clients:
    """The requests of clients: their models, and what is told of them."""

    engines: Engines
    workers: Workers
    metrics: Metrics = field(default_factory=Metrics)
    recent: deque[Answer] = field(default_factory=lambda: deque(maxlen=REMEMBERED))

    async def open(self, model: str | None) -> Served:
        """A model."""
        return await self.workers.run(partial(self.engines.open, model))

    async def ready(
        self, model: str | None, encode: Callable[[Served], Result], characters: int
    ) -> tuple[Served, Result]:
        """A model, whose engine takes a second to make, and tokens of so many characters or ids.

        What takes long, as a new model and a long text do, is done beside the event loop.
        """

        def make() -> tuple[Served, Result]:
            served = self.engines.open(model)
            _refuse_encoder(served)
            assert served.engine
            return served, encode(served)

        recent = self.engines.recent(model) if characters <= SHORT else None
        return (recent, encode(recent)) if recent else await self.workers.run(make)

    async def run(self, work: Callable[[], Result]) -> Result:
        """What takes long for long texts."""
        return await self.workers.run(work)

    def began(self, kind: str, answer: Answer, http: Request) -> None:
        """Count a request, and remember one of this machine's own."""
        self.metrics.watch(kind, answer)
        if _is_local(http):
            self.recent.appendleft(answer)

    def seen_from(self, http: Request) -> list[ClientRequest]:
        """The remembered requests, for who asks from this machine."""
        return [_summary(answer) for answer in self.recent] if _is_local(http) else []


def _refuse_encoder(served: Served) -> None:
    """Raise for a model that writes no text."""
    if isinstance(served.state.model, Encoder):
        raise FieldError(
            "model",
            f"{served.run} is an encoder, which fills blanks and continues no text;"
            f" `glassformer ask {served.run} 'the [MASK] sat'` fills them",
        )


def _is_local(http: Request) -> bool:
    """Whether it comes from this machine."""
    return http.client is not None and is_loopback(http.client.host)


def _summary(answer: Answer) -> ClientRequest:
    first = answer.choices[0]
    new = [one.token for one in first.chosen]
    spelled = first.tokenizer.decode_known
    before, after = spelled(first.prompt), spelled(new if first.alone else [*first.prompt, *new])
    follows = not first.alone and after.startswith(before)
    return ClientRequest(
        id=answer.id,
        run=answer.model,
        texts=len(answer.choices),
        prompt=before,
        place=first.place,
        text=after[len(before) :] if follows else f" {after}",
        prompt_tokens=answer.prompt_tokens,
        new_tokens=answer.new_tokens,
        seconds=answer.seconds,
        done=answer.done or answer.cancelled,
        left=answer.left,
        failed=answer.error is not None,
    )


async def _clients(request: Request) -> Clients:
    clients: Clients = request.app.state.clients
    return clients


ClientAnswers = Annotated[Clients, Depends(_clients)]


def base_of(http: Request) -> str:
    """The address by which the client knows the server."""
    return f"{http.scope['scheme']}://{http.headers['host']}/"
