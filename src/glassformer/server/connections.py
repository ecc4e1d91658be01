"""Connections: how long a client may take, how many there may be, and how the server ends.

uvicorn bounds none but idle connections. Decision 0027 says why each value is what it is.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from types import FrameType
from typing import Any

import uvicorn
from starlette.types import ASGIApp

from glassformer.server.protocol import Protocol

PATIENCE = {
    "idle": 75.0,  # from an answer to the first byte of the next request
    "head": 10.0,  # from there, or the connection's start, to the end of the headers
    "body": 20.0,  # and on to the end of the body, 2 MB at most
    "read": 10.0,  # until a reader has taken most of a full buffer, or the end of an answer
}
"""Seconds that a client may take over what it has to do next."""

GRACE_SECONDS = 1
"""How long answers that are being made are waited for when the server ends."""

CONNECTIONS = 256
"""The most that are held; a browser opens six to a server."""

RESERVED_FILES = 48
"""Files that are open beside connections: models, runs, a training's log, the loop's own."""

BACKLOG = 32
"""New connections that are accepted in one go; more wait in the kernel."""

QUIET_SECONDS = 60.0
"""After trouble with accepting was logged, how long no more of it is."""

log = logging.getLogger("uvicorn.error")


def most_connections() -> int:
    """How many may be held: half of the files that the process may open, so that bursts fit too."""
    import resource  # not on Windows

    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return max(min(CONNECTIONS, (files - RESERVED_FILES) // 2), 4)


class Connection(Protocol):
    """A client's connection; it ends when the client keeps the server waiting too long."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._resumed = 0
        self._task: tuple[object, ...] = ()
        self._since = time.monotonic()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin; where there are too many, the one whose client waits longest has to go."""
        super().connection_made(transport)
        if len(self.connections) > most_connections():
            others = (one for one in self.connections if isinstance(one, Connection))
            waiting = [one for one in others if one.waits_for is not None]
            min(waiting, key=lambda one: one._since).end()

    def resume_writing(self) -> None:
        self._resumed += 1
        super().resume_writing()

    @property
    def waits_for(self) -> str | None:
        """What the client has to do next, a key of PATIENCE; None while an answer is made."""
        if self.transport.is_closing() or self.flow.write_paused:
            return "read"
        if self.pipeline:
            return None
        if self.cycle is not None and self.cycle.more_body:
            return "body"
        if self.cycle is None or (self.cycle.response_complete and self._is_in_head):
            return "head"
        return "idle" if self.cycle.response_complete else None

    def check(self, now: float) -> None:
        """End it if its client has taken too long; called several times a second."""
        what = self.waits_for
        task = (what, self.cycle, self._resumed)  # another request, or another full buffer
        if task != self._task:
            self._task, self._since = task, now
        elif what is not None and now - self._since > PATIENCE[what]:
            self.end()


class Server(uvicorn.Server):
    """An application on this process's event loop, its clients bounded in number and patience.

    `leave` is called at once when the server is asked to end, before it waits for open answers.
    """

    def __init__(self, app: ASGIApp, leave: Callable[[], None] = lambda: None) -> None:
        config = uvicorn.Config(
            app,
            http=Connection,
            loop="asyncio",  # another that is installed has transports and accepting of its own
            ws="none",
            log_level="error",  # what a client did wrong is told to the client
            access_log=False,
            backlog=BACKLOG,
            timeout_keep_alive=int(PATIENCE["idle"]),
            timeout_graceful_shutdown=GRACE_SECONDS,
        )
        super().__init__(config)
        self._leave = leave
        self._last_notice = -QUIET_SECONDS

    async def startup(self, sockets: Any = None) -> None:
        asyncio.get_running_loop().set_exception_handler(self._loop_error)
        await super().startup(sockets)

    async def on_tick(self, counter: int) -> bool:
        now = time.monotonic()
        for connection in [*self.server_state.connections]:
            if isinstance(connection, Connection):
                connection.check(now)
        return await super().on_tick(counter)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        self._leave()
        super().handle_exit(sig, frame)

    def _loop_error(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """Log an error of the loop; those of accepting come by the thousand, and are told once."""
        if "accept" not in context["message"]:
            loop.default_exception_handler(context)
        elif time.monotonic() - self._last_notice > QUIET_SECONDS:
            self._last_notice = time.monotonic()
            log.error("new connections wait: %s", context.get("exception"))
