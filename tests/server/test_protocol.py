"""HTTP as it comes: what is asked is answered, and nothing else is taken for it."""

import asyncio
import json
import socket
import time
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest
from starlette.types import Receive, Scope, Send

from glassformer.server.guard import BODY, HEADER_BYTES, Guard
from glassformer.server.protocol import PIPELINED
from tests.server.served import listening, until

HOST = b"host: 127.0.0.1\r\n"
JSON = HOST + b"content-type: application/json\r\n"
LAST = b"GET /last HTTP/1.1\r\n" + HOST + b"connection: close\r\n\r\n"


async def repeat(scope: Scope, receive: Receive, send: Send) -> None:
    """Answers with what was asked, in two pieces; of /open nobody says how long it is."""
    await receive()
    if scope["path"] == "/long":
        await asyncio.wait_for(asyncio.Event().wait(), 20)
    names = sorted(name.decode() for name, _ in scope["headers"])
    query = scope["query_string"].decode()
    path = f"{scope['path']}?{query}" if query else scope["path"]
    asked = [scope["method"], path, scope[BODY].decode(), names]
    content = json.dumps(asked).encode()
    length = [(b"content-length", b"%d" % len(content))] if scope["path"] != "/open" else []
    await send({"type": "http.response.start", "status": 200, "headers": length})
    await send({"type": "http.response.body", "body": content[:9], "more_body": True})
    await send({"type": "http.response.body", "body": content[9:]})


left: list[str] = []


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] == "http":
        await Guard(repeat)(scope, receive, send)
        left.append(scope["path"])


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    with listening(app) as (port, _):
        yield port


def told(port: int, *pieces: bytes) -> bytes:
    """All that a server says to what comes in these pieces."""
    result = bytearray()
    with socket.create_connection(("127.0.0.1", port), timeout=20) as client, suppress(OSError):
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for piece in pieces:
            client.sendall(piece)
            if len(pieces) > 1:
                time.sleep(0.001)
        while part := client.recv(1 << 16):
            result += part
    return bytes(result)


def answers(port: int, *pieces: bytes) -> list[tuple[int, Any]]:
    """The statuses and the contents of all answers, which say how long they are."""
    rest, result = told(port, *pieces), []
    while rest:
        head, _, rest = rest.partition(b"\r\n\r\n")
        length = int(head.lower().partition(b"content-length: ")[2].split()[0])
        result.append((int(head.split()[1]), json.loads(rest[:length])))
        rest = rest[length:]
    return result


OFFERS = {
    "a body": (b"content-length: 5\r\n\r\n[1,2]", "[1,2]"),
    "chunks": (b"transfer-encoding: chunked\r\n\r\n3\r\n[1]\r\n0\r\n\r\n", "[1]"),
    "nothing": (b"\r\n", ""),
}


@pytest.mark.parametrize("with_", OFFERS)
@pytest.mark.parametrize("in_pieces", [False, True])
def test_an_upgrade_that_is_offered_is_not_taken_and_the_request_loses_nothing(
    port, with_, in_pieces
):
    rest, body = OFFERS[with_]
    offer = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAE\r\n"
    sent = b"POST /first HTTP/1.1\r\n" + JSON + offer + rest + LAST
    pieces = [sent[i : i + 7] for i in range(0, len(sent), 7)] if in_pieces else [sent]
    (status, first), last = answers(port, *pieces)
    assert (status, first[:3]) == (200, ["POST", "/first", body])
    assert "http2-settings" in first[3]
    assert "upgrade" not in first[3]
    assert last == (200, ["GET", "/last", "", ["connection", "host"]])


def test_what_stands_behind_the_last_chunk_is_no_header(port):
    chunks = (
        b"transfer-encoding: chunked\r\n\r\n2\r\n[]\r\n0\r\norigin: http://evil.example\r\n\r\n"
    )
    first, last = answers(port, b"POST / HTTP/1.1\r\n" + JSON + chunks + LAST)
    assert first == (200, ["POST", "/", "[]", ["content-type", "host", "transfer-encoding"]])
    assert last[0] == 200


def test_http_1_0_gets_no_chunks_and_knows_the_end_by_the_connections(port):
    head, _, content = told(port, b"GET /open HTTP/1.0\r\n" + HOST + b"\r\n").partition(b"\r\n\r\n")
    assert b"chunked" not in head.lower()
    assert json.loads(content) == ["GET", "/open", "", ["host"]]
    chunked = told(port, b"GET /open HTTP/1.1\r\n" + HOST + b"connection: close\r\n\r\n")
    assert b"transfer-encoding: chunked" in chunked


def test_requests_that_come_together_are_answered_in_turn_up_to_what_is_none(port):
    one, two = (b"GET /%d HTTP/1.1\r\n" % n + HOST + b"\r\n" for n in (1, 2))
    got = answers(port, one + two + b"\x00nonsense\r\n\r\n" + LAST)
    assert [(status, said[1]) for status, said in got] == [(200, "/1"), (200, "/2")]
    broken = b"POST / HTTP/1.1\r\n" + JSON + b"transfer-encoding: chunked\r\n\r\nzz\r\n"
    [first, (status, said)] = answers(port, one + broken)
    assert (first[0], status) == (200, 400)
    assert "chunk size" in said["error"]["message"]


def test_a_client_that_leaves_is_seen_to_although_another_request_of_it_waits(port):
    left.clear()
    with socket.create_connection(("127.0.0.1", port)) as client:
        for piece in (b"GET /long", b"POST /next"):
            client.sendall(piece + b" HTTP/1.1\r\ncontent-length: 2\r\n" + JSON + b"\r\n[]")
            time.sleep(0.02)
    until(lambda: "/long" in left)


@pytest.mark.parametrize("offer", [b"", b"connection: upgrade\r\nupgrade: h2c\r\n"])
def test_of_many_requests_that_come_together_so_many_wait_and_the_next_is_refused(port, offer):
    got = answers(port, (b"GET / HTTP/1.1\r\n" + HOST + offer + b"\r\n") * 300)
    assert [status for status, _ in got] == [200] * (1 + PIPELINED) + [503]
    assert str(PIPELINED) in got[-1][1]["error"]["message"]


def test_of_an_absolute_address_the_authority_counts_in_place_of_host(port):
    ours, theirs = b"http://LOCALHOST:8000", b"http://evil.example"
    foreign = b"host: evil.example\r\n"
    for address, host, path in (
        (ours + b"/a%20b?c=%2f&d", HOST, "/a b?c=%2f&d"),
        (b"HTTP" + ours[4:] + b"?c", foreign, "/?c"),
        (ours, foreign + b"connection: upgrade\r\nupgrade: h2c\r\n", "/"),
    ):
        first, last = answers(port, b"GET %s HTTP/1.1\r\n%s\r\n" % (address, host) + LAST)
        assert (first[0], first[1][1], last[0]) == (200, path, 200)
    for address in (theirs + b"/", b"http:///", ours + b"%2e/", ours + b":80/"):
        assert asked(port, b"GET", address, HOST) == 403
    assert asked(port, b"GET", ours, HOST + HOST) == asked(port, b"GET", ours, b"") == 400
    origin = b"origin: http://127.0.0.1\r\n"
    assert asked(port, b"POST", ours, HOST + origin) == 403
    assert asked(port, b"POST", ours, foreign + b"origin: http://LOCALHOST:8000\r\n") == 200


def asked(port: int, method: bytes, address: bytes, headers: bytes) -> int:
    """The status of an answer."""
    sent = b"%s %s HTTP/1.1\r\n%sconnection: close\r\n\r\n" % (method, address, headers)
    [(status, _)] = answers(port, sent)
    return status


@pytest.mark.parametrize(
    ("sent", "status", "words"),
    [
        (b"CONNECT example.org:443 HTTP/1.1\r\n" + HOST + b"\r\n", 400, "no proxy"),
        (b"CONNECT / HTTP/1.1\r\n" + HOST + b"\r\n", 400, "no proxy"),
        (b"CONNECT http://127.0.0.1/ HTTP/1.1\r\n" + HOST + b"\r\n", 400, ""),
        (b"GET https://127.0.0.1/ HTTP/1.1\r\n" + HOST + b"\r\n", 400, "no proxy"),
        (b"GET http://me@127.0.0.1/ HTTP/1.1\r\n" + HOST + b"\r\n", 400, "no proxy"),
        (b"GET http://evil.example\\@127.0.0.1/ HTTP/1.1\r\n" + HOST + b"\r\n", 400, ""),
        (b"OPTIONS * HTTP/1.1\r\n" + HOST + b"\r\n", 400, "no proxy"),
        (b"GET / HTTP/1.1\r\nconnection: close\r\n\r\n", 400, "Host"),
        (b"GET / HTTP/1.1\r\n" + HOST + b"x : y\r\n\r\n", 400, "Invalid header token"),
        (b"GET / HTTP/1.1\r\n" + HOST + b"x: a\r\n b\r\n\r\n", 400, "whitespace"),
        (
            b"POST / HTTP/1.1\r\n" + JSON + b"transfer-encoding: chunked\r\n\r\nzz\r\n",
            400,
            "chunk size",
        ),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400, "Invalid method"),
        (b"GET /" + b"y" * 70_000 + b" HTTP/1.1\r\n" + HOST + b"\r\n", 431, f"{HEADER_BYTES:,}"),
    ],
)
def test_what_is_no_request_is_refused_with_its_cause(port, sent, status, words):
    [(got, said)] = answers(port, sent)
    assert got == status
    assert words in said["error"]["message"]


@pytest.mark.parametrize(
    "begun",
    [
        b"GET / HTTP/1.1\r\n" + HOST,
        b"GET / HTTP/1.1\r\n" + HOST + b"x: ",
        b"POST / HTTP/1.1\r\n" + JSON + b"transfer-encoding: chunked\r\n\r\n2\r\n[]\r\n0\r\nx: ",
    ],
)
def test_lines_that_do_not_end_are_read_up_to_their_bound(port, begun):
    line = b"y" * 8_000 + (b"" if begun.endswith(b"x: ") else b": z\r\n")
    sent = 0
    with socket.create_connection(("127.0.0.1", port), timeout=20) as client, suppress(OSError):
        client.sendall(begun)
        while sent < 20_000_000:
            sent += client.send(line)
    assert HEADER_BYTES < sent < 20_000_000  # what was on its way counts, too
