"""The API under 8 and 32 clients: throughput, time to the first token and between tokens.

Beside it llama.cpp's server, through xllamacpp on the exported GGUF, where that is installed. A
client asks for one text after another. Eight of them are compared with one in turns, and the median
of the pairs counts. Clients and server share this machine. `--seconds 240` says it in five minutes.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import httpx
import psutil
import torch

import glassformer as gf
from bench.api_clients import LOOK_SECONDS, PROMPT, Load, load
from bench.measure import Row, ratio
from glassformer.interop.export import GGUF, export
from glassformer.model import Config, Decoder
from glassformer.text.tokenizer import Tokenizer
from glassformer.training.card import card

TEXT = "the cat sat on the mat. The dog's bone isn't here, 12 times!\n"
PAIRS = 6
"""Loads of one client, and of eight: their ratio moves with the machine by a tenth."""

STREAMS = 4
"""How many times as long streams are looked at, for their slowest pieces."""

START_SECONDS = 5.0
"""How long a process takes to start, at most, on a machine with nothing beside it."""

SIZES: dict[str, dict[str, Any]] = {
    "demo": {"d_model": 64, "n_layers": 2, "n_heads": 4, "n_ctx": 128},
    "124M": {"d_model": 768, "n_layers": 12, "n_heads": 12, "n_ctx": 256, "vocab_size": 50_257},
}
"""The demo's size, and GPT-2's."""

NATS = {"demo": 0.5, "124M": 3.0}
"""How uncertain trained ones are of the next token, on which it depends what a choice costs."""


def run(seconds: float) -> Iterator[Row]:
    with tempfile.TemporaryDirectory() as folder:
        for name, sizes in SIZES.items():
            model, run = make(Path(folder) / name, sizes, NATS[name])
            yield from _ours(name, run, seconds / len(SIZES))
            yield from peer_rows(name, model, Path(folder), seconds / len(SIZES) / 8, (8, 32))


def make(folder: Path, sizes: dict[str, Any], nats: float) -> tuple[Decoder, Path]:
    """Save a model of random weights and a tokenizer of pieces; nats: its uncertainty."""
    torch.manual_seed(0)
    tokenizer = Tokenizer.train("bpe", [TEXT * 20], vocab_size=300)
    model = Decoder(Config(**{"vocab_size": tokenizer.vocab_size, **sizes}))
    assert model.ln_final is not None
    assert model.ln_final.w is not None
    gain = model.ln_final.w.detach().clone()
    ids = torch.tensor([tokenizer.encode(TEXT * 20)[: model.config.n_ctx]])
    sharp, flat = 100.0, 0.0  # of the factor of the last norm
    with torch.no_grad():
        for _ in range(20):
            factor = (sharp + flat) / 2
            model.ln_final.w.copy_(gain * factor)
            logs = model(ids).log_softmax(-1)
            is_sharp = -(logs.exp() * logs).sum(-1).mean() < nats
            sharp, flat = (factor, flat) if is_sharp else (sharp, factor)
    model.tokenizer = tokenizer
    gf.save(model, tokenizer, folder)
    return model, folder


def _ours(name: str, folder: Path, seconds: float) -> Iterator[Row]:
    with our_server(folder) as (url, process):
        _until_apart(url, process)
        each = seconds / (4 * PAIRS + 2 * STREAMS)
        yield from _pairs(name, url, process, each)
        yield from _while_traced(name, url, each)
        for clients in (8, 32):
            streamed = load(url, clients, STREAMS * each, process=process)
            yield from streamed.rows(f"{name}: {clients} streams")
            if clients == 32:
                growth = streamed.growth
                yield Row(f"{name}: memory grown under 32", growth, "%", target=("<=", 5))
                yield Row(f"{name}: errors under 32", streamed.errors, "", target=("<=", 0))


def _pairs(name: str, url: str, process: psutil.Process, seconds: float) -> Iterator[Row]:
    """Loads of one client and of eight in turns: whole answers."""
    loads: dict[int, list[Load]] = {1: [], 8: []}
    for n in range(PAIRS):
        for clients in (1, 8) if n % 2 == 0 else (8, 1):
            loads[clients].append(load(url, clients, seconds, stream=False, process=process))
    for clients, who in ((1, "one client"), (8, "8 clients")):
        server = [1e3 * seen.processor / seen.texts for seen in loads[clients]]
        client = [1e3 * seen.client_processor / seen.texts for seen in loads[clients]]
        what = f"{name}: {who}, processor time per text"
        yield Row(f"{what}, server", statistics.median(server), "ms", rounds=PAIRS)
        yield Row(f"{what}, client", statistics.median(client), "ms", rounds=PAIRS)
    one, eight = ([seen.rate for seen in loads[clients]] for clients in (1, 8))
    yield Row(
        f"{name}: 8 clients, times one after another",
        statistics.median(eight),
        "tokens/s",
        "one client",
        statistics.median(one),
        ratio(eight, one),
        (">=", 4),
        PAIRS,
    )
    times = ", ".join(f"{a / b:.2f}" for a, b in zip(eight, one, strict=True))
    print(f"  each of the {PAIRS} pairs: {times}")


def _while_traced(name: str, url: str, seconds: float) -> Iterator[Row]:
    """Eight clients, left alone and while one request after another is traced, in turns."""
    rates: dict[bool, list[float]] = {False: [], True: []}
    for n in range(PAIRS):
        for traced in (False, True) if n % 2 == 0 else (True, False):
            with _tracing(url, name) if traced else nullcontext():
                rates[traced].append(load(url, 8, seconds, stream=False).rate)
    longer = ratio(rates[False], rates[True])
    rate, alone = statistics.median(rates[True]), statistics.median(rates[False])
    what = f"{name}: 8 clients while traced, longer than without"
    yield Row(what, rate, "tokens/s", "not traced", alone, longer, ("<=", 1.1), PAIRS)


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
        load(url, 1, 0)
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
