"""The server under 32 clients that trace without a pause: memory, waiting, refusals, the end.

No peer runs beside it. A client asks for traces one after the other, and waits as long as a
refusal says; one more reads cheap things all the while.
"""

from __future__ import annotations

import signal
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Iterator

import httpx
import psutil

from bench.measure import Row

CLIENTS = 32
WARM_SHARE = 0.3
"""Of the time, until what grows at first (models, imports, caches) has grown."""

ALONE = 200
"""Reads before anybody traces: what the machine, busy or not, takes for them."""

PROMPTS = ("the cat sat on the", "the cat sat on a", "the cat sat")


def run(seconds: float) -> Iterator[Row]:
    command = [sys.executable, "-m", "glassformer", "serve", "--port", "0", "--no-open"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        url = server.stdout.readline().split()[3]
        yield from _load(url, server, seconds)


def _load(url: str, server: subprocess.Popen[str], seconds: float) -> Iterator[Row]:
    over = threading.Event()
    traced: list[float] = []
    statuses: list[int] = []
    reads: list[float] = []
    memory: list[float] = []
    process = psutil.Process(server.pid)

    def trace(number: int) -> None:
        with httpx.Client(base_url=url, timeout=130) as client:
            while not over.is_set():
                asked = {"run": "miniature", "prompt": PROMPTS[number % len(PROMPTS)]}
                begun = time.perf_counter()
                try:
                    answer = client.post("api/traces", json=asked)
                except httpx.TransportError:  # the server ends
                    return
                statuses.append(answer.status_code)
                if answer.status_code == 200:
                    traced.append(time.perf_counter() - begun)
                else:
                    over.wait(float(answer.headers.get("retry-after", "1")))

    httpx.get(f"{url}api/runs/miniature", timeout=60)  # the model is open
    with httpx.Client(base_url=url, timeout=60) as client:
        alone = [_read(client) for _ in range(ALONE)]
    clients = [threading.Thread(target=trace, args=[number]) for number in range(CLIENTS)]
    for client in clients:
        client.start()
    begun = time.monotonic()
    with httpx.Client(base_url=url, timeout=60) as client:
        while time.monotonic() - begun < seconds:
            reads.append(_read(client))
            memory.append(process.memory_info().rss / 1e6)
    ending = time.perf_counter()
    server.send_signal(signal.SIGINT)
    server.wait(120)
    ended = time.perf_counter() - ending
    over.set()
    for client in clients:
        client.join()
    refused = sum(status in (429, 503) for status in statuses)
    warm = memory[int(WARM_SHARE * len(memory))]
    yield Row("a cheap read while nobody traces, p99", _p99(alone) * 1e3, "ms")
    yield Row("a cheap read, p50", statistics.median(reads) * 1e3, "ms")
    yield Row("a cheap read, p99", _p99(reads) * 1e3, "ms", target=("<=", 250))
    yield Row("a trace, p50", statistics.median(traced) * 1e3, "ms")
    yield Row("a trace, p99", _p99(traced) * 1e3, "ms")
    yield Row("traces made", float(len(traced)), "")
    yield Row("refused with 429 or 503", 100 * refused / len(statuses), "%")
    yield Row(
        "failed otherwise", float(len(statuses) - refused - len(traced)), "", target=("<=", 0)
    )
    yield Row("memory once warm", warm, "MB")
    yield Row("memory at most", max(memory), "MB", target=("<=", 2000))
    yield Row("from Ctrl-C to the end", ended, "s", target=("<=", 5))


def _read(client: httpx.Client) -> float:
    """Seconds that a cheap read takes; some time passes after it."""
    asked = time.perf_counter()
    client.get("api/runs").raise_for_status()
    took = time.perf_counter() - asked
    time.sleep(0.02)
    return took


def _p99(times: list[float]) -> float:
    return sorted(times)[int(0.99 * (len(times) - 1))]
