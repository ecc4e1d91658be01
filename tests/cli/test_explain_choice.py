"""glassformer explain 'choose/...': the choice that the settings and the seed make."""

import pytest

from glassformer.interop import load
from tests.command_line import Command


@pytest.fixture
def explain(glassformer: Command):
    def explain(*arguments: str) -> tuple[int, str]:
        ended = glassformer("explain", *arguments)
        return ended.code, ended.stdout + ended.stderr

    return explain


PROMPT = ("worked_example", "the cat")


def test_the_chosen_token_comes_with_why_it_was_this_one(explain):
    code, said = explain(*PROMPT, "choose/token", "--top-k", "3", "--seed", "4")
    assert code == 0
    assert "choose/token = 1" in said
    assert "cat was chosen: the drawn number u = 0.1360 fell into [0, 0.4320)" in said


def test_any_number_of_the_choice_is_explained(explain):
    code, said = explain(*PROMPT, "choose/probs[vocab=3]", "--temperature", "0.5")
    assert code == 0
    assert "probs[vocab] = weights[vocab] / total" in said
    assert said.rstrip().endswith("agrees")


def test_a_later_token_is_that_of_the_text_that_the_seed_gives(explain):
    _, tokenizer = load("worked_example")
    assert tokenizer is not None
    _, first = explain(*PROMPT, "choose/token", "--seed", "7")
    _, second = explain(*PROMPT, "@token=1 choose/token", "--seed", "7")
    chosen = first.partition("choose/token = ")[2][0]
    word = tokenizer.token(int(chosen))
    _, ids = explain(*PROMPT, "@token=1 token/ids[pos=2]", "--seed", "7")
    assert f"token/ids[pos=2] = {chosen}" in ids
    assert word in ids
    assert "u = " in second


def test_a_token_beyond_the_context_is_refused_with_the_last_there_is(explain):
    code, said = explain(*PROMPT, "@token=3 choose/u")
    assert code == 2
    assert "@token=3 is beyond the context of 4 tokens" in said
    assert "give at most 2" in said


def test_a_step_that_the_settings_do_not_make_is_answered_with_the_nearest(explain):
    code, said = explain(*PROMPT, "choose/prbs")
    assert code == 2
    assert "Did you mean 'choose/probs'?" in said
