"""What the endpoints share."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Request

from glassformer.server.course import ServedCourse
from glassformer.server.runs import Runs
from glassformer.server.traces import LiveTrace, TraceStore
from glassformer.server.trainings import Training, Trainings
from glassformer.server.v1.services import Clients
from glassformer.server.work import Workers


@dataclass(frozen=True)
class Services:
    """`workers` do what takes long; `readers` read what is recorded, never behind a recording."""

    runs: Runs
    traces: TraceStore
    trainings: Trainings
    course: ServedCourse
    workers: Workers
    readers: Workers
    clients: Clients

    def leave(self) -> None:
        """The server is asked to end: end what is being trained, and what is written soon."""
        self.trainings.leave()
        self.clients.engines.leave()

    async def close(self) -> None:
        """Drop what waits and end what is being trained."""
        self.workers.close()
        self.readers.close()
        self.clients.workers.close()
        self.clients.engines.leave()
        await asyncio.to_thread(self.trainings.close)


# async: a plain function would wait for a thread of its own at every request


async def _services(request: Request) -> Services:
    services: Services = request.app.state.services
    return services


Shared = Annotated[Services, Depends(_services)]


async def _trace(trace: str, shared: Shared) -> LiveTrace:
    return shared.traces[trace]


async def _training(training: str, shared: Shared) -> Training:
    return shared.trainings[training]


NamedTrace = Annotated[LiveTrace, Depends(_trace)]
NamedTraining = Annotated[Training, Depends(_training)]
