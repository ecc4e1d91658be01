"""A text gets the tokens that it gets alone, whatever comes and goes beside it."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
import torch

from glassformer.generation import room
from glassformer.generation.batch import Batch, Chosen, Text
from glassformer.generation.c_step.library import NotCompiledError
from glassformer.generation.c_step.rows import CompiledRows
from glassformer.generation.generate import generate
from glassformer.generation.plain_rows import PlainRows
from glassformer.generation.sampling import Sampling
from glassformer.model import Decoder
from tests.generation.models import TINY, speaking, various

LLAMA = {
    "position": "rotary",
    "norm": "rms",
    "norm_bias": False,
    "gated": True,
    "n_kv_heads": 1,
    "activation": "silu",
    "attn_bias": False,
    "mlp_bias": False,
}


@dataclass
class Reader:
    """Keeps what it is told."""

    chosen: list[Chosen] = field(default_factory=list)
    prompt: list[Chosen] = field(default_factory=list)
    reason: str | None = None
    error: Exception | None = None

    def scored(self, prompt: list[Chosen]) -> None:
        self.prompt = prompt

    def push(self, *chosen: Chosen) -> bool:
        self.chosen += chosen
        return False

    def finish(self, reason: str | None, error: Exception | None = None) -> None:
        self.reason, self.error = reason, error

    @property
    def tokens(self) -> list[int]:
        return [one.token for one in self.chosen]


def text(prompt: list[int], sink: Reader, max_new: int = 8, **how: Any) -> Text:
    return Text(prompt, sink, max_new, **how)


def asked(model: Decoder, number: int) -> Text:
    """One of many requests, each unlike the others."""
    draw = random.Random(number)
    vocabulary, n_ctx = model.config.vocab_size, model.config.n_ctx
    prompt = [draw.randrange(vocabulary) for _ in range(draw.randint(1, n_ctx - 2))]
    sampling = Sampling(
        temperature=draw.choice([0, 0.7, 1.0]),
        top_k=draw.choice([None, 5]),
        top_p=draw.choice([None, 0.9]),
        repetition_penalty=draw.choice([1.0, 1.3]),
    )
    bias = {draw.randrange(vocabulary): draw.uniform(-3, 3)} if draw.random() < 0.3 else {}
    logprobs = draw.choice([None, 0, 3])
    score = logprobs is not None and draw.random() < 0.5
    end = frozenset(draw.sample(range(vocabulary), 1))
    most = draw.choice([0, 1, 4, n_ctx])
    return Text(prompt, Reader(), most, sampling, number, end, logprobs, score, bias)


def finish(batch: Batch) -> None:
    while batch.texts:
        batch.turn()


def together(model: Decoder, texts: list[Text], seed: int) -> Iterator[Batch]:
    """Have the texts come at random moments, and some of their neighbors leave before the end."""
    draw, batch, waiting = random.Random(seed), Batch(model), texts[:]
    while waiting or batch.texts:
        while waiting and batch.has_room and draw.random() < 0.6:
            batch.add(waiting.pop(0))
        if batch.has_room and draw.random() < 0.3:
            batch.add(asked(model, draw.randrange(10**6)))
            batch.texts[-1].cancelled = draw.random() < 0.5
        yield batch
        batch.turn()


MODELS = {
    "float32": lambda: speaking(TINY, gain=4.0).float(),
    "float64": lambda: speaking(TINY, gain=4.0).double(),
    "like Llama": lambda: speaking(TINY.replace(**LLAMA), gain=4.0).float(),
    "any": lambda: various(3).float(),
    "odd widths": lambda: speaking(TINY.replace(d_model=15, n_heads=3, d_mlp=7)).float(),
}


@pytest.mark.parametrize(
    ("name", "compiled"),
    [
        *(pytest.param(name, True, id=f"{name}-compiled") for name in MODELS),
        pytest.param("any", False, id="any-plain"),
        *(
            pytest.param(name, False, id=f"{name}-plain", marks=pytest.mark.heavy)
            for name in MODELS
            if name != "any"
        ),
    ],
)
def test_among_32_that_come_at_random_each_text_is_what_it_is_alone(name, compiled, monkeypatch):
    if not compiled:
        monkeypatch.setattr(CompiledRows, "__init__", _no_compiler)
    model = MODELS[name]()
    alone, batch = [asked(model, number) for number in range(32)], Batch(model)
    assert isinstance(batch._reader, CompiledRows if compiled else PlainRows)
    for one in alone:
        batch.add(one)
        finish(batch)
    many = [asked(model, number) for number in range(32)]
    most = max(len(batch.texts) for batch in together(model, many, 0))
    assert most > 8
    # tokens, log-probabilities to the last bit, reasons
    assert [one.sink for one in many] == [one.sink for one in alone]


def _no_compiler(*_: object) -> None:
    raise NotCompiledError("there is none")


def test_a_batch_writes_what_generate_writes_in_float64():
    model = speaking(TINY, gain=4.0).double()
    batch = Batch(model)
    for seed in range(6):
        sink = Reader()
        batch.add(text([1, 2, 3], sink, 99, seed=seed))
        finish(batch)
        expected = generate(model, [1, 2, 3], seed=seed)
        assert sink.tokens == list(expected)
        assert sink.reason == "length"


def test_what_a_slot_holds_of_an_earlier_text_is_not_read_again_and_changes_nothing(monkeypatch):
    model, read = speaking(TINY, gain=4.0).float(), []
    of_rows = CompiledRows.read
    monkeypatch.setattr(
        CompiledRows,
        "read",
        lambda self, slots, *rest: read.append(len(slots)) or of_rows(self, slots, *rest),
    )
    batch, first, again = Batch(model), Reader(), Reader()
    for sink in (first, again):
        batch.add(text([1, 2, 3, 4, 5], sink, 3))
        finish(batch)
    assert first == again
    assert read == [5, 1, 1, 1, 1, 1]  # of the second prompt the last token alone


def test_log_probabilities_are_those_of_the_model_in_float64():
    model = speaking(TINY, gain=4.0).float()
    sink, batch = Reader(), Batch(model)
    batch.add(text([1, 2, 3, 4], sink, 1, sampling=Sampling(temperature=0), logprobs=2, score=True))
    finish(batch)
    expected = model.double()(torch.tensor([[1, 2, 3, 4]]))[0].log_softmax(-1)
    tokens = [*sink.prompt, *sink.chosen]
    assert [one.token for one in tokens[:4]] == [1, 2, 3, 4]
    assert tokens[0].logprob is None
    for index, one in enumerate(tokens[1:]):
        # float32 products of a model this small are off by some units in the seventh place
        assert one.logprob == pytest.approx(expected[index, one.token].item(), abs=1e-5)
        best = expected[index].topk(2)
        assert [token for token, _ in one.likeliest] == best.indices.tolist()
    assert sink.chosen[0].token == int(expected[3].argmax())


def test_a_text_that_is_cancelled_frees_its_slot_before_its_next_token():
    model, sink = speaking(TINY, gain=4.0).float(), Reader()
    batch = Batch(model, most_slots=1)
    first = text([1], sink, 9)
    batch.add(first)
    batch.turn()
    assert not batch.has_room
    first.cancelled = True
    batch.turn()
    assert batch.has_room
    assert len(sink.chosen) == 1


def test_scores_that_are_no_numbers_end_their_text_and_no_other():
    model = speaking(TINY.replace(tied=False), gain=4.0).float()
    with torch.no_grad():
        model.embed.W_E[7] = float("nan")
    bad, good, batch = Reader(), Reader(), Batch(model)
    batch.add(text([7], bad, 3))
    batch.add(text([1], good, 3))
    finish(batch)
    assert "no numbers" in str(bad.error)
    assert bad.chosen == []
    assert (good.error, len(good.chosen)) == (None, 3)


def test_a_context_that_memory_does_not_hold_is_cut(monkeypatch):
    monkeypatch.setattr(room, "CACHE_BYTES", 4 * 2 * TINY.n_layers * TINY.d_model * 4 * 5)
    assert room.room_for(TINY, 4) == (4, 5)
