"""Clients that are slow, silent or too many hold up nobody else, and are let go."""

import asyncio
import contextlib
import errno
import json
import logging
import socket
import sys
import time
from collections.abc import Iterator
from types import SimpleNamespace

import httpx
import pytest
from starlette.types import Receive, Scope, Send

from glassformer.server.connections import PATIENCE, Server, most_connections
from glassformer.server.guard import PIECE_BYTES, Guard
from tests.server.served import listening, until

BIG = b"x" * 30_000_000  # more than the kernel holds for a reader
HEAD = b"GET / HTTP/1.1\r\nhost: 127.0.0.1\r\n"
POST = b"POST / HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\n"


async def plain(scope: Scope, receive: Receive, send: Send) -> None:
    """Answers "/" with a few bytes, and any other path with many."""
    await receive()
    content = b"ok" if scope["path"] == "/" else BIG
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": content})


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] == "http":
        await Guard(plain)(scope, receive, send)


@pytest.fixture
def server(monkeypatch) -> Iterator[tuple[int, Server]]:
    """A server that is soon impatient, and its port."""
    for what in PATIENCE:
        monkeypatch.setitem(PATIENCE, what, 1.0)
    with listening(app) as result:
        yield result


@pytest.fixture
def port(server) -> int:
    return server[0]


def opened(port: int, sent: bytes = b"") -> socket.socket:
    client = socket.create_connection(("127.0.0.1", port), timeout=20)
    client.sendall(sent)
    return client


def everything(client: socket.socket) -> bytes:
    """What comes until the other side closes."""
    result = bytearray()
    with contextlib.suppress(ConnectionResetError):
        while part := client.recv(1 << 16):
            result += part
    return bytes(result)


BEGUN = {
    "silent": b"",
    "half a line": b"GET",
    "half the headers": HEAD,
    "half a body": POST + b"content-length: 9\r\n\r\n{",
    "half of the chunks": POST + b"transfer-encoding: chunked\r\n\r\n",
}


def test_the_event_loop_is_asyncios_whatever_else_is_installed(monkeypatch):
    monkeypatch.setitem(sys.modules, "uvloop", SimpleNamespace(new_event_loop=None))
    assert Server(app).config.get_loop_factory() is asyncio.SelectorEventLoop


def test_who_does_not_end_a_request_is_let_go_and_others_are_answered(port):
    slow = [opened(port, begun) for begun in BEGUN.values() for _ in range(20)]
    assert httpx.get(f"http://127.0.0.1:{port}/").text == "ok"
    for client in slow:
        assert everything(client) == b""


def test_a_byte_now_and_then_buys_no_more_time(port):
    client = opened(port, HEAD)
    begun = time.monotonic()
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):
        while time.monotonic() < begun + 60:  # a busy machine may take ten seconds for one
            client.sendall(b"x")
            time.sleep(0.1)
    assert time.monotonic() < begun + 60


def test_a_connection_that_asks_again_and_again_is_kept(port):
    client, result = opened(port), b""
    for asked in range(1, 9):
        client.sendall(HEAD + b"\r\n")
        while result.count(b"\r\n0\r\n\r\n") < asked:  # the last chunk
            part = client.recv(4096)
            assert part
            result += part
        time.sleep(0.2)


def test_who_is_between_requests_may_wait_longer_than_who_has_begun_one(port, monkeypatch):
    with opened(port, HEAD + b"\r\n") as client:
        assert client.recv(4096)
        monkeypatch.setitem(PATIENCE, "head", 0.1)
        time.sleep(0.3)
        client.sendall(HEAD + b"\r\n" + HEAD)
        assert everything(client).endswith(b"\r\n0\r\n\r\n")


def test_a_short_answer_comes_in_one_piece_so_that_its_head_wakes_no_client_alone(port):
    with opened(port, HEAD + b"\r\n") as client:
        assert client.recv(4096).endswith(b"ok\r\n0\r\n\r\n")


def test_a_reader_that_does_not_read_holds_little_and_is_let_go(server):
    port, state = server[0], server[1].server_state
    client = opened(port, b"GET /big" + HEAD[5:] + b"\r\n")
    (held,) = until(lambda: [one for one in state.connections if one.flow.write_paused])
    assert held.transport.get_write_buffer_size() <= 2 * PIECE_BYTES
    until(lambda: not state.connections)
    assert len(everything(client)) < len(BIG)


def test_a_reader_that_is_slow_and_steady_gets_everything(port):
    client = opened(port, b"GET /big" + HEAD[5:] + b"connection: close\r\n\r\n")
    result, begun = 0, time.monotonic()
    while part := client.recv(1 << 19):
        result += len(part)
        time.sleep(0.03)
    assert time.monotonic() - begun > PATIENCE["read"]
    assert result > len(BIG)


def test_beyond_the_most_connections_the_longest_idle_makes_room(port, monkeypatch):
    monkeypatch.setattr("glassformer.server.connections.CONNECTIONS", 8)
    monkeypatch.setitem(PATIENCE, "head", 60)
    silent = [opened(port) for _ in range(30)]
    assert httpx.get(f"http://127.0.0.1:{port}/", timeout=10).text == "ok"
    ended = 0
    for client in silent:
        client.settimeout(0.01)
        with contextlib.suppress(TimeoutError):
            ended += everything(client) == b""
    assert 30 - 8 <= ended < 30


def test_the_most_connections_leave_files_for_everything_else(monkeypatch):
    for files, most in ((128, 40), (1024, 256), (1 << 20, 256), (20, 4)):
        monkeypatch.setattr("resource.getrlimit", lambda _, files=files: (files, files))
        assert most_connections() == most


def test_a_lack_of_files_is_logged_once_and_passes(port, monkeypatch, caplog):
    accept, tried = socket.socket.accept, []

    def fails(listener: socket.socket) -> tuple[socket.socket, object]:
        tried.append(listener)
        if len(tried) < 40:
            raise OSError(errno.EMFILE, "Too many open files")
        return accept(listener)

    with caplog.at_level(logging.ERROR):
        monkeypatch.setattr(socket.socket, "accept", fails)
        assert httpx.get(f"http://127.0.0.1:{port}/", timeout=20).text == "ok"
    assert len(tried) >= 40
    assert [record.getMessage() for record in caplog.records] == [
        "new connections wait: [Errno 24] Too many open files"
    ]


@pytest.mark.parametrize(
    ("sent", "status", "code"),
    [
        (b"nonsense\r\n\r\n", 400, "bad_request"),
        (b"GET / HTTP/1.1\r\n\r\n", 400, "bad_request"),
        (HEAD + b"host: 127.0.0.1\r\n\r\n", 400, "bad_request"),
        (
            HEAD + b"origin: http://127.0.0.1\r\norigin: http://evil.example\r\n\r\n",
            400,
            "bad_request",
        ),
        (POST + b"content-length: 2\r\ncontent-length: 3\r\n\r\n{}", 400, "bad_request"),
        (POST + b"content-length: 2\r\ntransfer-encoding: chunked\r\n\r\n", 400, "bad_request"),
        (POST + b"content-length: " + b"9" * 5000 + b"\r\n\r\n", 400, "bad_request"),
        (
            POST + b"transfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n\r\n",
            400,
            "bad_request",
        ),
        (POST + b"transfer-encoding: gzip\r\n\r\n", 400, "bad_request"),
        (HEAD + b"x: " + b"y" * 70_000 + b"\r\n\r\n", 431, "headers_too_large"),
    ],
)
def test_what_is_not_one_clear_request_is_refused_as_any_error_is_told(port, sent, status, code):
    with opened(port, sent) as client:
        head, _, content = everything(client).partition(b"\r\n\r\n")
    assert int(head.split()[1]) == status
    assert json.loads(content)["error"]["code"] == code
