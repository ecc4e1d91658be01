"""HTTP/1.1 on a connection: uvicorn's, strict where it is lenient and without what it drops."""

from __future__ import annotations

import asyncio
import re
from typing import Any, cast
from urllib.parse import unquote

import httptools
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.protocols.http.flow_control import HIGH_WATER_LIMIT
from uvicorn.protocols.http.httptools_impl import (
    STATUS_LINE,
    HttpToolsProtocol,
    RequestResponseCycle,
)

from glassformer.server.errors import STATUS, ApiError, raw_answer
from glassformer.server.guard import HEADER_BYTES, LEFT, TOO_LONG, refuse
from glassformer.server.joined import Joined

PIPELINED = 64
"""Requests that may come before the answers of those before them; what is read takes memory."""

REFUSED = "glassformer.refused"
"""Where our own application's state has a function that counts a refusal: its status, the path."""

_ABSOLUTE = re.compile(rb"http://([^/?@]*)([/?].*)?", re.IGNORECASE)


class Protocol(HttpToolsProtocol):
    """A client's connection, as its bytes come.

    A head names a path, or an address of http, whose authority then counts in place of Host (RFC
    9112, 3.2.2). It may have HEADER_BYTES, and so may what stands behind the last chunk,
    which is no header. An upgrade that is offered is not taken: the request is answered as if it
    had come without (RFC 9110, 7.8), where uvicorn loses its body. HTTP/1.0 knows no chunks.
    When PIPELINED requests wait the next is refused.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.url = b""
        self._is_in_head = self._is_in_lines = False  # lines: of the head or behind a chunk's size
        self._line_bytes = 0  # of lines that are not whole, those that came after the first piece
        self._answered: RequestResponseCycle | None = None
        self._is_refused = False  # and what still comes is not read

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        super().connection_made(Joined(transport, self.loop))
        self._left = self.loop.create_future()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        if self._answered is not None and not self._answered.response_complete:
            self._answered.disconnected = True  # uvicorn tells the last of several that came
        if not self._left.done():
            self._left.set_result(None)

    def data_received(self, data: bytes) -> None:
        self._unset_keepalive_if_required()
        if self._is_refused:
            return None
        goes_on = self._is_in_lines
        try:
            self._feed(data)
        except httptools.HttpParserError as error:
            why = error.__context__ if isinstance(error.__context__, ApiError) else None
            return self._refuse(
                why.code if why else "bad_request", str(why or f"this is no HTTP request: {error}")
            )
        self._line_bytes = self._line_bytes + len(data) if goes_on and self._is_in_lines else 0
        if self._line_bytes > HEADER_BYTES:
            self._refuse("headers_too_large", TOO_LONG)
        return None

    def _feed(self, data: bytes) -> None:
        rest = memoryview(data)
        while rest:
            try:
                self.parser.feed_data(rest)
                return
            except httptools.HttpParserUpgrade as upgrade:
                rest, head = rest[upgrade.args[0] :], self._head_without_upgrade()
            self.parser = httptools.HttpRequestParser(self)
            self.parser.feed_data(head)

    def _head_without_upgrade(self) -> bytes:
        version = self.parser.get_http_version().encode()
        lines = [b"%s %s HTTP/%s" % (self.parser.get_method(), self.url, version)]
        lines += [b"%s: %s" % header for header in self.headers if header[0] != b"upgrade"]
        return b"\r\n".join([*lines, b"", b""])

    # --- called by the parser ---

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._is_in_head = self._is_in_lines = True
        cast(dict[str, Any], self.scope)[LEFT] = self._left

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._is_in_head:
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        self._is_in_head = self._is_in_lines = False
        if len(self.url) > HEADER_BYTES:
            raise ApiError("headers_too_large", TOO_LONG)
        authority, self.url = _split(self.url)
        if authority is not None:
            self.headers[:] = [(n, authority if n == b"host" else v) for n, v in self.headers]
        if not self.url.startswith(b"/") or self.parser.get_method() == b"CONNECT":
            raise ApiError("bad_request", "this server is no proxy; name a path, as in GET /")
        if not self.parser.should_upgrade():
            super().on_headers_complete()
            if len(self.pipeline) > PIPELINED:
                raise ApiError("busy", f"{PIPELINED} requests wait here; read their answers first")
            self._read_on()

    def on_chunk_header(self) -> None:
        self._is_in_lines = True  # of the last chunk nothing but lines follow

    def on_body(self, body: bytes) -> None:
        self._is_in_lines = False
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._is_in_lines = False
        if not self.parser.should_upgrade():
            super().on_message_complete()
            self._read_on()

    def _read_on(self) -> None:
        """Or nobody would see the client leave; bodies that wait are held up to a bound."""
        if sum(len(cycle.body) for cycle, _ in self.pipeline) <= HIGH_WATER_LIMIT:
            self.flow.resume_reading()

    # --- answers ---

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        self._answered = cycle
        is_old = cycle.scope["http_version"] == "1.0"
        super()._start_asgi_task(cycle, until_closed(app, cycle) if is_old else app)

    def _refuse(self, code: str, message: str) -> None:
        """Answer and close; what was asked before it is answered first, and then nothing is."""
        self._is_refused = True
        cycle = self.cycle
        if self.pipeline and cycle.more_body:
            self.pipeline[0] = cycle, self._refusal(code, message)
            cycle.more_body = cycle.keep_alive = False
            return
        if cycle is not None and not cycle.response_complete:
            if self.pipeline or not cycle.more_body or cycle.response_started:
                cycle.keep_alive = False
                return
            cycle.disconnected = True
            cycle.message_event.set()
        self._count(code)
        content, headers = raw_answer(code, message)
        lines = [b"%s: %s\r\n" % header for header in [*headers, (b"connection", b"close")]]
        self.transport.write(b"".join([STATUS_LINE[STATUS[code]], *lines, b"\r\n", content]))
        self.transport.close()

    def _refusal(self, code: str, message: str) -> Any:
        """ASGI: the answer that says why a request is not read to its end."""

        async def answer(scope: Scope, receive: Receive, send: Send) -> None:
            del scope, receive
            self._count(code)
            await refuse(send, code, message)

        return answer

    def _count(self, code: str) -> None:
        count = self.app_state.get(REFUSED)
        if count is not None:
            count(STATUS[code], unquote(_split(self.url)[1], "latin-1"))

    def end(self) -> None:
        """Close at once, whatever was still to be sent."""
        self.connections.discard(self)
        self.transport.abort()


def _split(url: bytes) -> tuple[bytes | None, bytes]:
    """The authority of an absolute address, and its path with what follows.

    >>> _split(b"http://localhost:8000?a=1"), _split(b"/a"), _split(b"http://me@localhost/")
    ((b'localhost:8000', b'/?a=1'), (None, b'/a'), (None, b'http://me@localhost/'))
    """
    absolute = _ABSOLUTE.fullmatch(url)
    if absolute is None:
        return None, url
    path = absolute[2] or b""
    return absolute[1], path if path.startswith(b"/") else b"/" + path


def until_closed(app: ASGIApp, cycle: RequestResponseCycle) -> Any:
    """ASGI: an answer of unknown length to HTTP/1.0 ends where its connection does."""

    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        is_open = False

        async def send_plain(message: Message) -> None:
            nonlocal is_open
            if message["type"] == "http.response.start":
                is_open = all(name != b"content-length" for name, _ in message.get("headers", ()))
            if is_open:  # each piece is as long as it was said to be
                cycle.chunked_encoding = False
                cycle.expected_content_length = len(message.get("body", b""))
            await send(message)

        await app(scope, receive, send_plain)

    return answer
