"""How far a thing moved per update follows from the numbers beside it, as they are printed."""

from itertools import pairwise

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from glassformer.show.movement import lengths_per_update, numbers_per_update
from tests.calculator import gives

floats = st.floats(-(2.0**99), 2.0**99, width=32, allow_subnormal=False)


@given(st.lists(st.tuples(floats, st.integers(1, 10_000)), min_size=2, max_size=8))
def test_numbers_of_any_size_and_cancelling_ones(pairs: list[tuple[float, int]]):
    values = [value for value, _ in pairs]
    steps = np.cumsum([updates for _, updates in pairs]).tolist()
    moved = [0.0]
    for i in range(1, len(values)):
        moved.append(abs(values[i] - values[i - 1]) / (steps[i] - steps[i - 1]))
    moved_by, per_update = numbers_per_update(values, steps, moved)
    for i in range(1, len(values)):
        line = f"abs({moved_by[i]} - {moved_by[i - 1]}) / ({steps[i]} - {steps[i - 1]})"
        assert gives(line, per_update[i]), (line, per_update[i])
    lengths, per_update = lengths_per_update(steps, moved)
    for (start, end), length, result in zip(
        pairwise(steps), lengths[1:], per_update[1:], strict=True
    ):
        assert gives(f"{length} / ({end} - {start})", result)


def test_neighbors_of_float32_have_as_many_digits_as_are_right():
    one = np.float32(1.0)
    following = float(np.nextafter(one, np.float32(2)))
    values, per_update = numbers_per_update([1.0, following], [0, 1], [0.0, following - 1.0])
    assert values == ["1.00000000", "1.00000012"]
    assert per_update == ["", "1.2e-07"]
