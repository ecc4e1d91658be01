"""The API under 8 and 32 clients: throughput, time to the first token and between tokens.

Beside it llama.cpp's server, through xllamacpp on the exported GGUF, where that is installed. A
client asks for one streamed text after another; sequential is one client that waits for each whole
answer. Clients and server share this machine.
"""

from __future__ import annotations

import json
import math
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from http.client import HTTPConnection, HTTPException
from itertools import pairwise
from pathlib import Path
from typing import Any

import httpx
import psutil
import torch

import glassformer as gf
from bench.measure import Row
from glassformer.interop.export import GGUF, export
from glassformer.model import Config, Decoder
from glassformer.text.tokenizer import Tokenizer
from glassformer.training.card import card

TEXT = "the cat sat on the mat. The dog's bone isn't here, 12 times!\n"
NEW = 48
"""Tokens of each text, but for the few that end by themselves."""

PROMPT = "the cat sat on the mat. The dog"
WARM_SHARE, WARM_SECONDS = 0.2, 60.0
"""Of a load's time, or a minute of it, until what grows at first has grown."""

START_SECONDS = 5.0
"""How long a process takes to start, at most, on a machine with nothing beside it."""

LOOK_SECONDS = 0.5
"""How often a server's memory is looked at."""

SIZES: dict[str, dict[str, Any]] = {
    "demo": {"d_model": 64, "n_layers": 2, "n_heads": 4, "n_ctx": 128},
    "124M": {"d_model": 768, "n_layers": 12, "n_heads": 12, "n_ctx": 256, "vocab_size": 50_257},
}
"""The demo's size, and GPT-2's."""


def run(seconds: float) -> Iterator[Row]:
    with tempfile.TemporaryDirectory() as folder:
        for name, sizes in SIZES.items():
            model, run = make(Path(folder) / name, sizes)
            yield from _ours(name, run, seconds / len(SIZES))
            yield from peer_rows(name, model, Path(folder), seconds / len(SIZES) / 4, (8, 32))


def make(folder: Path, sizes: dict[str, Any]) -> tuple[Decoder, Path]:
    """Save a model of random weights with a tokenizer of pieces."""
    torch.manual_seed(0)
    tokenizer = Tokenizer.train("bpe", [TEXT * 20], vocab_size=300)
    model = Decoder(Config(**{"vocab_size": tokenizer.vocab_size, **sizes}))
    config = model.config
    # probabilities as uneven as a trained model's, of about 3 nats: their choice costs what it does
    spread = math.sqrt(2 * (math.log(config.vocab_size) - 3))
    assert model.ln_final is not None
    with torch.no_grad():
        assert model.ln_final.w is not None
        model.ln_final.w.mul_(spread / (config.init_std * math.sqrt(config.d_model)))
    model.tokenizer = tokenizer
    gf.save(model, tokenizer, folder)
    return model, folder


def _ours(name: str, folder: Path, seconds: float) -> Iterator[Row]:
    with our_server(folder) as (url, process):
        _until_apart(url, process)
        alone = load(url, 1, seconds / 4, stream=False, process=process)
        eight = load(url, 8, seconds / 4, stream=False, process=process)
        for seen, who in ((alone, "one client"), (eight, "8 clients")):
            per_text = 1e3 * seen.processor * NEW / seen.tokens
            yield Row(f"{name}: {who}, server's processor time per text", per_text, "ms")
        yield Row(f"{name}: one client after another", alone.rate, "tokens/s")
        yield Row(f"{name}: 8 clients", eight.rate, "tokens/s")
        ratio = eight.rate / alone.rate
        yield Row(f"{name}: 8 clients, times one", ratio, "x", target=(">=", 4))
        with _tracing(url, name):
            traced = load(url, 8, seconds / 4, stream=False)
        delay = 100 * (eight.rate / traced.rate - 1)
        yield Row(f"{name}: 8 clients, longer while traced", delay, "%", target=("<=", 10))
        for clients in (8, 32):
            streamed = load(url, clients, seconds / 4, process=process)
            yield from streamed.rows(f"{name}: {clients} streams")
            if clients == 32:
                growth = streamed.growth
                yield Row(f"{name}: memory grown under 32", growth, "%", target=("<=", 5))
                yield Row(f"{name}: errors under 32", streamed.errors, "", target=("<=", 0))


def _until_apart(url: str, process: psutil.Process) -> None:
    """Until a small model's texts come from a process of its own, as they do after some seconds."""
    load(url, 1, 0.5, stream=False)
    since = time.perf_counter()
    while not process.children() and time.perf_counter() - since < START_SECONDS:
        time.sleep(LOOK_SECONDS)
    if process.children():
        time.sleep(START_SECONDS)


@contextmanager
def our_server(folder: Path) -> Iterator[tuple[str, psutil.Process]]:
    command = [
        sys.executable,
        "-m",
        "glassformer",
        "serve",
        str(folder),
        "--port",
        "0",
        "--no-open",
    ]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        try:
            yield server.stdout.readline().split()[3].rstrip("/"), psutil.Process(server.pid)
        finally:
            server.terminate()
            server.wait(30)


@contextmanager
def _tracing(url: str, run: str) -> Iterator[None]:
    """A page that has a trace recorded, looks at it for a second, and has the next one recorded."""
    over = threading.Event()

    def trace() -> None:
        with httpx.Client(base_url=url, timeout=300) as client:
            while not over.wait(1):
                client.post("/api/traces", json={"run": run.lower(), "prompt": PROMPT})

    page = threading.Thread(target=trace)
    page.start()
    try:
        yield
    finally:
        over.set()
        page.join()


def peer_rows(
    name: str, model: Decoder, folder: Path, seconds: float, loads: Sequence[int]
) -> Iterator[Row]:
    """The same loads, of some seconds each, on llama.cpp's own server, if xllamacpp is there."""
    exported = folder / f"{name}-gguf"
    export(model, exported, card(name, model, None), "gguf")
    threads = str(torch.get_num_threads())
    command = [sys.executable, "-c", LLAMA_CPP, str(exported / GGUF), threads]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, stdin=subprocess.PIPE, text=True
    ) as server:
        assert server.stdout is not None
        assert server.stdin is not None
        url = server.stdout.readline().strip()
        if not url:
            return  # it is not installed, or does not read this model
        for clients in loads:
            streamed = load(url, clients, seconds)
            yield from streamed.rows(f"{name}: {clients} streams, llama.cpp")
        server.stdin.close()


LLAMA_CPP = """
import sys
import xllamacpp
given = xllamacpp.CommonParams()
given.model.path = sys.argv[1]
given.n_parallel, given.n_ctx = 32, 32 * 128
given.cpuparams.n_threads = int(sys.argv[2])
given.warmup = False
server = xllamacpp.Server(given)
print(server.listening_address, flush=True)
sys.stdin.read()
"""


class Load:
    """What some clients saw: seconds to first tokens and between tokens, tokens, errors, memory."""

    def __init__(self) -> None:
        self.first: list[float] = []
        self.between: list[float] = []
        self.tokens = 0
        self.faults: list[str] = []
        self.seconds = 0.0
        self.processor = 0.0
        """Seconds of processor time that the server took, in all of its processes."""
        self.memory: list[float] = []

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


def load(
    url: str,
    clients: int,
    seconds: float,
    stream: bool = True,
    process: psutil.Process | None = None,
) -> Load:
    """Some clients that ask for one text after another."""
    seen, over, lock = Load(), threading.Event(), threading.Lock()

    def ask(number: int) -> None:
        with httpx.Client(base_url=url, timeout=300) as client, closing(_plain(url)) as plain:
            asked = 0
            while not over.is_set():
                asked += 1
                body = {
                    "prompt": PROMPT,
                    "max_tokens": NEW,
                    "seed": number * 10_000 + asked,
                    "stream": stream,
                    "temperature": 1.0,
                }
                if stream:
                    body["stream_options"] = {"include_usage": True}
                try:
                    times, tokens = _streamed(client, body) if stream else _unstreamed(plain, body)
                except (httpx.HTTPError, OSError, HTTPException, KeyError, ValueError) as error:
                    after = time.perf_counter() - begun
                    fault = f"after {after:.0f} s: {error!r}"
                    print(fault, file=sys.stderr)
                    with lock:
                        seen.faults.append(fault)
                    continue
                with lock:
                    seen.tokens += tokens
                    seen.first += times[:1]
                    # several tokens that came in one piece came at once
                    seen.between += [after - before for before, after in pairwise(times)]

    with closing(_plain(url)) as plain:
        _unstreamed(plain, {"prompt": PROMPT, "max_tokens": 2})
    threads = [threading.Thread(target=ask, args=[number]) for number in range(clients)]
    spent = 0.0 if process is None else _processor_seconds(process)
    begun = time.perf_counter()
    for thread in threads:
        thread.start()
    while time.perf_counter() - begun < seconds:
        time.sleep(min(LOOK_SECONDS, seconds))
        if process is not None:
            seen.memory.append(sum(p.memory_info().rss for p in _processes(process)) / 1e6)
    over.set()
    for thread in threads:
        thread.join()
    if process is not None:
        seen.processor = _processor_seconds(process) - spent
    seen.seconds = time.perf_counter() - begun
    return seen


def _processes(process: psutil.Process) -> list[psutil.Process]:
    return [process, *process.children()]


def _processor_seconds(process: psutil.Process) -> float:
    times = (one.cpu_times() for one in _processes(process))
    return sum(one.user + one.system for one in times)


def _plain(url: str) -> HTTPConnection:
    """A client that takes a third of a millisecond for an answer; httpx takes more than one."""
    return HTTPConnection(url.removeprefix("http://"), timeout=300)


def _unstreamed(client: HTTPConnection, body: dict[str, Any]) -> tuple[list[float], int]:
    headers = {"content-type": "application/json"}
    client.request("POST", "/v1/completions", json.dumps(body), headers)
    answer = json.loads(client.getresponse().read())
    return [], answer["usage"]["completion_tokens"]


def _streamed(client: httpx.Client, body: dict[str, Any]) -> tuple[list[float], int]:
    """When tokens came, in seconds after the request, and how many."""
    times: list[float] = []
    tokens = 0
    begun = time.perf_counter()
    with client.stream("POST", "/v1/completions", json=body) as answer:
        answer.raise_for_status()
        for line in answer.iter_lines():
            if not line.startswith("data: {"):
                continue
            times.append(time.perf_counter() - begun)
            usage = json.loads(line.removeprefix("data: ")).get("usage")
            tokens = usage["completion_tokens"] if usage else tokens
    if not tokens:
        raise ValueError("the stream did not end as it should")
    return times[:-1], tokens  # the last piece tells the usage


def _p99(times: list[float]) -> float:
    return sorted(times)[int(0.99 * (len(times) - 1))]
