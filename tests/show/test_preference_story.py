"""Which of two replies is preferred follows from the numbers beside it, as they are printed."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from glassformer.show.preference_story import pair_as_printed
from glassformer.show.surprise import odds
from tests.calculator import gives

surprises = st.floats(0.125, 60, width=32)


@given(
    st.tuples(surprises, surprises), st.tuples(surprises, surprises), st.sampled_from([0.1, 0.5])
)
def test_gain_preference_and_loss_of_a_pair_follow_as_printed(
    replies: tuple[float, float], references: tuple[float, float], beta: float
):
    gains = np.array(references, np.float32) - np.array(replies, np.float32)
    scores = np.float32(beta) * gains
    probabilities = np.exp(scores - scores.max())
    probabilities /= probabilities.sum()
    loss = float(np.log1p(np.exp(scores[1] - scores[0])))
    rows, said = pair_as_printed(replies, references, beta, probabilities.tolist(), loss)
    (first, second) = (f"{beta} * ({gain})" for _, _, gain, _ in rows)
    for surprise, reference, gain, _ in rows:
        assert gives(f"{surprise} + {gain}", reference)
    others = f"{second} - ({first})", f"{first} - ({second})"
    for (*_, share), other in zip(rows, others, strict=True):
        if " in " not in share:
            assert gives(f"1 / (1 + exp({other}))", share), rows
    # of a smaller loss, float32 itself holds the probability too coarsely
    if " in " not in rows[0][3] and loss > 1e-5:
        assert gives(f"-log({rows[0][3]})", said), (rows, said)


@pytest.mark.parametrize("exponent", range(1, 20))
@pytest.mark.parametrize("digits", [2, 3, 4])
def test_odds_of_any_size_are_said_without_an_exponent_of_e(exponent: int, digits: int):
    for first in (1.0, 1.29, 9.99):
        text = odds(first * 10.0**-exponent, digits)
        assert "e" not in text
        assert text.startswith("1 in ")
        assert not math.isnan(float(text.split()[2].replace(",", "").replace("10^", "1e")))
