"""The choice of a token: what is kept, what is drawn, and that every number of it is explained."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from transformers import (
    MinPLogitsWarper,
    RepetitionPenaltyLogitsProcessor,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

from glassformer import ops
from glassformer.errors import GlassformerError
from glassformer.formula.nodes import Drawn
from glassformer.generation.sampling import Sampling
from glassformer.kernels.choose import HEAD, uniform
from glassformer.trace import Recorder, Trace
from glassformer.watch.choice import record_choice
from tests.generation.models import TINY, speaking

samplings = st.builds(
    Sampling,
    temperature=st.sampled_from([0.0, 0.3, 1.0, 2.5]),
    top_k=st.none() | st.integers(1, 60),
    top_p=st.none() | st.floats(0.05, 1.0),
    min_p=st.none() | st.floats(0.0, 1.0),
    repetition_penalty=st.sampled_from([1.0, 1.3, 0.8]),
)
# repeated values, so that ties are common
scores = st.lists(st.integers(-40, 40).map(lambda n: n / 8), min_size=1, max_size=40)


def recorded(values: list[float] | Tensor, sampling: Sampling, seed: int = 0) -> Trace:
    """One choice from these scores after the text [0, 0], with its steps."""
    trace = Trace()
    tape = Recorder(trace)
    logits = torch.as_tensor(values, dtype=torch.float32)[None, None]
    ids = torch.tensor([[0, 0]])
    tape.leaf("const", "logits", logits, ("batch", "pos", "vocab"))
    tape.leaf("token", "ids", ids, ("batch", "pos"))
    tape = Recorder(trace, kind="choose")  # goes on from what the trace holds
    operands = value(trace, "const/logits"), value(trace, "token/ids")
    tape("token", ops.choose, *operands, row=0, last=0, seed=seed, index=0, **sampling.params())
    return trace


def value(trace: Trace, path: str) -> Tensor:
    """The whole value, also of an axis of length 1."""
    return trace.value_of(trace.node(path))


def fast(values: list[float] | Tensor, sampling: Sampling, seed: int = 0, index: int = 0) -> int:
    logits = torch.as_tensor(values, dtype=torch.float32)[None, None]
    ids = torch.tensor([[0, 0]])
    settings = sampling.params()
    return int(ops.choose.kernel(logits, ids, row=0, last=0, seed=seed, index=index, **settings))


@settings(max_examples=40)
@given(scores, samplings, st.integers(0, 10**9))
def test_every_number_of_a_choice_is_explained_by_its_operands(values, sampling, seed):
    trace = recorded(values, sampling, seed)
    steps = [step for step in trace.computed if step.kind == "choose"]
    assert {step.short for step in steps} >= {"next_logits", "token"}
    for step in steps:
        i = seed % max(step.shape, default=1)
        where = f"{step.path}[{step.axes[0]}={i}]" if step.axes else step.path
        explanation = trace.explain(where)
        assert explanation.agrees, str(explanation)
        drawn = step.formula is not None and isinstance(step.formula.body, Drawn)
        assert drawn or explanation.operands


@settings(max_examples=40)
@given(scores, samplings, st.integers(0, 10**9))
def test_the_fast_choice_and_its_steps_choose_the_same_token(values, sampling, seed):
    assert fast(values, sampling, seed) == int(
        value(recorded(values, sampling, seed), "choose/token")
    )


@settings(max_examples=30)
@given(st.integers(0, 10**9), samplings, st.booleans())
def test_they_do_where_the_vocabulary_is_larger_than_what_is_sorted_first(seed, sampling, flat):
    torch.manual_seed(seed)
    values = torch.randn(3 * HEAD) * (0.01 if flat else 4)
    assert fast(values, sampling, seed) == int(
        value(recorded(values, sampling, seed), "choose/token")
    )


def test_a_vocabulary_of_equals_is_drawn_from_evenly_and_in_order():
    n = 2 * HEAD
    for seed in range(20):
        token = fast([0.5] * n, Sampling(), seed)
        assert token == math.floor(uniform(seed, 0) * n)


@settings(max_examples=40)
@given(scores, st.floats(0.01, 0.999), st.integers(0, 10**6))
def test_top_p_keeps_the_smallest_set_that_has_this_probability(values, top_p, seed):
    trace = recorded(values, Sampling(top_p=top_p), seed)
    probs, kept = value(trace, "choose/softmax"), value(trace, "choose/top_p")
    inside = probs[kept > 0].sort().values
    assert inside.sum() >= top_p - 1e-12  # float64 sums of at most 40 numbers
    assert inside[1:].sum() < top_p + 1e-12
    outside = probs[kept == 0]
    assert len(outside) == 0 or outside.max() <= inside[0]


@settings(max_examples=40)
@given(scores, st.integers(1, 50))
def test_top_k_keeps_exactly_k_and_of_equals_the_lower_ids(values, k):
    trace = recorded(values, Sampling(top_k=k))
    best = sorted(range(len(values)), key=lambda i: (-values[i], i))[:k]
    assert (value(trace, "choose/top_k") > 0).nonzero()[:, 0].tolist() == sorted(best)


@settings(max_examples=40)
@given(scores, st.floats(0.01, 1))
def test_min_p_keeps_what_is_at_least_so_many_times_as_probable_as_the_first(values, min_p):
    trace = recorded(values, Sampling(min_p=min_p))
    probs = value(trace, "choose/softmax")
    assert torch.equal(value(trace, "choose/min_p") > 0, probs >= min_p * probs.max())


@settings(max_examples=40)
@given(scores, samplings, st.integers(0, 10**9))
def test_probabilities_sum_to_1_and_the_line_ends_at_exactly_1(values, sampling, seed):
    trace = recorded(values, sampling, seed)
    if sampling.greedy:
        assert "choose/probs" not in trace.nodes
        return
    assert abs(float(value(trace, "choose/probs").sum()) - 1) < 1e-14 * len(values)
    line = value(trace, "choose/cumulative")
    assert line[-1] == 1
    assert (line.diff() >= 0).all()


@settings(max_examples=40)
@given(scores, samplings, st.integers(0, 10**9))
def test_the_drawn_number_lies_in_the_interval_of_the_chosen_token(values, sampling, seed):
    trace = recorded(values, sampling, seed)
    token = int(value(trace, "choose/token"))
    if sampling.greedy:
        assert value(trace, "choose/next_logits")[token] <= max(values)
        return
    u, rank, line = (value(trace, f"choose/{name}") for name in ("u", "drawn_rank", "cumulative"))
    assert (line[rank - 1] if rank else 0) <= u < line[rank]
    assert value(trace, "choose/probs")[token] > 0
    assert int(value(trace, "choose/ranks")[token]) == rank


@settings(max_examples=40)
@given(scores, samplings)
def test_probabilities_are_those_of_transformers(values, sampling):
    if sampling.greedy:
        return
    trace = recorded(values, sampling)
    theirs = torch.tensor(values, dtype=torch.float64)[None]
    ids: Any = torch.tensor([[0, 0]])
    theirs = RepetitionPenaltyLogitsProcessor(sampling.repetition_penalty)(ids, theirs)
    theirs = TemperatureLogitsWarper(sampling.temperature)(ids, theirs)
    distinct = len(set(theirs[0].tolist())) == len(values)
    if sampling.top_k is not None:
        theirs = TopKLogitsWarper(sampling.top_k)(ids, theirs)
    if sampling.params()["top_p"] is not None:
        theirs = TopPLogitsWarper(sampling.top_p)(ids, theirs)
    if sampling.params()["min_p"] is not None:
        theirs = MinPLogitsWarper(sampling.min_p)(ids, theirs)
    if not distinct:  # they keep all equals of the k-th, and cut equals by the order of a sort
        return
    np.testing.assert_allclose(value(trace, "choose/probs"), theirs.softmax(-1)[0], atol=1e-12)


@pytest.mark.parametrize(
    "sampling",
    [Sampling(), Sampling(temperature=0.5), Sampling(top_k=5), Sampling(top_p=0.7, min_p=0.1)],
)
def test_tokens_are_drawn_as_often_as_their_probabilities_say(sampling):
    torch.manual_seed(1)
    values = torch.randn(12)
    probs = value(recorded(values, sampling), "choose/probs").numpy()
    n = 4000
    counts = np.bincount([fast(values, sampling, 7, i) for i in range(n)], minlength=12)
    assert (counts[probs == 0] == 0).all()
    expected = n * probs[probs > 0]
    chi_square = float(((counts[probs > 0] - expected) ** 2 / expected).sum())
    # 11 degrees of freedom at most: chance alone exceeds 31.3 once in a thousand; the seed is fixed
    assert chi_square < 31.3


def test_drawn_numbers_are_even_between_0_and_1_and_never_1():
    numbers = np.array([uniform(seed, index) for seed in range(100) for index in range(100)])
    assert numbers.min() >= 0
    assert numbers.max() < 1
    counts = np.histogram(numbers, bins=20, range=(0, 1))[0]
    # 19 degrees of freedom: chance alone exceeds 43.8 once in a thousand; the numbers are fixed
    assert ((counts - 500) ** 2 / 500).sum() < 43.8


def test_a_repetition_penalty_moves_tokens_of_the_text_only():
    trace = recorded([2.0, -2.0, 1.0], Sampling(repetition_penalty=2.0))
    assert value(trace, "choose/penalized").tolist() == [1.0, -2.0, 1.0]


def test_greedy_takes_the_lowest_id_of_the_highest_scores():
    trace = recorded([1.0, 3.0, 3.0, -1.0], Sampling(temperature=0))
    assert (
        int(value(trace, "choose/token"))
        == fast([1.0, 3.0, 3.0, -1.0], Sampling(temperature=0))
        == 1
    )
    assert trace.explain("choose/token").agrees


def test_a_lower_temperature_never_turns_the_same_number_into_a_less_probable_token():
    torch.manual_seed(3)
    values = torch.randn(30)
    for seed in range(50):
        ranks = []
        for temperature in (2.0, 1.0, 0.5, 0.1, 0.01):
            trace = recorded(values, Sampling(temperature=temperature), seed)
            ranks.append(int(value(trace, "choose/drawn_rank")))
        assert ranks == sorted(ranks, reverse=True)


def test_a_recorded_choice_continues_a_watched_pass_down_to_the_weights():
    model = speaking(TINY)
    trace = model.watch(torch.tensor([[3, 1, 4, 1, 5]]))
    record_choice(trace, Sampling(temperature=0.7, top_k=9, repetition_penalty=1.2), seed=0)
    explanation = trace.explain("choose/probs[vocab=17]")
    assert explanation.agrees
    at, kinds = "choose/penalized[vocab=17]", []
    for _ in range(12):
        operands = trace.explain(at).operands
        if not operands:
            break
        at = operands[-1].address
        kinds.append(at.partition("/")[0])
    assert kinds[:2] == ["choose", "fwd"]
    assert kinds[-1] in ("weight", "token", "const")


def test_a_choice_for_one_row_of_a_batch_reads_that_row():
    model = speaking(TINY)
    ids = torch.tensor([[3, 1, 4], [2, 7, 1]])
    trace = model.watch(ids)
    record_choice(trace, Sampling(), seed=0, row=1)
    assert torch.equal(value(trace, "choose/next_logits"), trace["fwd/logits"][1, -1])
    assert trace.explain("choose/next_logits[vocab=2]").operands[0].address == (
        "fwd/logits[batch=1,pos=2,vocab=2]"
    )


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"temperature": -1}, "temperature=-1 is negative"),
        ({"temperature": 1e-9}, "too small to divide by"),
        ({"temperature": math.nan}, "temperature=nan is not a number"),
        ({"temperature": "1"}, "temperature='1' must be a number"),
        ({"top_k": 0}, "top_k=0 leaves no token"),
        ({"top_k": 2.5}, "top_k=2.5 must be a whole number"),
        ({"top_p": 0}, "top_p=0 is no probability"),
        ({"top_p": 1.1}, "top_p=1.1 is no probability"),
        ({"min_p": -0.1}, "min_p=-0.1 is no share"),
        ({"repetition_penalty": 0}, "repetition_penalty=0 is below 1e-06; 1 does nothing"),
        ({"repetition_penalty": 1e-320}, "is below 1e-06; 1 does nothing"),
        ({"repetition_penalty": 1e300}, r"repetition_penalty=1e\+300 is above 1e\+06"),
    ],
)
def test_settings_out_of_range_are_refused_with_what_to_give_instead(settings, said):
    sampling = Sampling()
    for name, setting in settings.items():  # past the tests' own type checks
        object.__setattr__(sampling, name, setting)
    with pytest.raises(GlassformerError, match=said):
        sampling.__post_init__()


def test_whole_numbers_are_recomputed_as_whole_numbers():
    trace = recorded([0.5, 2.0, 1.0], Sampling())
    for name in ("choose/ranks[vocab=0]", "choose/order[rank=0]", "choose/token"):
        explanation = trace.explain(name)
        assert isinstance(explanation.recomputed, int)
        assert explanation.recomputed == explanation.value


def test_equal_scores_in_a_count_are_no_kink_and_a_score_at_the_penalty_s_corner_is():
    trace = recorded([0.0, 2.0, 2.0], Sampling(repetition_penalty=1.2, top_k=2))
    assert trace.explain("choose/ranks[vocab=1]").flags == []
    assert any("kink" in flag for flag in trace.explain("choose/penalized[vocab=0]").flags)
