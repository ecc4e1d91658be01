"""The application: the page, and the API it reads from."""

from __future__ import annotations

import importlib.metadata
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from fastapi import FastAPI
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from glassformer.course.classroom import FOLDER as COURSE
from glassformer.server.api import course, lab, page, requests, runs, traces, trainings
from glassformer.server.api.services import Services
from glassformer.server.course import ServedCourse
from glassformer.server.guard import Guard
from glassformer.server.handlers import answer_errors
from glassformer.server.protocol import REFUSED
from glassformer.server.runs import Runs
from glassformer.server.traces import TraceStore
from glassformer.server.trainings import Trainings
from glassformer.server.v1.app import client_app
from glassformer.server.v1.engine import QUEUE
from glassformer.server.v1.engines import Engines
from glassformer.server.v1.metrics import Metrics
from glassformer.server.v1.services import Clients
from glassformer.server.work import Workers

RECORDINGS = 64
"""How much long work may wait: one request of each of 64 pages; more are told to come again."""

READS = 64
"""How many reads of recorded traces may wait; a page asks for some tiles at a time."""

FIRST_ERROR = 400  # of HTTP's statuses

SUBJECTS = (page, requests, runs, traces, lab, trainings, course)


def create_app(
    served: Runs,
    *,
    host: str = "127.0.0.1",
    token: str | None = None,
    folder: Path = Path("runs"),
    workers: Workers | None = None,
    trace_bytes: int | None = None,
    queue: int = QUEUE,
    text: Path | None = None,
    apart: bool = False,
) -> Application:
    """The application that serves these runs; see `Guard` for host and token.

    folder: where new runs go that are started from the page. trace_bytes: see `TraceStore`. queue:
    how many texts of clients may wait. text: what the course is about, in place of its story.
    apart: small models write clients' texts in processes of their own.
    """
    clients = Clients(Engines(served, queue, apart), Workers(queue=READS))
    services = Services(
        runs=served,
        traces=TraceStore(trace_bytes),
        trainings=Trainings(served, folder),
        course=ServedCourse(served, folder / COURSE.name, text),
        workers=workers or Workers(queue=RECORDINGS, is_busy=clients.engines.is_busy),
        readers=Workers(queue=READS),
        clients=clients,
    )

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[dict[str, Any]]:
        clients.engines.begin()
        yield {REFUSED: count_refusal(clients.metrics)}
        await services.close()

    app = Application(
        title="Glassformer",
        version=importlib.metadata.version("glassformer"),
        description="Traces of a transformer: every number, and where it came from.",
        docs_url=None,  # they would load scripts from elsewhere
        redoc_url=None,
        redirect_slashes=False,
        lifespan=lifespan,
    )
    app.state.services = services
    of_clients = client_app(clients)
    guarded = Guard(ClientsFirst(app.answer, of_clients), host, token)
    app.front = RefusalsCounted(guarded, clients.metrics)
    answer_errors(app)
    for subject in SUBJECTS:
        app.include_router(subject.router)
    # not mounted at "": a mount there takes wrong methods of our own paths, too
    app.router.default = of_clients
    return app


class Application(FastAPI):
    """The page's application; `front`: what a request passes before the framework sees it."""

    front: ASGIApp

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await (self.front if scope["type"] == "http" else self.answer)(scope, receive, send)

    async def answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        """What is behind the front."""
        await super().__call__(scope, receive, send)


class ClientsFirst:
    """ASGI middleware: what only clients ask for does not go by all of the page's addresses."""

    def __init__(self, app: ASGIApp, clients: ASGIApp) -> None:
        self._app, self._clients = app, clients

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await (self._clients if _is_of_client(scope) else self._app)(scope, receive, send)


class RefusalsCounted:
    """ASGI middleware: counts the errors that clients are answered with, whoever answers."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app, self._metrics = app, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_counted(message: Message) -> None:
            if message.get("status", 200) >= FIRST_ERROR:
                self._metrics.refused(message["status"])
            await send(message)

        await self._app(scope, receive, send_counted if _is_of_client(scope) else send)


def _is_of_client(scope: Scope) -> bool:
    return scope["type"] == "http" and _is_clients(scope["path"])


def _is_clients(path: str) -> bool:
    return path.startswith("/v1/")


def count_refusal(metrics: Metrics) -> Callable[[int, str], None]:
    """What counts the errors that a connection answers without the application.

    Of what names no path, or ends before it, nobody knows whether a client of the API sent it: it
    is counted.
    """

    def count(status: int, path: str) -> None:
        if _is_clients(path) or not path.startswith("/"):
            metrics.refused(status)

    return count
