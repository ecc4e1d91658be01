"""Small models' texts come from a process of their own, and are what they are without it."""

from __future__ import annotations

import os
import random
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
from fastapi import FastAPI

from glassformer.server.app import create_app
from glassformer.server.runs import Runs
from glassformer.server.v1.apart import EngineApart
from tests.server.clients import client_of, make_model
from tests.server.served import client as in_process
from tests.server.served import listening, until


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models") / "small"
    make_model(folder, n_ctx=4000)
    return folder


@pytest.fixture
def served(folder: Path) -> Iterator[tuple[openai.OpenAI, EngineApart]]:
    """A client, and the engine in its process, which has started."""
    app = create_app(Runs([str(folder)]), apart=True)
    with listening(app) as (port, _):
        client = client_of(port)
        client.completions.create(model="small", prompt="the", max_tokens=1)
        yield client, apart(app)


def apart(app: FastAPI) -> EngineApart:
    """The engine in its process, once that has started."""
    engines = app.state.services.clients.engines
    [engine] = until(lambda: [one for one in engines.engines if isinstance(one, EngineApart)])
    return engine


def asked(number: int) -> dict[str, Any]:
    """One of many requests, each unlike the others."""
    draw = random.Random(number)
    logprobs = draw.choice([None, 0, 3])
    return {
        "prompt": draw.choice(["the cat sat", ["the dog's bone", "é語"], [5, 6, 7]]),
        "max_tokens": draw.choice([0, 1, 9, 30]),
        "temperature": draw.choice([0, 1.0]),
        "top_p": draw.choice([None, 0.9]),
        "repetition_penalty": draw.choice([None, 1.3]),
        "seed": number,
        "n": draw.choice([1, 2]),
        "stop": draw.choice([None, ["e", "t"]]),
        "logprobs": logprobs,
        "echo": draw.random() < 0.5,
        "logit_bias": draw.choice([None, {"5": 3.5}]),
    }


def test_every_answer_is_to_the_bit_that_of_the_servers_own_process(served, folder):
    client, engine = served
    got: dict[int, Any] = {}

    def ask(number: int) -> None:
        fields = asked(number)
        url = f"{client.base_url}completions"
        threading.Event().wait(random.Random(number).random() / 4)
        got[number] = httpx.post(url, json=fields, timeout=60).json()["choices"]

    clients = [threading.Thread(target=ask, args=[number]) for number in range(32)]
    for one in clients:
        one.start()
    for one in clients:
        one.join()
    alone = in_process(str(folder))
    for number in range(32):
        expected = alone.post("/v1/completions", json=asked(number)).json()["choices"]
        assert got[number] == expected, asked(number)
    greedy: dict[str, Any] = {"model": "small", "prompt": "the", "max_tokens": 90, "temperature": 0}
    text = client.completions.create(**greedy).choices[0].text
    streamed = client.completions.create(**greedy, stream=True)
    assert "".join(part.choices[0].text for part in streamed) == text
    metrics = httpx.get(str(client.base_url.join("/metrics"))).text
    assert 'glassformer_requests_ended_total{how="error"}' not in metrics
    assert (engine.running, engine.waiting) == (0, 0)


def test_a_client_that_leaves_frees_its_slot_and_a_lost_process_is_made_up_for(served):
    client, engine = served
    long: dict[str, Any] = {"model": "small", "prompt": "the cat", "max_tokens": 3900}
    stream = client.completions.create(**long, n=128, stream=True)
    next(iter(stream))
    assert engine.running == engine.slots
    assert engine.waiting > 0
    stream.close()
    until(lambda: engine.running == 0)
    metrics = str(client.base_url.join("/metrics"))
    until(lambda: 'requests_ended_total{how="left"} 1' in httpx.get(metrics).text)
    [seen, *_] = httpx.get(str(client.base_url.join("/api/requests"))).json()["requests"]
    assert seen["left"]
    broken = client.completions.create(**long, n=128, stream=True)
    parts = iter(broken)
    next(parts)
    os.kill(engine.pid, signal.SIGKILL)
    with pytest.raises(openai.APIError, match="has ended; ask again"):
        list(parts)
    assert engine.ended
    assert client.completions.create(**long).usage.completion_tokens > 0


def test_at_the_servers_end_its_texts_are_told_and_the_process_ends(folder):
    app = create_app(Runs([str(folder)]), apart=True)
    with listening(app) as (port, _):
        client = client_of(port)
        client.completions.create(model="small", prompt="the", max_tokens=1)
        engine = apart(app)
        stream = client.completions.create(
            model="small", prompt="the cat", max_tokens=3900, n=128, stream=True
        )
        parts = iter(stream)
        next(parts)
        app.state.services.leave()
        with pytest.raises(openai.InternalServerError, match="the server is ending"):
            client.completions.create(model="small", prompt="the", max_tokens=1)
        with pytest.raises(openai.APIError, match="the server is ending"):
            list(parts)
        until(lambda: not Path(f"/proc/{engine.pid}").exists())
