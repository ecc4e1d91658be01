"""The compiled choice of a token takes the one that the plain choice takes, or says nothing."""

import math

import pytest
import torch

from glassformer.generation.c_step.choice import UNDECIDED, CompiledChoice
from glassformer.kernels.choose import choose_rows, uniform

PLAIN = {"top_k": None, "top_p": None, "min_p": None}


def plain(logits: torch.Tensor, temperature: float, drawn: list[float]) -> list[int]:
    return choose_rows(logits.double(), drawn, temperature=temperature, **PLAIN).tolist()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(("vocab_size", "times"), [(2, 12), (65, 12), (300, 12), (10_000, 2)])
def test_it_takes_the_token_that_the_plain_choice_takes(vocab_size, times, dtype):
    generator = torch.Generator().manual_seed(vocab_size)
    choice = CompiledChoice(dtype, vocab_size)
    for number in range(times):
        spread = (4, 1, 0.02)[number % 3]  # nearly sure, as a trained model's, all alike
        logits = spread * torch.randn(8, vocab_size, generator=generator, dtype=dtype)
        if number % 2:
            logits = logits.round(decimals=1)  # many equal ones
        temperature = (1.0, 0.3, 2.5)[number // 3 % 3]
        drawn = [uniform(number, row) for row in range(8)]
        tokens = choice.tokens(logits, [*range(8)], [temperature] * 8, drawn)
        assert tokens == plain(logits, temperature, drawn)


def test_of_very_many_tokens_that_are_all_alike_it_says_nothing():
    logits = torch.zeros(1, 40_000)
    assert CompiledChoice(torch.float32, 40_000).tokens(logits, [0], [1.0], [0.5]) == [UNDECIDED]


def test_equal_scores_come_in_the_order_of_their_ids_and_rows_are_chosen_apart():
    choice = CompiledChoice(torch.float32, 4)
    logits = torch.tensor([[0.0, 0, 0, 0], [0, 9, 0, 0], [-math.inf, 1, -math.inf, 1]])
    rows, drawn = [0, 0, 0, 0, 2, 2], [0.1, 0.3, 0.6, 0.9, 0.1, 0.9]
    assert choice.tokens(logits, rows, [1.0] * 6, drawn) == [0, 1, 2, 3, 1, 3]


def test_what_rounding_could_turn_is_left_to_the_plain_choice():
    choice = CompiledChoice(torch.float32, 2)
    logits = torch.zeros(1, 2)
    for u, token in ((0.5, UNDECIDED), (0.5 + 1e-12, UNDECIDED), (0.5 + 1e-8, 1), (0.5 - 1e-8, 0)):
        assert choice.tokens(logits, [0], [1.0], [u]) == [token]


@pytest.mark.parametrize("wrong", [math.nan, math.inf])
def test_of_what_is_no_number_nothing_is_chosen(wrong):
    logits = torch.zeros(1, 70)
    logits[0, 3] = wrong
    assert CompiledChoice(torch.float32, 70).tokens(logits, [0], [1.0], [0.5]) == [UNDECIDED]
