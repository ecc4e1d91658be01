"""Clients of an API that cost the machine next to nothing, and what they saw.

All of them are sockets of one thread; what they send is written by hand, and of what comes only
what is measured is read. An HTTP library takes a millisecond for an answer, as long as the server.
"""

from __future__ import annotations

import json
import re
import selectors
import socket
import statistics
import sys
import time
from collections.abc import Iterator
from itertools import pairwise
from urllib.parse import urlsplit

import psutil

from bench.measure import Row

NEW = 48
"""Tokens of each text, but for the few that end by themselves."""

PROMPT = "the cat sat on the mat. The dog"
WARM_SHARE, WARM_SECONDS = 0.2, 60.0
"""Of a load's time, or a minute of it, until what grows at first has grown."""

LOOK_SECONDS = 0.5
"""How often a server's memory is looked at."""

TIMEOUT_SECONDS = 300.0
"""How long a client waits for the next piece of an answer."""

LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
CLOSE = re.compile(rb"\r\nconnection: *close", re.IGNORECASE)
MADE = re.compile(rb'"completion_tokens": *(\d+)')


class Load:
    """What some clients saw: seconds to first tokens and between tokens, tokens, errors, memory."""

    def __init__(self) -> None:
        self.first: list[float] = []
        self.between: list[float] = []
        self.tokens = self.texts = 0
        self.faults: list[str] = []
        self.seconds = 0.0
        self.processor = 0.0
        """Seconds of processor time that the server took, in all of its processes."""
        self.client_processor = 0.0
        self.memory: list[float] = []

    def add(self, client: Client) -> None:
        """What a client saw of a whole answer."""
        self.tokens += client.tokens
        self.texts += 1
        self.first += client.times[:1]
        self.between += [after - before for before, after in pairwise(client.times)]

    def fail(self, fault: str) -> None:
        print(fault, file=sys.stderr)
        self.faults.append(fault)

    @property
    def errors(self) -> float:
        return float(len(self.faults))

    @property
    def rate(self) -> float:
        return self.tokens / self.seconds

    @property
    def warm(self) -> float:
        """Megabytes once what grows at first has grown."""
        return self.memory[int(min(WARM_SHARE * len(self.memory), WARM_SECONDS / LOOK_SECONDS))]

    @property
    def growth(self) -> float:
        """Per cent that the memory grew by, from when it was warm to the end."""
        return 100 * (self.memory[-1] / self.warm - 1)

    def rows(self, what: str) -> Iterator[Row]:
        yield Row(what, self.rate, "tokens/s")
        for name, times in {"first token": self.first, "between tokens": self.between}.items():
            yield Row(f"{what}, {name}, p50", statistics.median(times) * 1e3, "ms")
            yield Row(f"{what}, {name}, p99", _p99(times) * 1e3, "ms")


class Client:
    """Asks for one text after another, each time with another seed."""

    def __init__(self, url: str, number: int, stream: bool) -> None:
        at = urlsplit(url)
        assert at.hostname is not None
        assert at.port is not None
        self._address = at.hostname, at.port
        self._number, self._asked, self._stream = number, 0, stream
        self._socket: socket.socket | None = None
        self._answers = 0
        """Those that came over this connection."""

    def fileno(self) -> int:
        assert self._socket is not None
        return self._socket.fileno()

    def ask(self) -> None:
        """Send the next request."""
        self._asked += 1
        fields = {
            "prompt": PROMPT,
            "max_tokens": NEW,
            "seed": self._number * 100_000 + self._asked,
            "stream": self._stream,
            "temperature": 1.0,
            **({"stream_options": {"include_usage": True}} if self._stream else {}),
        }
        body = json.dumps(fields).encode()
        host, port = self._address
        head = (
            f"POST /v1/completions HTTP/1.1\r\nhost: {host}:{port}\r\n"
            f"content-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
        )
        if self._socket is None:
            self._socket = socket.create_connection(self._address, TIMEOUT_SECONDS)
            self._answers = 0
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._head, self._rest, self._is_over = b"", b"", False
        self._begun = time.perf_counter()
        self.times: list[float] = []
        self.tokens = 0
        self._socket.sendall(head.encode() + body)

    def read(self) -> bool:
        """Take what has come; return whether the answer is whole. Raises OSError or ValueError."""
        assert self._socket is not None
        data = self._socket.recv(1 << 16)
        if not data:
            raise ConnectionError("the connection was closed before the answer's end")
        now = time.perf_counter() - self._begun
        self._rest += data
        if not self._head:
            self._head, end, self._rest = self._rest.partition(b"\r\n\r\n")
            if not end:
                self._head, self._rest = b"", self._head
                return False
            if b" 200 " not in self._head.partition(b"\r\n")[0]:
                raise ValueError(f"it was refused: {self._head!r} {self._rest!r}")
        is_whole = self._read_events(now) if self._stream else self._read_text()
        self._answers += is_whole
        if is_whole and not self.tokens:
            raise ValueError("the answer did not end as it should")
        return is_whole

    @property
    def is_stale(self) -> bool:
        """Whether the server closed a connection that it had kept, before it saw this request."""
        return self._answers > 0 and not (self._head or self._rest)

    @property
    def is_last(self) -> bool:
        """Whether the server closes the connection after this answer."""
        return CLOSE.search(self._head) is not None

    def _read_text(self) -> bool:
        length, made = LENGTH.search(self._head), MADE.search(self._rest)
        if length is None or len(self._rest) < int(length[1]):
            return False
        self.tokens = int(made[1]) if made else 0
        return True

    def _read_events(self, now: float) -> bool:
        """Lines of chunks: several tokens that came in one piece came at once."""
        *lines, self._rest = self._rest.split(b"\n")  # no event has a line's end in it
        for line in lines:
            if line.startswith(b"data: {"):
                self.times.append(now)
                made = MADE.search(line)
                self.tokens = int(made[1]) if made else self.tokens
        self._is_over = self._is_over or b"0\r" in lines  # the last chunk, and then its end
        if not (self._is_over and lines[-1:] == [b"\r"]):
            return False
        del self.times[-1:]  # it told the usage
        return True

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None


def load(
    url: str,
    clients: int,
    seconds: float,
    stream: bool = True,
    process: psutil.Process | None = None,
) -> Load:
    """Some clients that ask for one text after another; the last ones are waited for."""
    seen = Load()
    spent = 0.0 if process is None else _processor_seconds(process)
    begun, begun_processor = time.perf_counter(), time.process_time()
    waiting = [Client(url, number, stream) for number in range(clients)]
    looked = begun
    with selectors.DefaultSelector() as selector:
        for client in waiting:
            client.ask()
            selector.register(client, selectors.EVENT_READ)
        while selector.get_map():
            ready = selector.select(LOOK_SECONDS)
            after = time.perf_counter() - begun
            for key, _ in ready:
                assert isinstance(key.fileobj, Client)
                _serve(key.fileobj, selector, seen, after, goes_on=after < seconds)
            if process is not None and time.perf_counter() - looked > LOOK_SECONDS:
                looked = time.perf_counter()
                seen.memory.append(sum(p.memory_info().rss for p in _processes(process)) / 1e6)
    seen.client_processor = time.process_time() - begun_processor
    if process is not None:
        seen.processor = _processor_seconds(process) - spent
    seen.seconds = time.perf_counter() - begun
    return seen


def _serve(
    client: Client, selector: selectors.BaseSelector, seen: Load, after: float, goes_on: bool
) -> None:
    """Let a client read what has come, and ask again if that was all."""
    is_last = False
    try:
        if not client.read():
            return
        is_last = client.is_last
        seen.add(client)
    except (OSError, ValueError) as error:
        is_last = True
        if not client.is_stale:
            seen.fail(f"after {after:.0f} s: {error!r}")
    if is_last or not goes_on:
        selector.unregister(client)
        client.close()
    if goes_on:
        client.ask()
        if is_last:
            selector.register(client, selectors.EVENT_READ)


def _processes(process: psutil.Process) -> list[psutil.Process]:
    return [process, *process.children()]


def _processor_seconds(process: psutil.Process) -> float:
    times = (one.cpu_times() for one in _processes(process))
    return sum(one.user + one.system for one in times)


def _p99(times: list[float]) -> float:
    return sorted(times)[int(0.99 * (len(times) - 1))]
