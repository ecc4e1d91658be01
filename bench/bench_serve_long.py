"""The API under 32 streams for minutes: errors, memory, times; beside it llama.cpp's server.

`--seconds 600`: ten minutes of the demo's size, three of GPT-2's, and one of llama.cpp for each.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

from bench.api_clients import load
from bench.bench_serve import NATS, SIZES, make, our_server, peer_rows
from bench.measure import Row

CLIENTS = 32
SHARES = {"demo": 1.0, "124M": 0.3}
PEER_SHARE = 0.1


def run(seconds: float) -> Iterator[Row]:
    with tempfile.TemporaryDirectory() as folder:
        for name, share in SHARES.items():
            model, run = make(Path(folder) / name, SIZES[name], NATS[name])
            with our_server(run) as (url, process):
                seen = load(url, CLIENTS, share * seconds, process=process)
            yield from seen.rows(f"{name}: {CLIENTS} streams")
            yield Row(f"{name}: seconds", seen.seconds, "s")
            yield Row(f"{name}: requests", float(len(seen.first)), "")
            yield Row(f"{name}: memory once warm", seen.warm, "MB")
            yield Row(f"{name}: memory grown after that", seen.growth, "%", target=("<=", 5))
            yield Row(f"{name}: errors", seen.errors, "", target=("<=", 0))
            yield from peer_rows(name, model, Path(folder), PEER_SHARE * seconds, (CLIENTS,))
