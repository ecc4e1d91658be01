"""A served application, and what its tests ask of it again and again."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from starlette.testclient import TestClient
from starlette.types import ASGIApp

from glassformer.cli.serve import listen
from glassformer.server.app import create_app
from glassformer.server.connections import Server
from glassformer.server.runs import Runs
from glassformer.server.work import Workers

Result = TypeVar("Result")

PROMPT = "the cat sat on the"
TILE = 65536


def client(
    *runs: str,
    host: str = "127.0.0.1",
    token: str | None = None,
    folder: Path = Path("runs"),
    workers: Workers | None = None,
    text: Path | None = None,
) -> TestClient:
    """A client of a server of these runs; miniature where none is named."""
    app = create_app(
        Runs(list(runs) or ["miniature"]),
        host=host,
        token=token,
        folder=folder,
        workers=workers,
        text=text,
    )
    return in_process(app)


def in_process(app: ASGIApp, host: str = "127.0.0.1") -> TestClient:
    """A client of an application that calls it, as if it came from `host`."""
    url = "http://127.0.0.1:8000"
    return TestClient(app, base_url=url, raise_server_exceptions=False, client=(host, 50000))


@contextmanager
def listening(
    app: ASGIApp | None = None, workers: Workers | None = None
) -> Iterator[tuple[int, Server]]:
    """A real server, of this application or of miniature, and its port, while it runs."""
    listener = listen("127.0.0.1", 0)
    server = Server(app or create_app(Runs(["miniature"]), workers=workers))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    try:
        yield listener.getsockname()[1], server
    finally:
        server.should_exit = True
        thread.join()
        listener.close()


def until(look: Callable[[], Result]) -> Result:
    """What is found, once it is."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        if result := look():
            return result
        time.sleep(0.05)
    raise AssertionError("it did not come about")


def open_trace(server: TestClient, run: str = "miniature", **wishes: Any) -> dict[str, Any]:
    """TraceAbout of a new trace."""
    answer = server.post("/api/traces", json={"run": run, "prompt": PROMPT, **wishes})
    assert answer.status_code == 200, answer.text
    return answer.json()


def node_table(server: TestClient, about: dict[str, Any]) -> dict[str, Any]:
    return server.get(f"/api/traces/{about['id']}/trace.json").json()


def all_values(server: TestClient, about: dict[str, Any]) -> bytes:
    """The values' file, tile by tile."""
    result = b""
    while len(result) < about["nbytes"]:
        wanted = f"bytes={len(result)}-{len(result) + TILE - 1}"
        answer = server.get(f"/api/traces/{about['id']}/values", headers={"range": wanted})
        assert answer.status_code == 206
        result += answer.content
    return result


def error(answer: Any, status: int, code: str) -> str:
    """The message of an error that is what it should be: one line, under its code."""
    assert answer.status_code == status, answer.text
    result = answer.json()["error"]
    assert result["code"] == code
    assert "\n" not in result["message"]
    return result["message"]


def data_block(html: str) -> dict[str, Any]:
    """What stands in the page's data block, read as a browser would find its end."""
    _, _, rest = html.partition('<script type="application/json" id="glassformer-data">')
    return json.loads(rest[: rest.index("</script")])
