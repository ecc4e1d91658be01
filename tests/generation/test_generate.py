"""Generation: the same text with and without a cache, alone and in a batch, and where it ends."""

import dataclasses
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import GPT2Config, GPT2LMHeadModel

from glassformer.errors import GlassformerError
from glassformer.generation.generate import generate, generate_batch
from glassformer.generation.generation import Generation
from glassformer.generation.sampling import Sampling
from glassformer.interop import load
from glassformer.model import Config, Decoder
from glassformer.watch.choice import record_choice
from tests.generation.models import TINY, speaking, various

SETTINGS = [
    {"temperature": 0},
    {},
    {"temperature": 0.7, "top_k": 5, "repetition_penalty": 1.3},
    {"temperature": 1.5, "top_p": 0.8, "min_p": 0.02},
]


def text_of(model: Decoder, prompt: list[int], **how) -> list[int]:
    return list(generate(model, prompt, **how))


@pytest.mark.parametrize("how", SETTINGS)
@pytest.mark.parametrize("seed", range(8))
def test_in_float64_a_cache_never_changes_the_text(seed, how):
    model = various(seed)
    prompt = torch.randint(model.config.vocab_size, (1 + seed % 5,)).tolist()
    cached = text_of(model, prompt, seed=seed, **how)
    assert cached == text_of(model, prompt, seed=seed, use_cache=False, **how)
    assert len(cached) == model.config.n_ctx + 1 - len(prompt)


@pytest.mark.parametrize("how", SETTINGS)
@pytest.mark.parametrize("seed", range(8))
def test_in_float32_it_changes_a_token_only_where_two_candidates_are_within_1e_4(seed, how):
    model = various(seed).float()
    prompt = torch.randint(model.config.vocab_size, (2,)).tolist()
    cached = text_of(model, prompt, seed=seed, **how)
    uncached = text_of(model, prompt, seed=seed, use_cache=False, **how)
    differ = next(
        (i for i, (a, b) in enumerate(zip(cached, uncached, strict=True)) if a != b), None
    )
    if differ is None:
        return
    trace = model.watch(torch.tensor([prompt + uncached[:differ]]))
    record_choice(trace, Sampling(**how), seed=seed, index=differ)
    scores = trace["choose/next_logits"]
    close = abs(float(scores[cached[differ]] - scores[uncached[differ]])) < 1e-4
    if "choose/u" in trace.nodes:
        line, u = trace["choose/cumulative"], trace["choose/u"]
        close = close or float((line - u).abs().min()) < 1e-4
    assert close


@settings(max_examples=15)
@given(
    st.integers(0, 1000),
    st.lists(st.lists(st.integers(0, 4), min_size=1, max_size=12), min_size=1, max_size=4),
    st.sampled_from(SETTINGS),
    st.booleans(),
)
def test_a_batch_of_any_lengths_gives_each_text_as_if_it_were_alone(seed, prompts, how, cached):
    model = various(seed % 12)
    end = {"max_new_tokens": 9, "stop_ids": [1], "use_cache": cached}
    for i, text in enumerate(generate_batch(model, prompts, seed=seed, **end, **how)):
        alone = generate(model, prompts[i], seed=seed + i, **end, **how)
        assert list(alone) == text.new
        assert (alone.finish_reason, alone.stop_id) == (text.finish_reason, text.stop_id)


@pytest.mark.parametrize("prompt", [[1], [5, 4, 3, 2, 9, 8]])
def test_greedy_text_is_that_of_transformers(prompt, tmp_path):
    torch.manual_seed(3)
    config = GPT2Config(
        vocab_size=61,
        n_positions=32,
        n_embd=20,
        n_layer=3,
        n_head=2,
        bos_token_id=0,
        eos_token_id=0,
        tie_word_embeddings=False,
        initializer_range=0.5,  # so that the most probable token changes from place to place
    )
    theirs: Any = GPT2LMHeadModel(config).eval().double()
    theirs.save_pretrained(tmp_path)
    ours, _ = load(tmp_path)
    expected = theirs.generate(
        torch.tensor([prompt]),
        attention_mask=torch.ones(1, len(prompt), dtype=torch.long),
        max_new_tokens=20,
        do_sample=False,
        pad_token_id=0,
        eos_token_id=None,
    )
    text = generate(ours, prompt, max_new_tokens=20, temperature=0)
    assert prompt + list(text) == expected[0].tolist()
    assert len(set(text.new)) > 3


def test_the_same_seed_gives_the_same_text_and_a_drawn_one_is_told():
    model = speaking(TINY, gain=3)
    first = generate(model, [1, 2])
    assert list(first) == text_of(model, [1, 2], seed=first.seed)
    assert len({tuple(text_of(model, [1, 2], seed=seed)) for seed in range(5)}) == 5


def test_a_longer_limit_never_changes_what_came_before():
    model = speaking(TINY, gain=3)
    assert text_of(model, [1], seed=4)[:6] == text_of(model, [1], seed=4, max_new_tokens=6)


def test_each_token_is_the_one_that_its_recorded_choice_explains():
    model = speaking(TINY, gain=3)
    how = Sampling(temperature=0.8, top_p=0.9, repetition_penalty=1.2)
    text = text_of(model, [1, 2, 3], seed=11, **dataclasses.asdict(how))[:-1]
    for index, token in enumerate(text):
        trace = model.watch(torch.tensor([[1, 2, 3, *text[:index]]]))
        assert record_choice(trace, how, seed=11, index=index) == token


def ended(**how) -> Generation:
    text = generate(speaking(TINY, gain=3), [1, 2, 3], seed=0, **how)
    list(text)
    return text


def test_a_text_says_why_it_ended():
    everything = ended()
    assert (everything.finish_reason, len(everything.ids)) == ("context", TINY.n_ctx + 1)
    assert ended(max_new_tokens=4).finish_reason == "length"
    assert ended(max_new_tokens=0).finish_reason == "length"
    third = everything.new[2]
    stopped = ended(stop_ids=[third])
    assert stopped.new == everything.new[: everything.new.index(third)]
    assert (stopped.finish_reason, stopped.stop_id) == ("stop", third)


def test_a_full_prompt_still_gets_the_token_after_it():
    model = speaking(TINY)
    text = generate(model, list(range(TINY.n_ctx)), temperature=0)
    assert len(list(text)) == 1
    assert text.finish_reason == "context"


def test_until_it_is_finished_a_text_has_no_reason():
    text = generate(speaking(TINY), [1], temperature=0, max_new_tokens=2)
    assert text.finish_reason is None
    next(text)
    assert text.finish_reason is None
    next(text)
    assert text.finish_reason == "length"
    with pytest.raises(StopIteration):
        next(text)


def test_a_model_in_training_is_asked_without_dropout_and_left_in_training():
    model = speaking(TINY.replace(dropout=0.5), gain=3)
    calm = text_of(model, [1, 2], seed=1)
    model.train()
    assert text_of(model, [1, 2], seed=1) == calm
    assert model.training
    assert all(block.training for block in model.blocks)


def test_generating_records_no_gradients_and_leaves_the_global_random_state_alone():
    model = speaking(TINY)
    state = torch.get_rng_state()
    generate_batch(model, [[1], [2, 3]])
    assert torch.equal(torch.get_rng_state(), state)
    assert all(parameter.grad is None for parameter in model.parameters())
    assert not torch.is_inference_mode_enabled()


@pytest.mark.parametrize(
    ("prompt", "said"),
    [
        ([], "the prompt has no tokens"),
        ([1] * 20, "has 20 tokens and the model reads at most n_ctx=16; shorten it by 4"),
        ([1, 40], "token id 40 is outside the vocabulary of 40"),
        ([-1], "token id -1 is outside the vocabulary of 40"),
    ],
)
def test_a_prompt_that_cannot_be_continued_is_refused_before_anything_is_computed(prompt, said):
    with pytest.raises(GlassformerError, match=said):
        generate(speaking(TINY), prompt)


def test_a_negative_number_of_tokens_is_refused():
    with pytest.raises(GlassformerError, match="max_new_tokens=-1 is negative"):
        generate(speaking(TINY), [1], max_new_tokens=-1)


def test_a_vocabulary_of_one_token_gives_it_forever():
    model = speaking(Config(vocab_size=1, n_ctx=5, d_model=4, n_layers=1, n_heads=1))
    assert text_of(model, [0], top_k=50, seed=0) == [0] * 5
