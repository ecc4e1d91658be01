"""Who may talk to the server, and how: every request passes here first."""

from __future__ import annotations

import asyncio
import hmac
import ipaddress
import re
from collections.abc import Iterator
from functools import lru_cache
from http.cookies import CookieError, SimpleCookie
from typing import Any
from urllib.parse import parse_qsl, urlencode

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from glassformer.errors import GlassformerError
from glassformer.server.errors import STATUS, ApiError, raw_answer

BODY_BYTES = 2 << 20
HEADER_BYTES = 65536
TOO_LONG = f"a request's address and headers may have {HEADER_BYTES:,} bytes at most"
ASKS = (
    "this server asks for its token: a browser opens /?token=TOKEN once, a program sends it as its"
    " API key (authorization: Bearer TOKEN)"
)
LOOPBACK = ("localhost", "127.0.0.1", "::1")
SAFE = ("GET", "HEAD", "OPTIONS")

PIECE_BYTES = 65536
"""An answer is handed on in pieces, each when its reader has taken the one before."""

ONCE = (
    "host",
    "origin",
    "sec-fetch-site",
    "authorization",
    "content-type",
    "content-length",
    "transfer-encoding",
    "range",
)
"""Headers that two readers could read in two ways if they came twice."""

BODY = "glassformer.body"
"""Where a request's scope has its body, which is read before anybody asks for it."""

LEFT = "glassformer.left"
"""Where a scope of our own server has a future that is done when its client has gone: it spares
every request a task that waits for the message of it."""

Query = list[tuple[str, str]]
Headers = dict[str, str]

_HOST = re.compile(
    r"(\[[0-9a-f]*:[0-9a-f:.]*\]|[0-9a-z.-]{1,253})(?::([0-9]{1,5}))?", re.IGNORECASE
)
_LENGTH = re.compile(r"[0-9]{1,15}")

HEADERS = (
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cache-control", b"no-store"),
)
"""On every answer that does not set its own."""


@lru_cache(256)  # asked of every request's client
def is_loopback(host: str) -> bool:
    """Whether only this machine can reach a server bound to `host`.

    >>> is_loopback("localhost"), is_loopback("127.0.0.2"), is_loopback("0.0.0.0")
    (True, True, False)
    """
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def check_bind(host: str, token: str | None) -> None:
    """Refuse to be reachable from other machines without a token."""
    if not is_loopback(host) and not token:
        raise GlassformerError(
            f"--host {host} lets other machines in, who could then read your models and use your"
            " processor; give a --token that they must know, or leave out --host"
        )
    if token is not None and not re.fullmatch("[!-~]+", token):
        raise GlassformerError(
            "the token must be plain letters, digits or signs without spaces; give another --token"
        )


class Guard:
    """ASGI middleware.

    Host: on loopback a server answers to loopback names alone, so that a foreign site whose name
    is made to point here (DNS rebinding) is turned away. Origin and Sec-Fetch-Site: other sites
    can't send anything but a GET, whose answer they can't read. Headers of `ONCE` must not come
    twice. Bodies: JSON, up to `BODY_BYTES`. Answers leave in pieces of `PIECE_BYTES`. HEAD is
    answered wherever GET is, with GET's head.
    Token, if there is one: as a bearer, or once as ``?token=`` and then as a cookie.
    """

    def __init__(self, app: ASGIApp, host: str = "127.0.0.1", token: str | None = None) -> None:
        self._app, self._token = app, token
        self._hosts = {*LOOPBACK, host} if is_loopback(host) else None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self._app(scope, receive, send)

        begun, is_head = False, scope["method"] == "HEAD"

        async def send_guarded(message: Message) -> None:
            nonlocal begun
            if message["type"] == "http.response.start":
                begun = True
                headers = [*message.get("headers", ())]
                names = {name for name, _ in headers}
                headers += [header for header in HEADERS if header[0] not in names]
                message = {**message, "headers": headers}
            if is_head:
                await _send_head(send, message)
                return
            for piece in _pieces(message):
                await send(piece)

        try:
            await self._check_and_serve(scope, receive, send_guarded)
        except asyncio.CancelledError:  # the server ends
            if not begun:
                await refuse(send_guarded, "ending", "the server is ending; start it again")

    async def _check_and_serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            headers = _read_headers(scope)
            self._check_host(headers)
            self._check_site(scope["method"], headers)
            if self._token is not None:
                query = _query(scope)
                if scope["method"] == "GET" and self._has_token(query):
                    return await self._admit(scope, query, send)
                if not self._knows_token(headers, _cookie(scope)):
                    raise ApiError("unauthorized", ASKS)
            content = await _read(scope, headers, receive)
        except ApiError as error:
            return await refuse(send, error.code, str(error))
        if content is not None:
            await self._serve(scope, content, receive, send)
        return None

    async def _serve(self, scope: Scope, content: bytes, receive: Receive, send: Send) -> None:
        """Call the application; stop it when the client goes away."""
        # the body has been read, so what can still come is the message of the leaving
        serving, is_served = asyncio.current_task(), False
        assert serving is not None

        def stop(_: object) -> None:
            if not is_served:
                serving.cancel()

        left = scope.get(LEFT)
        disconnected = left or asyncio.ensure_future(receive())
        disconnected.add_done_callback(stop)
        asked = "GET" if scope["method"] == "HEAD" else scope["method"]
        scope = {**scope, BODY: content, "method": asked}
        try:
            await self._app(scope, _replay(content, disconnected), send)
        except asyncio.CancelledError:
            if not disconnected.done():  # the server ends
                raise
            serving.uncancel()
        finally:
            is_served = True
            disconnected.remove_done_callback(stop)
            if left is None:
                disconnected.cancel()

    def _check_host(self, headers: Headers) -> None:
        host = headers.get("host", "")
        name = _hostname(host)
        if name is None or (self._hosts is not None and name not in self._hosts):
            raise ApiError(
                "forbidden", f"this server does not answer to the name {host!r}; use 127.0.0.1"
            )

    def _check_site(self, method: str, headers: Headers) -> None:
        if method in SAFE:
            return
        origin, site = headers.get("origin"), headers.get("sec-fetch-site")
        ours = (f"http://{headers.get('host')}", f"https://{headers.get('host')}")
        if (origin is not None and origin not in ours) or site not in (None, "same-origin", "none"):
            raise ApiError("forbidden", "only this server's own page may send this request")

    def _knows_token(self, headers: Headers, name: str) -> bool:
        scheme, _, bearer = headers.get("authorization", "").partition(" ")
        tokens = [bearer.strip()] if scheme.lower() == "bearer" else []
        try:
            cookie = SimpleCookie(headers.get("cookie", "")).get(name)
        except CookieError:
            cookie = None
        if cookie is not None:
            tokens.append(cookie.value)
        return any(self._is_token(text) for text in tokens)

    def _has_token(self, query: Query) -> bool:
        return any(name == "token" and self._is_token(value) for name, value in query)

    def _is_token(self, text: str) -> bool:
        return hmac.compare_digest(text.encode(), (self._token or "").encode())

    async def _admit(self, scope: Scope, query: Query, send: Send) -> None:
        """The same address without the token, which neither it nor the history then holds."""
        rest = urlencode([(name, value) for name, value in query if name != "token"])
        name = _cookie(scope)
        cookie = SimpleCookie({name: self._token or ""})
        cookie[name].update({"path": "/", "httponly": "true", "samesite": "Strict"})
        # "//somewhere" would lead to another site
        path = "/" + scope["path"].lstrip("/\\")
        headers = {
            "location": f"{path}?{rest}" if rest else path,
            "set-cookie": cookie[name].OutputString(),
            "content-length": "0",
        }
        raw = [(name.encode(), value.encode("latin-1")) for name, value in headers.items()]
        await _answer(send, 303, b"", raw)


def _cookie(scope: Scope) -> str:
    """The cookie's name: of the port, since a browser sends a host's cookies to all its ports."""
    return f"glassformer-token-{scope['server'][1]}"


def _query(scope: Scope) -> Query:
    return parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True)


def _read_headers(scope: Scope) -> Headers:
    """A request's headers by their names, which ASGI has in small letters; of two the first."""
    names = [name.decode("latin-1") for name, _ in scope["headers"]]
    values = [value.decode("latin-1") for _, value in scope["headers"]]
    size = sum(map(len, (scope["path"], scope["query_string"], *names, *values)))
    if size > HEADER_BYTES:
        raise ApiError("headers_too_large", TOO_LONG)
    headers = dict(zip(reversed(names), reversed(values), strict=True))
    if "host" not in headers:
        raise ApiError("bad_request", "a request says for which host it is; give a Host header")
    twice = [name for name in ONCE if names.count(name) > 1] if len(headers) < len(names) else []
    if "content-length" in headers and "transfer-encoding" in headers:
        twice = ["content-length or transfer-encoding"]
    if twice:
        raise ApiError("bad_request", f"a request has one {twice[0]} header, and this one has two")
    return headers


@lru_cache(64)
def _hostname(host: str) -> str | None:
    """The name in a Host header, without its port; None where the header is malformed.

    >>> _hostname("LocalHost:8000"), _hostname("[::1]:8000"), _hostname("::1")
    ('localhost', '::1', None)
    """
    match = _HOST.fullmatch(host)
    if match is None or int(match[2] or 0) > 65535:
        return None
    return match[1].strip("[]").lower()


async def _read(scope: Scope, headers: Headers, receive: Receive) -> bytes | None:
    """A request's whole body, if it is JSON and not too long; None: its client has gone."""
    content = bytearray()
    declared = headers.get("content-length", "0")
    if _LENGTH.fullmatch(declared) is None:
        raise ApiError("bad_request", "content-length must be a whole number of bytes")
    more, too_long = True, int(declared) > BODY_BYTES
    while more and not too_long:
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        content += message.get("body", b"")
        more = message.get("more_body", False)
        too_long = len(content) > BODY_BYTES
    if too_long:
        raise ApiError("body_too_large", f"a request's body may have {BODY_BYTES:,} bytes at most")
    if headers.get("content-encoding", "identity").lower() != "identity":
        raise ApiError("wrong_content_type", "a request's body must not be compressed")
    kind = headers.get("content-type", "").partition(";")[0].strip().lower()
    if scope["method"] not in SAFE and kind != "application/json" and (content or kind):
        raise ApiError("wrong_content_type", "a request's content-type must be application/json")
    return bytes(content)


def _pieces(message: Message) -> Iterator[Message]:
    """A message as it is, or one with a long body as several."""
    content = message.get("body", b"")
    last = max(len(content) - 1, 0) // PIECE_BYTES * PIECE_BYTES
    for begin in range(0, last, PIECE_BYTES):
        yield {**message, "body": content[begin : begin + PIECE_BYTES], "more_body": True}
    yield {**message, "body": content[last:]} if last else message


async def _send_head(send: Send, message: Message) -> None:
    """Of an answer to HEAD, which is GET's without its body, the head: with it all is there."""
    if message["type"] == "http.response.start":
        await send(message)
        await send({"type": "http.response.body", "body": b""})


def _replay(content: bytes, disconnected: asyncio.Future[Any]) -> Receive:
    """What the application receives: the body that was read, then that the client has gone."""
    received = False

    async def again() -> Message:
        nonlocal received
        if received:
            await asyncio.shield(disconnected)
            return {"type": "http.disconnect"}
        received = True
        return {"type": "http.request", "body": content, "more_body": False}

    return again


async def refuse(send: Send, code: str, message: str) -> None:
    """Answer with an error."""
    await _answer(send, STATUS[code], *raw_answer(code, message))


async def _answer(
    send: Send, status: int, content: bytes, headers: list[tuple[bytes, bytes]]
) -> None:
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": content})
