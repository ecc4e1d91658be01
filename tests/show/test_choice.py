"""The table behind a choice: every number is a recorded one, and why it was this token."""

import re
from io import BytesIO, TextIOWrapper

import pytest
from rich.console import Console

from glassformer.errors import GlassformerError
from glassformer.formula.spelling import number
from glassformer.generation.sampling import Sampling
from glassformer.show.choice import candidates, print_choice, why
from glassformer.show.sheet import Sheet
from glassformer.trace import Trace
from glassformer.watch.choice import record_choice
from tests.calculator import gives
from tests.show.traces import small, wide


def chosen(trace: Trace, seed: int = 0, **settings) -> Trace:
    record_choice(trace, Sampling(**settings), seed=seed)
    return trace


def rendered(trace: Trace, width: int = 80, encoding: str = "utf-8") -> str:
    raw = BytesIO()
    page = TextIOWrapper(raw, encoding=encoding)
    print_choice(trace, Sheet(Console(file=page, width=width)))
    page.flush()
    return raw.getvalue().decode(encoding)


ALL = {"temperature": 0.7, "top_k": 6, "top_p": 0.8, "min_p": 0.1, "repetition_penalty": 1.3}


def test_each_setting_has_its_column_and_each_number_is_a_recorded_one():
    trace = chosen(small(), **ALL)
    rows = candidates(trace)
    assert list(rows[0].probabilities) == ["model", "tempered", "top_k", "top_p", "min_p", "drawn"]
    for row in rows:
        i = row.token
        assert row.probabilities["model"] == float(trace["fwd/probs"][-1, i])
        assert row.probabilities["tempered"] == float(trace["choose/softmax"][i])
        assert row.probabilities["top_p"] == float(trace["choose/top_p"][i])
        assert row.probabilities["drawn"] == float(trace["choose/probs"][i])


@pytest.mark.parametrize(
    ("settings", "stages"),
    [
        ({}, ["model"]),
        ({"temperature": 0}, ["model"]),
        ({"temperature": 0.5}, ["model", "tempered"]),
        ({"top_k": 3}, ["model", "top_k", "drawn"]),
        ({"repetition_penalty": 2.0, "min_p": 0.1}, ["model", "tempered", "min_p", "drawn"]),
    ],
)
def test_a_setting_that_does_nothing_has_no_column(settings, stages):
    assert list(candidates(chosen(small(), **settings))[0].probabilities) == stages


def test_candidates_come_most_probable_first_and_the_chosen_one_is_always_there():
    for seed in range(30):
        trace = chosen(wide(), seed, temperature=2.0)
        rows = candidates(trace)
        probs = [row.probabilities["tempered"] for row in rows]
        assert int(trace["choose/token"]) in [row.token for row in rows]
        assert probs == sorted(probs, reverse=True)
        assert probs[0] == float(trace["choose/probs"].max())


@pytest.mark.parametrize("encoding", ["utf-8", "ascii"])
@pytest.mark.parametrize("settings", [{}, ALL, {"temperature": 0}])
def test_the_table_fits_80_columns_and_steers_no_terminal(settings, encoding):
    text = rendered(chosen(small(), **settings), encoding=encoding)
    assert max(len(line) for line in text.splitlines()) <= 80
    assert "\x1b" not in text
    assert encoding != "ascii" or text.isascii()


def test_cut_tokens_are_called_cut_and_the_chosen_one_is_marked():
    trace = chosen(small(), top_k=2)
    lines = rendered(trace).splitlines()
    assert sum(line.endswith("cut      cut") for line in lines) == 8
    token = int(trace["choose/token"])
    assert next(line for line in lines if line.startswith("→")).split()[-4] == str(token)


def test_a_token_that_underflowed_is_told_apart_from_a_cut_one():
    trace = small()
    logits, probs = (trace.value_of(trace.node(name)) for name in ("fwd/logits", "fwd/probs"))
    logits[0, -1] = -800.0
    logits[0, -1, 0] = 0
    probs.copy_(logits.softmax(-1))
    text = rendered(chosen(trace, temperature=0.9, top_k=11))
    row = next(line.split() for line in text.splitlines() if line.split()[1:2] == ["1"])
    assert row[2:] == ["<1e-45", "<5e-324", "<5e-324", "<5e-324"]
    assert "it became 0" in text
    assert "e-…" not in text  # a number is never cut


def test_why_gives_the_number_drawn_and_both_intervals():
    for seed in range(20):
        trace = chosen(small(), seed, temperature=3.0)
        reason = why(trace)
        assert reason.u is not None
        assert reason.interval is not None
        assert reason.u == float(trace["choose/u"])
        low, high = reason.interval
        assert low <= reason.u < high
        assert reason.best_probability == pytest.approx(float(trace["choose/probs"].max()))
        assert (reason.token == reason.best) == (reason.rank == 0)
        u, start, end = re.findall(r"u = (\S+) fell into \[(\S+), (\S+)\)", str(reason))[0]
        assert float(start) <= float(u) < float(end)
        assert [float(x) for x in (u, start, end)] == pytest.approx([reason.u, low, high], abs=5e-5)
        assert gives(f"{end} - {start}", number(reason.probability, 3))
        if reason.rank:
            best = re.findall(r"has \[0, (\S+)\): u was too large", str(reason))[0]
            assert reason.best_probability == pytest.approx(float(best), abs=5e-5)
            assert float(best) <= float(u)
        else:
            assert str(reason).endswith("It is the most probable of 12.")


def test_why_of_a_greedy_choice_is_the_highest_score():
    reason = why(chosen(small(), temperature=0))
    assert (reason.u, reason.interval) == (None, None)
    assert "has the highest score" in str(reason)


def test_without_a_recorded_choice_it_is_said_how_to_record_one():
    with pytest.raises(GlassformerError, match="no choice of a token was recorded"):
        why(small())
