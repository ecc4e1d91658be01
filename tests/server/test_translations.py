"""Two towers behind /v1/completions: a prompt is a source, and the text its translation."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import openai
import pytest
import torch

import glassformer as gf
from glassformer.generation.defaults import end_ids
from glassformer.generation.generate import generate
from glassformer.model import Decoder, EncoderDecoder, load_preset
from glassformer.text.tokenizer import Tokenizer
from glassformer.training.translation import TO_TRANSLATE, towers_of, translation_tokenizer
from tests.command_line import columns as columns
from tests.command_line import glassformer as glassformer
from tests.server.clients import make_model, serving
from tests.server.served import client as in_process
from tests.server.served import open_trace

SIZES = {"d_model": 32, "n_layers": 1, "n_heads": 2}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("models") / "small"


@pytest.fixture(scope="module")
def model(folder: Path) -> EncoderDecoder:
    """Towers of random weights, as the folder has them."""
    tokenizer = translation_tokenizer("french")
    config = towers_of(load_preset("translation")["model"], SIZES, tokenizer)
    model = EncoderDecoder(config, torch.Generator().manual_seed(3))
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.mul_(6)  # or every source has the same translation
    gf.save(model, tokenizer, folder)
    loaded = gf.load(folder)[0]
    assert isinstance(loaded, EncoderDecoder)
    return loaded


@pytest.fixture(scope="module")
def client(model: EncoderDecoder, folder: Path) -> Iterator[openai.OpenAI]:
    del model  # it has been saved
    with serving(folder) as client:
        yield client


def complete(client: openai.OpenAI, prompt: Any, **fields: Any) -> Any:
    return client.completions.create(model="small", prompt=prompt, **fields)


def tokenizer_of(model: EncoderDecoder | Decoder) -> Tokenizer:
    assert model.tokenizer is not None
    return model.tokenizer


def translation(model: EncoderDecoder, text: str, **how: Any) -> str:
    tokenizer = tokenizer_of(model)
    ends = end_ids(model, tokenizer)
    source = [tokenizer.encode_source(text)]
    return tokenizer.decode([*generate(model, source=source, stop_ids=ends, **how)])


def test_a_prompt_is_translated_as_generate_translates_it(client, model):
    tokenizer = tokenizer_of(model)
    expected = [translation(model, text, temperature=0) for text in TO_TRANSLATE]
    assert len(set(expected)) > 1
    answer = complete(client, [*TO_TRANSLATE])  # the likeliest word each time, to its end
    assert [choice.text for choice in answer.choices] == expected
    sources = [tokenizer.encode_source(text) for text in TO_TRANSLATE]
    assert answer.usage.prompt_tokens == sum(map(len, sources))
    assert [choice.text for choice in complete(client, sources).choices] == expected
    drawn = {"temperature": 1.0, "seed": 5, "max_tokens": 7}
    drawn_here = translation(model, TO_TRANSLATE[0], temperature=1.0, seed=6, max_new_tokens=7)
    assert complete(client, TO_TRANSLATE[0], n=2, **drawn).choices[1].text == drawn_here
    assert client.models.retrieve("small").max_model_len == model.config.n_ctx


def test_its_log_probabilities_are_the_models_own(client, model):
    tokenizer, text = tokenizer_of(model), TO_TRANSLATE[0]
    [choice] = complete(client, text, logprobs=2, max_tokens=4).choices
    ids = [tokenizer.id(token) for token in choice.logprobs.tokens]
    with torch.no_grad():
        read = torch.tensor([[model.config.start_id, *ids[:-1]]])
        logits = model(read, source=[tokenizer.encode_source(text)])[0].double().log_softmax(-1)
    for pos, (token, said) in enumerate(zip(ids, choice.logprobs.token_logprobs, strict=True)):
        # float32, the same sums in another order
        assert said == pytest.approx(logits[pos, token].item(), abs=1e-5)
    starts = choice.logprobs.text_offset
    assert starts[0] == 0
    assert choice.text[starts[1] :].strip().startswith(choice.logprobs.tokens[1].strip())


def test_among_others_and_streamed_a_translation_is_what_it_is_alone(client):
    def ask(number: int) -> str:
        how: dict[str, Any] = {"temperature": 1.0, "seed": number % 4, "max_tokens": 12}
        prompt = TO_TRANSLATE[number % 4]
        if number < 4:
            return complete(client, prompt, **how).choices[0].text
        parts = complete(client, prompt, stream=True, **how)
        return "".join(part.choices[0].text for part in parts)

    alone = [ask(number) for number in range(4)]
    with ThreadPoolExecutor(16) as clients:
        assert [*clients.map(ask, range(16))] == alone * 4


def test_every_word_of_a_translation_has_a_link_that_opens_its_choice(client, folder, glassformer):
    server, text = in_process(str(folder)), TO_TRANSLATE[0]
    how = {"temperature": 1.0, "seed": 3, "top_p": 0.9}
    for options in (how, {"temperature": 0}):
        [choice] = complete(
            client, text, max_tokens=4, logprobs=0, extra_body={"glass": True}, **options
        ).choices
        assert len(choice.glass) == 4
        for one in choice.glass:
            fields = parse_qs(urlsplit(one["link"]).fragment.partition("?")[2])
            drawn = json.loads(fields["drawn"][0])
            assert (fields["prompt"], drawn["start"], drawn["of"]) == ([text], text, "written")
            about = open_trace(
                server,
                "small",
                prompt=text,
                written=[token for token, _ in drawn["tokens"]],
                sampling=json.loads(fields["draw"][0]),
            )
            assert about["chosen"]["id"] == one["token"]
        if options == how:
            assert {one["address"] for one in choice.glass} == {None}
    said = glassformer("explain", str(folder), text, choice.glass[3]["address"], "--json")
    probability = json.loads(said.stdout)["value"]
    # float32, the same sums in another order
    assert math.log(probability) == pytest.approx(choice.logprobs.token_logprobs[3], abs=1e-5)


def test_what_a_translation_does_not_have_is_a_400_that_names_the_field(client, model):
    pad, longest = model.config.pad_id, model.config.encoder.n_ctx
    for field, prompt, fields in (
        ("echo", "the cat", {"echo": True}),
        ("prompt", "", {}),
        ("prompt", [pad, pad], {}),
    ):
        with pytest.raises(openai.BadRequestError, match=field) as caught:
            complete(client, prompt, **fields)
        assert caught.value.param == field
    with pytest.raises(openai.BadRequestError) as caught:
        complete(client, [5] * (longest + 1))
    assert caught.value.code == "context_length_exceeded"
    with pytest.raises(openai.BadRequestError, match="vocabulary"):
        complete(client, [model.config.vocab_size])
    with pytest.raises(openai.BadRequestError, match="use /v1/completions"):
        client.chat.completions.create(model="small", messages=[{"role": "user", "content": "hi"}])
    assert complete(client, "the cat", max_tokens=1).choices


def test_what_a_folder_forbids_and_forces_holds_for_clients_too(tmp_path):
    model = make_model(tmp_path / "small")
    free = [*generate(model, [5, 6, 7], temperature=0, max_new_tokens=6)]
    settings = {
        "suppress_tokens": [free[0]],
        "bad_words_ids": [[free[1]]],
        "forced_eos_token_id": 9,
    }
    (tmp_path / "small" / "generation_config.json").write_text(json.dumps(settings))
    bound = [*generate(gf.load(tmp_path / "small")[0], [5, 6, 7], temperature=0, max_new_tokens=6)]
    assert bound[-1] == 9
    with serving(tmp_path / "small") as client:
        answer = complete(client, [5, 6, 7], temperature=0, max_tokens=6, logprobs=0)
        names = [tokenizer_of(model).token(token) for token in bound]
        assert answer.choices[0].logprobs.tokens == names
        with pytest.raises(openai.BadRequestError, match="forces or forbids"):
            complete(client, [5, 6, 7], extra_body={"glass": True})
