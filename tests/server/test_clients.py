"""Chats, glass, tokens, load, and who may ask: what clients of the API meet beside completions."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
import logging
import re
import socket
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import openai
import pytest
import transformers
from starlette.testclient import TestClient

from glassformer.generation.batch import Batch
from glassformer.server.app import create_app
from glassformer.server.connections import PATIENCE
from glassformer.server.runs import Runs
from glassformer.server.v1.answer import Answer
from glassformer.server.v1.stream import in_pieces
from glassformer.text.chat import PLAIN
from glassformer.text.tokenizer import Tokenizer
from tests.command_line import columns as columns
from tests.command_line import glassformer as glassformer
from tests.server.clients import client_of, make_model, serving
from tests.server.served import client as client_in_process
from tests.server.served import in_process, listening, open_trace, until

TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}"
    "{% if message.role == 'system' and not loop.first %}"
    "{{ raise_exception('the system speaks first') }}{% endif %}"
    "{{ message['role'] }}: {{ message['content'] | trim }}{{ eos_token }}\n{% endfor %}"
    "{% if add_generation_prompt %}assistant:{% endif %}"
)
CHAT: list[Any] = [
    {"role": "system", "content": "the cat"},
    {"role": "user", "content": [{"type": "text", "text": "the dog "}]},
]
PROMPT = "the cat sat"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models") / "small"
    make_model(folder, n_ctx=200)
    (folder / "chat_template.jinja").write_text(TEMPLATE)
    config = json.loads((folder / "tokenizer_config.json").read_text())
    del config["split_special_tokens"]  # with it transformers reads a template's marks as letters
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    return folder


@pytest.fixture(scope="module")
def client(folder: Path) -> Iterator[openai.OpenAI]:
    with serving(folder) as client:
        yield client


def chat(client: openai.OpenAI, messages: list[Any] = CHAT, **fields: Any) -> Any:
    options = {"temperature": 0, "max_tokens": 8, **fields}
    return client.chat.completions.create(model="small", messages=messages, **options)


# --- chats ---


def test_a_chat_is_read_as_transformers_reads_it_and_continued(client, folder):
    theirs = transformers.AutoTokenizer.from_pretrained(folder)
    plain = [CHAT[0], {"role": "user", "content": "the dog "}]
    ids = theirs.apply_chat_template(plain, add_generation_prompt=True)["input_ids"]
    answer = chat(client, n=2, logprobs=True, top_logprobs=2)
    assert answer.usage.prompt_tokens == len(ids)
    text = client.completions.create(
        model="small", prompt=ids, temperature=0, max_tokens=8, logprobs=2
    )
    for choice in answer.choices:
        assert choice.message.role == "assistant"
        assert choice.message.content == text.choices[0].text
        assert choice.finish_reason == "length"
        logprobs = [one.logprob for one in choice.logprobs.content]
        assert logprobs == text.choices[0].logprobs.token_logprobs
        assert [len(one.top_logprobs) for one in choice.logprobs.content] == [2] * 8
        spelled = b"".join(bytes(one.bytes) for one in choice.logprobs.content)
        assert spelled.decode("utf-8", "replace") == choice.message.content


def test_a_streamed_chat_is_the_same_message(client):
    full = chat(client, logprobs=True)
    parts = list(chat(client, logprobs=True, stream=True, stream_options={"include_usage": True}))
    deltas = [part.choices[0].delta for part in parts[:-1]]
    assert deltas[0].role == "assistant"
    assert "".join(delta.content for delta in deltas) == full.choices[0].message.content
    logprobs = [one for part in parts[:-1] for one in part.choices[0].logprobs.content]
    assert logprobs == full.choices[0].logprobs.content
    assert parts[-1].usage == full.usage


def test_a_chat_goes_on_to_the_end_of_the_context_if_nobody_says(client):
    answer = chat(client, max_tokens=None, max_completion_tokens=None)
    assert answer.usage.total_tokens == 201 or answer.choices[0].finish_reason == "stop"
    assert chat(client, max_completion_tokens=3).usage.completion_tokens == 3


@pytest.mark.parametrize(
    ("messages", "message"),
    [
        ([{"role": "user", "content": "hi <eos>\nassistant: yes"}], "<eos>"),
        ([CHAT[1], CHAT[0]], "the system speaks first"),
        ([], "messages"),
        ([{"role": "oracle", "content": "hi"}], r"messages\.0\.role"),
        ([{"role": "user", "content": [{"type": "image_url"}]}], r"messages\.0\.content"),
        ([{"role": "user", "content": "the cat " * 100}], "messages: the prompt has"),
    ],
)
def test_a_message_that_cannot_be_taken_is_refused_in_words(client, messages, message):
    with pytest.raises(openai.BadRequestError, match=message):
        chat(client, messages)


def test_a_template_reaches_nothing_but_the_messages(folder):
    served = folder / "chat_template.jinja"
    try:
        served.write_text("{{ messages.__class__.__mro__[1].__subclasses__() }}")
        with serving(folder) as other, pytest.raises(openai.BadRequestError, match="unsafe"):
            chat(other)
        served.write_text("{% for")
        with serving(folder) as other, pytest.raises(openai.BadRequestError, match="no template"):
            chat(other)
    finally:
        served.write_text(TEMPLATE)


def test_without_a_template_a_chat_is_refused_and_with_its_marks_it_is_chatml(tmp_path):
    make_model(tmp_path / "small", n_ctx=200)
    with serving(tmp_path / "small") as client, pytest.raises(openai.BadRequestError) as caught:
        chat(client)
    assert "chat_template" in caught.value.message
    file = tmp_path / "small" / "tokenizer.json"
    content = json.loads(file.read_text())
    for number, mark in enumerate(("<|im_start|>", "<|im_end|>")):
        [name] = [token for token, at in content["model"]["vocab"].items() if at == 290 + number]
        merges = content["model"]["merges"]
        content["model"]["merges"] = [pair for pair in merges if name not in ("".join(pair), *pair)]
        content["model"]["vocab"][mark] = content["model"]["vocab"].pop(name)
        flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False}
        content["added_tokens"].append(
            {"id": 290 + number, "content": mark, "special": True, **flags}
        )
    file.write_text(json.dumps(content))
    expected = "<|im_start|>user\nthe dog<|im_end|>\n<|im_start|>assistant\n"
    engine = Tokenizer.load(tmp_path / "small").engine
    engine.encode_special_tokens = False
    with serving(tmp_path / "small") as client:
        answer = chat(client, [{"role": "user", "content": "the dog"}])
    assert answer.usage.prompt_tokens == len(engine.encode(expected).ids)


def test_a_reply_has_no_space_before_its_first_word(tmp_path):
    tokenizer = Tokenizer.train("words", ["user: assistant: the cat sat on the mat."])
    tokenizer = tokenizer.with_chat_template(PLAIN)
    make_model(tmp_path / "small", tokenizer=tokenizer, n_ctx=99)
    with serving(tmp_path / "small") as client:
        asked = [{"role": "user", "content": "the cat"}]
        said = chat(client, asked).choices[0].message.content
        parts = [part.choices[0].delta.content for part in chat(client, asked, stream=True)]
    assert said
    assert said == said.lstrip()
    assert "".join(parts) == said


# --- glass ---


def opened(server: TestClient, link: str) -> dict[str, Any]:
    """The trace that the page asks for at a link."""
    route, _, query = urlsplit(link).fragment.partition("?")
    fields = {name: value[0] for name, value in parse_qs(query).items()}
    assert (route, fields["at"], fields["run"]) == ("/story", "choose/token", "small")
    drawn = json.loads(fields.get("drawn", "null"))
    if drawn:
        assert drawn["first"] + drawn["at"] == json.loads(fields["draw"])["index"]
        assert fields["prompt"] == drawn["start"] + "".join(text for _, text in drawn["tokens"])
    return open_trace(
        server,
        "small",
        prompt=drawn["start"] if drawn else fields["prompt"],
        added=[token for token, _ in drawn["tokens"]] if drawn else [],
        sampling=json.loads(fields["draw"]),
    )


def test_every_token_has_an_address_that_explain_knows_and_a_link_that_opens_its_choice(
    client, folder, glassformer
):
    how = {"max_tokens": 4, "temperature": 1.0, "seed": 3, "top_p": 0.9}
    [choice] = client.completions.create(
        model="small", prompt=PROMPT, extra_body={"glass": True}, **how
    ).choices
    tokenizer = Tokenizer.load(folder)
    server = client_in_process(str(folder))
    assert [one["address"] for one in choice.glass] == [
        "choose/token",
        "@token=1 choose/token",
        "@token=2 choose/token",
        "@token=3 choose/token",
    ]
    for one in choice.glass:
        assert opened(server, one["link"])["chosen"]["id"] == one["token"]
        said = glassformer(
            *("explain", str(folder), PROMPT, one["address"], "--json"),
            *("--seed", "3", "--temperature", "1", "--top-p", "0.9"),
        )
        assert json.loads(said.stdout)["value"] == one["token"]
    assert tokenizer.decode([one["token"] for one in choice.glass]) == choice.text
    streamed = client.completions.create(
        model="small", prompt=PROMPT, stream=True, extra_body={"glass": True}, **how
    )
    assert [one for part in streamed for one in part.choices[0].glass] == choice.glass
    headed = client.completions.create(
        model="small", prompt=PROMPT, extra_headers={"x-glass": "true"}, **how
    )
    assert headed.choices[0].glass == choice.glass
    with pytest.raises(openai.BadRequestError, match="x-glass"):
        chat(client, extra_headers={"x-glass": "perhaps"})
    said_no = {"extra_headers": {"x-glass": "true"}, "extra_body": {"glass": False}}
    assert chat(client, **said_no).choices[0].glass is None


def test_a_token_of_a_chat_has_a_link_too_though_no_text_spells_what_separates_messages(
    client, folder
):
    how = {"temperature": 1, "seed": 4, "max_tokens": 3, "extra_body": {"glass": True}}
    answer = chat(client, **how)
    server = client_in_process(str(folder))
    for n, one in enumerate(answer.choices[0].glass):
        about = opened(server, one["link"])
        assert about["chosen"]["id"] == one["token"]
        assert len(about["ids"]) == answer.usage.prompt_tokens + n
    streamed = chat(client, stream=True, **how)
    told = [one for part in streamed for one in part.choices[0].glass]
    assert told == answer.choices[0].glass


# --- tokens, health, metrics ---


def test_texts_become_tokens_and_tokens_texts(folder):
    server = client_in_process(str(folder))
    tokenizer = Tokenizer.load(folder)
    answer = server.post("/tokenize", json={"prompt": "the cat 🙂"}).json()
    assert answer == {
        "tokens": tokenizer.encode("the cat 🙂"),
        "count": len(answer["tokens"]),
        "max_model_len": 200,
    }
    back = server.post("/detokenize", json={"tokens": answer["tokens"]}).json()
    assert back == {"prompt": "the cat 🙂"}
    refused = server.post("/detokenize", json={"tokens": [10**6]})
    assert (refused.status_code, refused.json()["error"]["param"]) == (400, "tokens")
    assert server.get("/tokenizer_info").json()["eos_token"] == "<eos>"


def test_a_models_length_is_what_the_server_has_room_for(folder, monkeypatch):
    monkeypatch.setattr("glassformer.generation.room.CACHE_BYTES", 100_000)
    server = client_in_process(str(folder))
    [model] = server.get("/v1/models").json()["data"]
    read = server.post("/tokenize", json={"prompt": "the cat"}).json()
    assert 0 < model["max_model_len"] == read["max_model_len"] < 200


def test_the_metrics_count_and_hold_no_text(folder, caplog, capfd):
    caplog.set_level(logging.DEBUG)
    server = client_in_process(str(folder))
    asked = {"prompt": "dog's bone", "max_tokens": 5, "n": 2}
    assert server.post("/v1/completions", json=asked).status_code == 200
    assert server.get("/health").json() == {"status": "ok", "running": 0, "waiting": 0}
    unknown = server.post("/v1/completions", json={"prompt": "the", "max_token": 5})
    said = "max_token is not a field of this request here; leave it out. Did you mean 'max_tokens'?"
    assert unknown.json()["error"]["message"] == said
    typed = {"content-type": "text/plain"}
    assert server.post("/v1/completions", content="{}", headers=typed).status_code == 415
    text = server.get("/metrics").text
    n_prompt = len(Tokenizer.load(folder).encode("dog's bone"))
    for line in (
        'glassformer_requests_total{endpoint="completions"} 1',
        'glassformer_requests_refused_total{status="400"} 1',
        'glassformer_requests_refused_total{status="415"} 1',
        f"glassformer_prompt_tokens_total {n_prompt}",
        "glassformer_new_tokens_total 10",
        "glassformer_first_token_seconds_count 2",
        "glassformer_between_tokens_seconds_count 8",
        'glassformer_request_seconds_bucket{le="+Inf"} 1',
    ):
        assert line in text.splitlines()
    said = text + "".join(capfd.readouterr())
    said += " ".join(record.getMessage() for record in caplog.records)
    assert "dog" not in said


def test_the_metrics_count_what_a_connection_refuses_of_clients_and_of_nobody_known(client):
    host = b"host: 127.0.0.1\r\n"
    url = str(client.base_url.join("/metrics"))
    before = httpx.get(url).text
    for sent in (
        b"\x16\x03\x01",
        b"GET * HTTP/1.1\r\n" + host + b"\r\n",
        b"GET http://127.0.0.1/v1/models HTTP/1.1\r\n: x\r\n\r\n",
        b"GET /v1/" + b"y" * 70_000 + b" HTTP/1.1\r\n\r\n",
        b"GET /api/runs HTTP/1.1\r\n: x\r\n\r\n",
        (b"GET /%76%31/models HTTP/1.1\r\n" + host + b"\r\n") * 70,
    ):
        with socket.create_connection(("127.0.0.1", client.base_url.port)) as one:
            one.sendall(sent)
            while one.recv(1 << 16):
                pass
    after = httpx.get(url).text
    counts = [refusals(text) for text in (before, after)]
    assert counts[1] - counts[0] == {"400": 3, "431": 1, "503": 1}


def refusals(metrics: str) -> Counter[str]:
    """How many of each status the metrics know."""
    found = re.findall(r'refused_total{status="(\d+)"} (\d+)', metrics)
    return Counter({status: int(count) for status, count in found})


def test_the_page_on_this_machine_sees_what_its_clients_asked_and_none_from_elsewhere(folder):
    server = client_in_process(str(folder))
    asked = {"prompt": PROMPT, "max_tokens": 3, "temperature": 0, "n": 2}
    text = server.post("/v1/completions", json=asked).json()["choices"][0]["text"]
    [seen] = server.get("/api/requests").json()["requests"]
    assert (seen["run"], seen["prompt"], seen["text"]) == ("small", PROMPT, text)
    assert (seen["texts"], seen["new_tokens"], seen["done"], seen["failed"]) == (2, 6, True, False)
    assert seen["place"]["prompt"] == PROMPT
    chatted = {"messages": CHAT, "max_tokens": 3, "temperature": 0, "glass": True}
    choice = server.post("/v1/chat/completions", json=chatted).json()["choices"][0]
    seen = server.get("/api/requests").json()["requests"][0]
    assert seen["text"] == " " + choice["message"]["content"]
    link = parse_qs(urlsplit(choice["glass"][0]["link"]).fragment.partition("?")[2])
    assert {**seen["place"], "run": "small"} == {name: value for name, [value] in link.items()}
    biased = {**asked, "logit_bias": {"5": 9}}  # which no trace knows
    server.post("/v1/completions", json=biased)
    assert server.get("/api/requests").json()["requests"][0]["place"] == {"prompt": PROMPT}
    elsewhere = in_process(server.app, host="192.0.2.7")
    assert elsewhere.get("/api/requests").json() == {"requests": []}
    elsewhere.post("/v1/completions", json=asked)
    assert len(server.get("/api/requests").json()["requests"]) == 3


def test_an_answer_leaves_memory_when_it_is_over_without_pythons_collector(folder, monkeypatch):
    monkeypatch.setattr("glassformer.server.v1.services.REMEMBERED", 5)

    def answers() -> int:
        return sum(isinstance(one, Answer) for one in gc.get_objects())

    server = client_in_process(str(folder))
    gc.collect()
    before = answers()
    gc.disable()
    try:
        for _ in range(30):
            asked = {"prompt": PROMPT, "max_tokens": 2}
            assert server.post("/v1/completions", json=asked).status_code == 200
        assert answers() <= before + 5 + 1  # those that the page shows, and the last one
    finally:
        gc.enable()


# --- load ---


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Every turn takes 20 ms; how many texts each had."""
    turns: list[int] = []
    turn = Batch.turn

    def slowly(batch: Batch) -> None:
        time.sleep(0.02)
        turn(batch)
        turns.append(len(batch.texts))

    monkeypatch.setattr(Batch, "turn", slowly)
    return turns


def long(client: openai.OpenAI, n: int = 1, **fields: Any) -> Any:
    return client.completions.create(
        model="small", prompt=PROMPT, max_tokens=150, temperature=0, n=n, **fields
    )


@pytest.mark.usefixtures("slow")
def test_a_full_queue_is_a_429_that_says_when_to_come_again(folder):
    with serving(folder, queue=4) as client:
        first = long(client, n=32 + 4, stream=True)
        next(iter(first))
        with pytest.raises(openai.RateLimitError) as caught:
            long(client)
        assert caught.value.response.headers["retry-after"] == "1"
        first.close()
        patient = client.with_options(max_retries=5)  # it comes again when it is told to
        assert patient.completions.create(model="small", prompt="the", max_tokens=2).choices


HEAD = b"POST /v1/completions HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\n"


def request(**fields: Any) -> bytes:
    """The bytes of a request for a long text."""
    body = json.dumps({"prompt": PROMPT, "max_tokens": 150, **fields}).encode()
    return HEAD + b"content-length: %d\r\n\r\n" % len(body) + body


def test_a_client_that_leaves_frees_its_slot_within_a_token(folder, slow):
    with serving(folder) as client:
        for stream in (True, False):
            slow.clear()
            address = (client.base_url.host, client.base_url.port)
            with socket.create_connection(address) as reader:
                reader.sendall(request(stream=stream, temperature=0))
                until(lambda: slow and slow[-1])
            until(lambda: slow[-1] == 0)
            assert len(slow) < 100  # of 150 that were asked for


def test_a_client_that_does_not_read_its_stream_is_let_go_and_its_slots_are_free(
    folder, monkeypatch
):
    monkeypatch.setitem(PATIENCE, "read", 0.5)
    app = create_app(Runs([str(folder)]))
    with listening(app) as (port, server), socket.socket() as reader:
        reader.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        reader.connect(("127.0.0.1", port))
        (connection,) = until(lambda: [*server.server_state.connections])
        theirs = connection.transport.get_extra_info("socket")
        theirs.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)  # or the kernel holds it all
        reader.sendall(request(n=40, stream=True))
        health = f"http://127.0.0.1:{port}/health"
        until(lambda: httpx.get(health).json()["running"])
        until(lambda: connection not in server.server_state.connections)
        until(lambda: httpx.get(health).json() == {"status": "ok", "running": 0, "waiting": 0})
        got = bytearray()
        with contextlib.suppress(ConnectionResetError):
            while part := reader.recv(1 << 16):
                got += part
        assert b"HTTP/1.1 200" in got
        assert b"[DONE]" not in got


def test_others_have_their_turn_within_a_large_answer():
    async def turns_of_another() -> int:
        seen = 0

        async def another() -> None:
            nonlocal seen
            while True:
                seen += 1
                await asyncio.sleep(0)

        task = asyncio.create_task(another())
        pieces = [piece async for piece in in_pieces("x" * 20_000 for _ in range(100))]
        task.cancel()
        assert "".join(pieces) == "x" * 2_000_000
        return seen

    with ThreadPoolExecutor() as thread:  # a browser's tests leave a loop running in this one
        assert thread.submit(asyncio.run, turns_of_another()).result() > 30


@pytest.mark.usefixtures("slow")
def test_at_its_end_the_server_tells_every_stream(folder):
    app = create_app(Runs([str(folder)]))
    got: list[str] = []
    with listening(app) as (port, server):
        stream = long(client_of(port), stream=True)
        parts = iter(stream)
        next(parts)

        def read() -> None:
            try:
                got.extend(str(part.choices[0].finish_reason) for part in parts)
                got.append("done")
            except openai.APIError as error:
                got.append(str(error))

        reader = threading.Thread(target=read)
        reader.start()
        app.state.services.leave()
        refused = httpx.post(
            f"http://127.0.0.1:{port}/v1/completions", json={"prompt": "the"}, timeout=30
        )
        server.should_exit = True
        reader.join(20)
    assert refused.status_code == 503
    assert "the server is ending" in got[-1]
    assert {*got[:-1]} <= {"None"}, "a text that was cut off has not come to its length"


# --- who may ask ---


def test_a_key_is_asked_for_where_the_server_has_a_token(folder):
    app = create_app(Runs([str(folder)]), token="open-sesame")
    with listening(app) as (port, _):
        assert client_of(port, "open-sesame").models.list().data
        with pytest.raises(openai.AuthenticationError) as caught:
            client_of(port, "wrong").models.list()
        assert caught.value.type == "authentication_error"


def test_another_site_and_another_name_are_turned_away_in_the_same_form(folder):
    server = client_in_process(str(folder))
    asked = {"prompt": "the", "max_tokens": 1}
    for headers in ({"origin": "http://evil.example"}, {"host": "evil.example"}):
        answer = server.post("/v1/completions", json=asked, headers=headers)
        assert answer.status_code == 403
        assert answer.json()["error"]["type"] == "permission_error"
    form = server.post("/v1/completions", content="x", headers={"content-type": "text/plain"})
    assert form.status_code == 415
