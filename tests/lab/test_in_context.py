"""Induction scores of patterns made by hand; texts read as they are; counts that add up."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from glassformer.errors import GlassformerError
from glassformer.lab.in_context_learning import (
    Reading,
    accuracy_by_examples,
    induction_score,
    loss_by_position,
    measure_repeats,
    read_texts,
    repeated_tokens,
)
from glassformer.model import Config
from glassformer.text.storyland import Answer, Document
from glassformer.text.tokenizer import Tokenizer
from tests.model.variety import config_of, random_model


def perfect(ids: torch.Tensor) -> torch.Tensor:
    """Attention [batch, head, query, key] of an induction head, and of one that looks at itself."""
    batch, n = ids.shape
    pattern = torch.zeros(batch, 2, n, n)
    for row, tokens in enumerate(ids.tolist()):
        for query, token in enumerate(tokens):
            earlier = [pos for pos in range(query) if tokens[pos] == token]
            pattern[row, 0, query, earlier[-1] + 1 if earlier else 0] = 1
            pattern[row, 1, query, query] = 1
    return pattern


@given(st.integers(2, 9), st.integers(0, 99))
def test_a_head_that_completes_repeats_scores_1_and_one_that_looks_at_itself_0(n, seed):
    ids = repeated_tokens(range(12), n, sequences=3, seed=seed)
    assert induction_score(perfect(ids), ids).tolist() == [1, 0]


def test_the_last_earlier_occurrence_counts_and_a_token_just_repeated_does_not():
    ids = torch.tensor([[5, 6, 5, 7, 5, 5]])
    pattern = torch.zeros(1, 1, 6, 6)
    pattern[0, 0, 2, 1] = 0.5  # 5 at 2: before at 0, then came place 1
    pattern[0, 0, 4, 3] = 0.25  # 5 at 4: last before at 2, then came place 3
    pattern[0, 0, 5, 5] = 1.0  # 5 at 5: what came after the last one is the query itself
    assert induction_score(pattern, ids).tolist() == [0.375]


def test_looking_at_every_token_alike_scores_the_stated_number():
    config = config_of("gpt2").replace(n_ctx=12)
    model = random_model(config, 0)
    with torch.no_grad():
        for layer in range(config.n_layers):
            model.weights()[f"blocks.{layer}.attn.W_Q"].zero_()
            model.weights()[f"blocks.{layer}.attn.b_Q"].zero_()
    repeats = measure_repeats(model, range(config.vocab_size))
    # all scores are equal, so every weight is 1 / (query + 1)
    expected = torch.full((2, 3), repeats.uniform, dtype=torch.float64)
    torch.testing.assert_close(repeats.induction, expected, rtol=1e-12, atol=0)


def test_without_a_repeat_there_is_nothing_to_score():
    with pytest.raises(GlassformerError, match="no token comes twice"):
        induction_score(torch.zeros(1, 1, 3, 3), torch.tensor([[1, 2, 3]]))


def test_repeated_tokens_are_different_and_come_again_alike():
    ids = repeated_tokens([3, 5, 7, 9], n=3, sequences=5)
    assert torch.equal(ids[:, :3], ids[:, 3:])
    assert all(len({*row}) == 3 and {*row} <= {3, 5, 7, 9} for row in ids.tolist())
    assert torch.equal(ids, repeated_tokens([3, 5, 7, 9], n=3, sequences=5))


def test_the_surprise_by_position_is_that_of_the_plain_model():
    config = config_of("gpt2")
    model = random_model(config, 0)
    repeats = measure_repeats(model, range(config.vocab_size))
    assert repeats.n == 3
    ids = repeated_tokens(range(config.vocab_size), 3)
    log_p = torch.log_softmax(model(ids[:, :-1]), -1)
    expected = -log_p.gather(-1, ids[:, 1:, None])[..., 0].mean(0).detach()
    # float64: logsumexp in another order
    torch.testing.assert_close(repeats.loss, expected, rtol=1e-12, atol=1e-12)
    assert repeats.first == pytest.approx(expected[:2].mean().item(), rel=1e-12)
    assert repeats.second == pytest.approx(expected[3:].mean().item(), rel=1e-12)


def test_a_model_without_room_for_a_repeat_is_refused():
    with pytest.raises(GlassformerError, match="needs n_ctx of 4"):
        measure_repeats(random_model(config_of("smallest"), 0), [0])


STORY = "the cat is red. the dog is blue. the cat is red."


@pytest.fixture(scope="module")
def reader():
    tokenizer = Tokenizer.train("bpe", [STORY] * 5, vocab_size=275)
    config = Config(vocab_size=275, n_ctx=40, d_model=8, n_layers=1, n_heads=2)
    return random_model(config, 0).float(), tokenizer


def test_texts_are_read_alike_alone_and_among_others(reader):
    model, tokenizer = reader
    together = read_texts(model, tokenizer, [STORY, "the cat", "red"])
    for text, among in zip([STORY, "the cat", "red"], together, strict=True):
        (alone,) = read_texts(model, tokenizer, [text])
        assert (alone.spans, alone.guessed) == (among.spans, among.guessed)
        # fp32: a wider matrix product may add up in another order
        assert alone.surprises == pytest.approx(among.surprises, rel=1e-5)


def test_a_reading_has_every_token_its_characters_and_its_surprise(reader):
    model, tokenizer = reader
    (reading,) = read_texts(model, tokenizer, ["the cat is red"])
    ids = tokenizer.encode("the cat is red")
    assert [a for a, _ in reading.spans] == [0, *(b for _, b in reading.spans[:-1])]
    assert reading.spans[-1][1] == len("the cat is red")
    rows = torch.tensor([[tokenizer.eos_id, *ids]])
    log_p = torch.log_softmax(model(rows)[0], -1)
    expected = [-log_p[i, token].item() for i, token in enumerate(ids)]
    # fp32, logits of size 1 to 10
    assert reading.surprises == pytest.approx(expected, rel=1e-4, abs=1e-5)
    assert reading.guessed == [int(log_p[i].argmax()) == token for i, token in enumerate(ids)]


def test_a_text_longer_than_the_context_is_read_as_far_as_it_goes(reader):
    model, tokenizer = reader
    (reading,) = read_texts(model, tokenizer, [STORY * 4])
    assert len(reading.spans) == model.config.n_ctx - 1


def test_answers_are_counted_by_kind_and_examples_and_need_every_token():
    text = "cat is red. cat is red. cat is red."
    spans = [(0, 10), (10, 12), (12, 19), (19, 21), (21, 23), (23, 31), (31, 35)]
    answers = (Answer(19, 22, 1), Answer(31, 34, 2))
    document = Document(text, 0.0, "colours", answers)

    def score(*guessed: bool) -> list[tuple[str, int, int, int]]:
        reading = Reading(spans, [0.0] * 7, [*guessed])
        result = accuracy_by_examples([document], [reading])
        return [(s.kind, s.n_examples, s.right, s.asked) for s in result]

    both = score(False, False, False, True, True, False, True)
    assert both == [("colours", 1, 1, 1), ("colours", 2, 1, 1)]
    half = score(True, True, True, True, False, True, True)
    assert half == [("colours", 1, 0, 1), ("colours", 2, 1, 1)]


def test_answers_beyond_the_context_are_not_asked():
    document = Document("a b a", 0.0, "words", (Answer(4, 5, 1),))
    assert (
        accuracy_by_examples([document], [Reading([(0, 1), (1, 3)], [1.0, 1.0], [True] * 2)]) == []
    )


def test_the_mean_by_position_goes_as_far_as_there_are_texts():
    readings = [Reading([], [1.0, 2.0, 9.0], []), Reading([], [3.0, 4.0], [])]
    assert loss_by_position(readings, least=2) == [2.0, 3.0]
    assert loss_by_position(readings, least=1) == [2.0, 3.0, 9.0]
