"""Long work neither holds up the server nor piles up."""

import asyncio
import threading
import time
from collections.abc import Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import httpx
import pytest

from glassformer.server.connections import Server
from glassformer.server.errors import ApiError
from glassformer.server.schemas import TraceRequest
from glassformer.server.traces import LiveTrace, TraceStore
from glassformer.server.work import Workers
from glassformer.trace.cancel import Cancelled
from tests.server.served import listening, until


def run(story: Coroutine[Any, Any, None]) -> None:
    """Run a coroutine in a thread of its own: browser tests leave a loop running in this one."""
    with ThreadPoolExecutor(1) as pool:
        pool.submit(asyncio.run, story).result()


@contextmanager
def serving(workers: Workers | None = None) -> Iterator[str]:
    """The address of a real server."""
    with listening(workers=workers) as (port, _):
        yield f"http://127.0.0.1:{port}"


def test_a_cheap_request_is_answered_at_once_while_a_trace_is_recorded(monkeypatch):
    begun, go_on = threading.Event(), threading.Event()
    worked = 0.0  # seconds of the processor that recording has had: the machine may be busy

    def slow(*_: object) -> dict[str, object]:
        nonlocal worked
        begun.set()
        deadline = time.monotonic() + 60
        while not go_on.is_set() and time.monotonic() < deadline:
            sum(range(10_000))  # holds the interpreter, as recording does
            worked = time.thread_time()
        raise ApiError("busy", "enough")

    monkeypatch.setattr("glassformer.server.answers.open_trace", slow)
    request = {"run": "miniature", "prompt": "the cat"}
    with serving() as url, httpx.Client(base_url=url, timeout=60) as client:
        client.get("/api/runs")
        recording = threading.Thread(
            target=lambda: httpx.post(f"{url}/api/traces", json=request, timeout=60)
        )
        recording.start()
        try:
            assert begun.wait(30)
            took = []
            for _ in range(5):
                start = worked
                assert client.get("/api/runs").status_code == 200
                took.append(worked - start)
            assert not go_on.is_set()
        finally:
            go_on.set()
            recording.join()
    assert sorted(took)[2] < 0.2


def test_a_request_that_waits_is_dropped_when_its_client_goes_away(monkeypatch):
    hold, asked = threading.Event(), []

    def slow(_runs: object, _traces: object, request: TraceRequest, _: object) -> None:
        asked.append(request.prompt)
        hold.wait(30)
        raise ApiError("busy", "enough")

    monkeypatch.setattr("glassformer.server.answers.open_trace", slow)
    with (
        listening(workers=Workers(threads=1)) as (port, server),
        httpx.Client(base_url=f"http://127.0.0.1:{port}") as client,
    ):
        for prompt in ("the cat", "the mat"):  # the second waits for the first
            with pytest.raises(httpx.ReadTimeout):
                client.post("/api/traces", json={"run": "miniature", "prompt": prompt}, timeout=0.5)
        until_all_have_gone(server)
        hold.set()
        request = {"run": "miniature", "text": "the cat"}
        assert client.post("/api/tokenize", json=request, timeout=30).status_code == 200
    assert asked == ["the cat"]


def test_a_recorded_trace_and_an_open_run_are_read_while_every_worker_records(monkeypatch):
    begun, go_on = threading.Semaphore(0), threading.Event()

    def slow(*_: object) -> None:
        begun.release()
        go_on.wait(60)
        raise ApiError("busy", "enough")

    request = {"run": "miniature", "prompt": "the cat"}
    with serving(Workers(threads=2)) as url, httpx.Client(base_url=url, timeout=60) as client:
        trace = client.post("/api/traces", json=request).json()["id"]
        monkeypatch.setattr("glassformer.server.answers.open_trace", slow)
        recordings = [
            threading.Thread(target=lambda: httpx.post(f"{url}/api/traces", json=request))
            for _ in range(2)
        ]
        for recording in recordings:
            recording.start()
        try:
            assert all(begun.acquire(timeout=30) for _ in recordings)
            tile = {"range": "bytes=0-1023"}
            values = client.get(f"/api/traces/{trace}/values", headers=tile, timeout=5)
            assert (values.status_code, len(values.content)) == (206, 1024)
            table = client.get(f"/api/traces/{trace}/trace.json", timeout=5)
            assert table.json()["format"] == "glassformer-trace"
            assert client.get("/api/runs/miniature", timeout=5).json()["n_ctx"] == 6
            for asked in ("counts?address=fwd/logits", "attribution?token=1&pos=0"):
                answer = client.get(f"/api/traces/{trace}/{asked}", timeout=5)
                assert answer.status_code == 200
            assert not go_on.is_set()
        finally:
            go_on.set()
            for recording in recordings:
                recording.join()


def until_all_have_gone(server: Server) -> None:
    until(lambda: not server.server_state.connections)
    time.sleep(0.2)  # what waits for them is told


@pytest.mark.parametrize("patience", [{"client": 0.5, "server": 60}, {"client": 60, "server": 0.5}])
def test_a_trace_that_nobody_waits_for_any_more_is_recorded_no_further(monkeypatch, patience):
    hold, ended, held = threading.Event(), threading.Event(), []

    def slow(*wish: Any) -> LiveTrace:
        hold.wait(30)
        try:
            return LiveTrace(*wish)
        except Cancelled:
            ended.set()
            raise

    monkeypatch.setattr("glassformer.server.answers.LiveTrace", slow)
    monkeypatch.setattr(TraceStore, "add", lambda _, trace: held.append(trace))
    request = {"run": "miniature", "prompt": "the cat"}
    workers = Workers(threads=1, seconds=patience["server"])
    with (
        listening(workers=workers) as (port, server),
        httpx.Client(base_url=f"http://127.0.0.1:{port}") as client,
    ):
        try:
            answer = client.post("/api/traces", json=request, timeout=patience["client"])
            assert answer.json()["error"]["code"] == "too_slow"
        except httpx.ReadTimeout:
            until_all_have_gone(server)
        monkeypatch.setattr(workers, "_seconds", 60)  # the machine may be busy
        hold.set()
        assert ended.wait(30)
        # the one thread is free again, so whatever it was to do with the trace is done
        text = {"run": "miniature", "text": "the cat"}
        assert client.post("/api/tokenize", json=text, timeout=30).status_code == 200
        assert held == []
        answer = client.post("/api/traces", json=request, timeout=30)
        assert [trace.id for trace in held] == [answer.json()["id"]]


def test_work_beyond_the_queue_is_refused():
    async def story() -> None:
        workers, hold = Workers(threads=1, queue=1), threading.Event()
        first = [asyncio.create_task(workers.run(hold.wait)) for _ in range(2)]
        await asyncio.sleep(0)
        with pytest.raises(ApiError, match="too much to do"):
            await workers.run(hold.wait)
        hold.set()
        assert await asyncio.gather(*first) == [True, True]
        await asyncio.sleep(0.05)
        assert await workers.run(lambda: 3) == 3
        workers.close()

    run(story())


def test_work_whose_client_went_away_is_never_begun():
    async def story() -> None:
        workers, hold, ran = Workers(threads=1), threading.Event(), []
        running = asyncio.create_task(workers.run(hold.wait))
        waiting = asyncio.create_task(workers.run(lambda: ran.append(1)))
        await asyncio.sleep(0.05)
        waiting.cancel()
        await asyncio.sleep(0.05)
        hold.set()
        await running
        await workers.run(lambda: None)
        assert ran == []
        workers.close()

    run(story())


def test_an_answer_that_takes_too_long_is_an_error():
    async def story() -> None:
        workers, hold = Workers(seconds=0.05), threading.Event()
        with pytest.raises(ApiError, match="ask for less"):
            await workers.run(hold.wait)
        hold.set()
        workers.close()

    run(story())


def test_work_that_takes_the_next_of_nothing_ends_in_an_error():
    async def story() -> None:
        with pytest.raises(RuntimeError, match="nothing to take the next of"):
            await Workers(seconds=5).run(lambda: next(iter(())))

    run(story())


def test_who_is_refused_for_lack_of_room_is_told_when_to_come_again():
    with serving(Workers(threads=0, queue=0)) as url:
        request = {"run": "miniature", "text": "the cat"}
        answer = httpx.post(f"{url}/api/tokenize", json=request, timeout=30)
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
