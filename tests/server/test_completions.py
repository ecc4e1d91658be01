"""OpenAI's own client gets what it asks for, field by field, and errors where it can't be."""

from __future__ import annotations

import gzip
import json
import random
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
import torch

from glassformer.generation.batch import Batch
from glassformer.generation.defaults import start_ids
from glassformer.model import Decoder
from glassformer.server.v1.schemas import ChatDelta
from glassformer.server.v1.stream import event
from glassformer.text.tokenizer import Tokenizer
from tests.server.clients import make_model, serving
from tests.server.served import until

PROMPT = "the cat sat"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("models") / "small"


@pytest.fixture(scope="module")
def model(folder: Path) -> Decoder:
    return make_model(folder)


@pytest.fixture(scope="module")
def client(model: Decoder, folder: Path) -> Iterator[openai.OpenAI]:
    del model  # it has been saved
    with serving(folder) as client:
        yield client


@pytest.fixture
def tokenizer(model: Decoder) -> Tokenizer:
    assert model.tokenizer is not None
    return model.tokenizer


def complete(client: openai.OpenAI, prompt: Any = PROMPT, **fields: Any) -> Any:
    options = {"temperature": 0, "max_tokens": 6, **fields}
    return client.completions.create(model="small", prompt=prompt, **options)


def texts(answer: Any) -> list[str]:
    return [choice.text for choice in answer.choices]


def test_the_models_are_listed(client):
    assert [model.id for model in client.models.list()] == ["small"]
    assert client.models.retrieve("small").owned_by == "glassformer"
    with pytest.raises(openai.NotFoundError) as caught:
        client.models.retrieve("large")
    assert caught.value.code == "model_not_found"


def test_a_prompt_is_a_text_or_ids_or_a_list_of_either(client, tokenizer):
    ids, other = tokenizer.encode(PROMPT), tokenizer.encode("the dog")
    one = texts(complete(client))
    assert texts(complete(client, ids)) == one
    two = [*one, *texts(complete(client, "the dog"))]
    assert texts(complete(client, [PROMPT, "the dog"])) == two
    answer = complete(client, [ids, other])
    assert texts(answer) == two
    assert answer.usage.prompt_tokens == len(ids) + len(other)
    assert answer.usage.completion_tokens == 12
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + 12


def test_the_texts_of_a_seed_come_again_and_those_of_n_have_seeds_of_their_own(client):
    how = {"temperature": 1.0, "max_tokens": 12}
    three = texts(complete(client, seed=7, n=3, **how))
    assert texts(complete(client, seed=7, n=3, **how)) == three
    assert texts(complete(client, [PROMPT, PROMPT], seed=7, **how)) == [three[0]] * 2
    assert texts(complete(client, seed=8, **how)) == three[1:2]
    assert len(set(three)) == 3
    unseeded = {texts(complete(client, **how))[0] for _ in range(4)}
    assert len(unseeded) > 1


def test_log_probabilities_are_the_models_own_with_echo_and_without(client, model, tokenizer):
    ids = tokenizer.encode(PROMPT)
    answer = complete(client, logprobs=2, echo=True, max_tokens=1)
    logprobs = answer.choices[0].logprobs
    with torch.no_grad():
        logits = model(torch.tensor([ids]))[0].double().log_softmax(-1)
    chosen = int(logits[-1].argmax())
    assert logprobs.tokens == [tokenizer.token(i) for i in [*ids, chosen]]
    assert logprobs.token_logprobs[0] is None
    assert logprobs.top_logprobs[0] is None
    for index, token in enumerate([*ids[1:], chosen]):
        expected = logits[index, token].item()
        # float32, the same sums in another order
        assert logprobs.token_logprobs[index + 1] == pytest.approx(expected, abs=1e-5)
        best = logits[index].topk(2)
        likely = logprobs.top_logprobs[index + 1]
        assert {tokenizer.token(int(i)) for i in best.indices} <= set(likely)
        assert max(likely.values()) == pytest.approx(best.values[0].item(), abs=1e-5)
    assert answer.choices[0].text == PROMPT + tokenizer.decode([chosen])
    text = answer.choices[0].text
    spelled = [text[start : start + 1] for start in logprobs.text_offset]
    assert spelled == [tokenizer.token(i)[0] for i in [*ids, chosen]]
    without = complete(client, logprobs=2, max_tokens=1).choices[0].logprobs
    assert without.token_logprobs == logprobs.token_logprobs[-1:]
    assert without.text_offset == [0]
    assert len(complete(client, logprobs=0).choices[0].logprobs.top_logprobs[0]) == 1


def test_no_token_may_follow_and_the_prompt_is_scored_all_the_same(client, tokenizer):
    answer = complete(client, max_tokens=0, echo=True, logprobs=1)
    [choice] = answer.choices
    assert (choice.text, choice.finish_reason) == (PROMPT, "length")
    assert len(choice.logprobs.tokens) == len(tokenizer.encode(PROMPT))
    assert answer.usage.completion_tokens == 0
    assert texts(complete(client, max_tokens=0)) == [""]


def test_a_text_ends_before_a_stop_text_though_it_spans_tokens(client):
    [full] = texts(complete(client, max_tokens=30))
    stop = full[9:14]  # somewhere within, whichever tokens it is of
    end = full.find(stop)
    for stops in (stop, ["never there", stop]):
        for stream in (False, True):
            answer = complete(client, max_tokens=30, stop=stops, stream=stream)
            parts = list(answer) if stream else [answer]
            assert "".join(text for part in parts for text in texts(part)) == full[:end]
            assert parts[-1].choices[0].finish_reason == "stop"


def test_a_text_ends_at_the_end_token_and_with_the_context(client, model, tokenizer):
    answer = complete(client, max_tokens=9, logit_bias={str(tokenizer.eos_id): 100}, logprobs=1)
    [choice] = answer.choices
    assert (choice.text, choice.finish_reason) == ("", "stop")
    assert choice.logprobs.tokens == [tokenizer.eos]  # it was chosen, so it is told
    long = complete(client, max_tokens=500, logprobs=1).choices[0]
    assert long.finish_reason == "length"
    n_prompt = len(tokenizer.encode(PROMPT))
    assert len(long.logprobs.tokens) == model.config.n_ctx - n_prompt + 1


def test_a_bias_forbids_and_forces_tokens(client, tokenizer):
    first = complete(client, max_tokens=1, logprobs=0).choices[0].logprobs.tokens
    [token] = tokenizer.encode(first[0])
    other = complete(client, max_tokens=1, logit_bias={str(token): -100}).choices[0].text
    assert other != first[0]
    [dog] = tokenizer.encode("the")
    forced = complete(client, max_tokens=2, logit_bias={str(dog): 100}).choices[0].text
    assert forced == "thethe"


def test_settings_reach_the_choice(client):
    greedy = texts(complete(client))
    for how in ({"top_p": 1e-9}, {"extra_body": {"top_k": 1}}, {"extra_body": {"min_p": 1.0}}):
        assert texts(complete(client, **{"temperature": 1.0, "seed": 3, **how})) == greedy
    penalized = texts(complete(client, max_tokens=20, extra_body={"repetition_penalty": 50.0}))
    assert penalized != texts(complete(client, max_tokens=20))


def asked(number: int) -> dict[str, Any]:
    """One of many requests."""
    draw = random.Random(number)
    return {
        "prompt": " ".join(
            draw.choices(["the", "cat", "sat", "é", "12", "🙂"], k=draw.randint(1, 9))
        ),
        "max_tokens": draw.randint(1, 30),
        "temperature": draw.choice([0, 1.0]),
        "seed": number,
        "n": draw.choice([1, 2]),
        "logprobs": draw.choice([None, 2]),
        "echo": draw.random() < 0.3,
        "stop": draw.choice([None, ["a"], [" t", "é"]]),
    }


def joined(parts: list[Any]) -> list[Any]:
    """Of each choice its text, tokens, log-probabilities, offsets and end, from what came."""
    result: dict[int, list[Any]] = {}
    for part in parts:
        for choice in part.choices:
            text, logprobs, ends = result.setdefault(choice.index, ["", [], []])
            result[choice.index][0] = text + choice.text
            if choice.logprobs:
                of_tokens = (choice.logprobs.tokens, choice.logprobs.token_logprobs)
                rest = (choice.logprobs.top_logprobs, choice.logprobs.text_offset)
                logprobs += zip(*of_tokens, *rest, strict=True)
            ends += [choice.finish_reason] if choice.finish_reason else []
    return [result[index] for index in sorted(result)]


def test_32_that_come_at_random_streamed_or_not_get_what_each_gets_alone(client):
    alone = [joined([complete(client, **asked(number))]) for number in range(16)]
    got: dict[int, list[Any]] = {}

    def ask(number: int) -> None:
        threading.Event().wait(random.Random(number).random() / 4)
        stream = number >= 16
        answer = complete(client, **asked(number % 16), stream=stream)
        got[number] = joined(list(answer) if stream else [answer])

    clients = [threading.Thread(target=ask, args=[number]) for number in range(32)]
    for one in clients:
        one.start()
    for one in clients:
        one.join()
    for number in range(32):
        assert got[number] == alone[number % 16], asked(number % 16)


def test_an_answer_past_the_framework_is_the_one_that_comes_through_it(client):
    for number in range(6):
        direct = complete(client, **asked(number))
        through = complete(client, **asked(number), extra_headers={"x-glass": "false"})
        assert direct.choices == through.choices


def test_a_stream_tells_its_usage_if_asked(client):
    parts = list(complete(client, stream=True, stream_options={"include_usage": True}))
    assert parts[-1].choices == []
    assert parts[-1].usage == complete(client).usage
    assert all(part.usage is None for part in parts[:-1])
    assert all(part.usage is None for part in complete(client, stream=True))


@pytest.mark.parametrize("character", ["\x85", "\u2028", "\u2029", "\x0b", "\x1e", "é", "🙂"])
def test_an_event_is_one_line_for_every_client_whatever_character_it_has(character):
    piece = ChatDelta(role="assistant", content=f"a{character}b")
    line, end = event(piece).splitlines()  # as httpx cuts them: at every character that may
    assert json.loads(line.removeprefix("data: "))["content"] == f"a{character}b"
    assert end == ""


REFUSED: dict[str, tuple[str, dict[str, Any]]] = {
    "a field that nobody knows": ("zebra", {"extra_body": {"zebra": 1}}),
    "a suffix": ("suffix", {"suffix": "."}),
    "best_of": ("best_of", {"best_of": 2}),
    "a penalty": ("presence_penalty", {"presence_penalty": 1.0}),
    "another penalty": ("frequency_penalty", {"frequency_penalty": -1.0}),
    "too many": ("n", {"n": 1000}),
    "too many together": ("n", {"prompt": ["the"] * 100, "n": 2}),
    "too many likeliest": ("logprobs", {"logprobs": 21}),
    "too many stop texts": ("stop", {"stop": ["a"] * 17}),
    "an empty stop text": ("stop", {"stop": ""}),
    "an endless text": ("max_tokens", {"max_tokens": 10**9}),
    "half a token": ("max_tokens", {"max_tokens": 1.5}),
    "a temperature to divide by": ("temperature", {"temperature": 1e-300}),
    "the usage of no stream": ("stream_options", {"stream_options": {"include_usage": True}}),
    "a cold temperature": ("temperature", {"temperature": -1}),
    "no share": ("top_p", {"top_p": 0}),
    "a token beyond all": ("logit_bias", {"logit_bias": {"999999": 1}}),
    "a word for a token": ("logit_bias", {"logit_bias": {"the": 1}}),
    "a bias beyond all": ("logit_bias", {"logit_bias": {"1": 1000}}),
    "no prompt": ("prompt", {"prompt": []}),
    "a number": ("prompt", {"prompt": 5}),
    "a glass that would not show it": (
        "glass",
        {"logit_bias": {"1": 1}, "extra_body": {"glass": True}},
    ),
}


@pytest.mark.parametrize(("field", "fields"), REFUSED.values(), ids=REFUSED)
def test_what_is_not_done_or_out_of_bounds_is_a_400_that_names_the_field(client, field, fields):
    with pytest.raises(openai.BadRequestError) as caught:
        complete(client, **fields)
    error = caught.value
    assert error.type == "invalid_request_error"
    assert error.param == field
    assert field in error.message
    assert isinstance(error.body, dict)
    assert error.body.keys() == {"message", "type", "param", "code"}


@pytest.mark.parametrize("path", ["v1/completions", "api/traces"])
def test_a_body_that_is_no_json_is_a_400_that_says_so_and_where(client, path):
    headers = {"content-type": "application/json"}
    url = str(client.base_url.join(f"/{path}"))
    answer = httpx.post(url, content='{"prompt": 5', headers=headers)
    assert answer.status_code == 400
    assert "body: it is no JSON: Expecting ',' delimiter at character 12" in answer.text
    tab = httpx.post(url, content='{"prompt": "a\tb"}', headers=headers)
    assert "Invalid control character at character 13;" in tab.text


UNREADABLE = {
    "Latin-1": (b'{"prompt": "\xe9"}', "can't decode byte 0xe9"),
    "an endless number": (b'{"prompt": "a", "seed": ' + b"1" * 5000 + b"}", "4300 digits"),
    "a tower": (b"[" * 100_000, "nested too deeply"),
}


@pytest.mark.parametrize(("content", "message"), UNREADABLE.values(), ids=UNREADABLE)
@pytest.mark.parametrize("path", ["v1/completions", "api/traces"])
def test_a_body_that_cannot_be_read_is_a_400_that_says_why(client, path, content, message):
    url = str(client.base_url.join(f"/{path}"))
    answer = httpx.post(url, content=content, headers={"content-type": "application/json"})
    assert answer.status_code == 400
    assert message in answer.json()["error"]["message"]


@pytest.mark.parametrize(
    ("method", "path", "status", "message"),
    [
        ("POST", "/v1/embeddings", 404, "there is no POST /v1/embeddings here; /openapi.json and"),
        ("GET", "/v1/completions", 405, "there is no GET /v1/completions here; it takes POST"),
        ("GET", "/api/nothing", 404, "there is no GET /api/nothing here"),
        ("POST", "/v1/completions/", 404, "there is no POST /v1/completions/ here; ask /v1/comp"),
        ("POST", "/v1//chat/completions", 404, "there is no POST /v1//chat/completions here; ask"),
        ("POST", "/completions", 404, "there is no POST /completions here; ask /v1/completions"),
        ("GET", "/v1/health/", 404, "there is no GET /v1/health/ here; ask /health"),
        ("GET", "/v1/models/", 404, "model: no model is called '' here; there are small"),
        ("POST", "/v1/completions", 400, "body: it is missing; give it"),
        ("POST", "/api/traces", 400, "body: it is missing; give it"),
    ],
)
def test_what_there_is_not_is_refused_in_words(client, method, path, status, message):
    answer = httpx.request(method, str(client.base_url.join(path)))
    assert answer.status_code == status
    assert answer.json()["error"]["message"].startswith(message)


def test_a_compressed_body_is_refused_in_words(client):
    headers = {"content-type": "application/json", "content-encoding": "gzip"}
    url = str(client.base_url.join("/v1/completions"))
    answer = httpx.post(url, content=gzip.compress(b'{"prompt": "a"}'), headers=headers)
    assert answer.status_code == 415
    assert "compressed" in answer.json()["error"]["message"]


def test_of_a_field_of_several_kinds_the_fault_is_that_of_the_kind_it_is(client):
    for fields, message in (
        ({"stop": ["a"] * 17}, "stop: List should have at most 16 items"),
        ({"prompt": [-1]}, r"prompt\.0: Input should be greater than or equal to 0"),
        ({"prompt": [5, "the"]}, "prompt: give a text, a list of token ids"),
        ({"prompt": []}, "prompt: give a text, a list of token ids"),
        ({"stop": ["a", ""]}, "stop: give a text, or a list of texts"),
    ):
        with pytest.raises(openai.BadRequestError, match=message):
            complete(client, **fields)


def test_what_asks_for_nothing_is_no_error(client):
    nothing = {"suffix": None, "best_of": 1, "presence_penalty": 0, "frequency_penalty": 0.0}
    assert texts(complete(client, user="somebody", stop=None, **nothing)) == texts(complete(client))


def test_a_prompt_that_the_model_cannot_read_is_a_400_in_words(client, tokenizer):
    with pytest.raises(openai.BadRequestError) as caught:
        complete(client, [5] * 65)
    assert caught.value.code == "context_length_exceeded"
    assert complete(client, [5] * 64, max_tokens=3).choices[0].finish_reason == "length"
    assert texts(complete(client, "")) == texts(complete(client, start_ids(tokenizer, "")))
    for prompt in ([tokenizer.vocab_size + 5], [5] * 65, [-1], [5, "the"], [[]], [True]):
        with pytest.raises(openai.BadRequestError, match=r"400 - prompt(\.\d+)*: ") as caught:
            complete(client, prompt)
        assert caught.value.param == "prompt"


def test_a_model_that_was_replaced_in_its_folder_answers_within_a_second(tmp_path):
    make_model(tmp_path / "small")
    with serving(tmp_path / "small") as client:
        before = texts(complete(client))
        make_model(tmp_path / "small", n_layers=1)
        assert until(lambda: texts(complete(client)) != before)


def test_a_failure_is_a_500_and_the_next_text_comes(client, monkeypatch):
    before = texts(complete(client))

    def fail(*_: object) -> None:
        raise RuntimeError("broken")

    with monkeypatch.context() as patch:
        patch.setattr(Batch, "_rows", fail)
        with pytest.raises(openai.InternalServerError):
            complete(client)
        with pytest.raises(openai.APIError):
            list(complete(client, stream=True))
    assert texts(complete(client)) == before
