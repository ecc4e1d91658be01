"""The tour: every stage of a trace on one line, with one of its numbers."""

import pytest
from rich.cells import cell_len

from glassformer.formula.spelling import number
from glassformer.show.sheet import Sheet
from glassformer.show.tour import print_tour
from tests.show.traces import Screen, small, wide


def toured(trace, width=80):
    screen = Screen(width)
    print_tour(trace, Sheet(screen.console))
    return screen.lines


def test_a_stage_has_one_line_with_its_first_number_for_the_last_token_in_each_layer():
    trace = small(5)
    rows = [line.split() for line in toured(trace)]
    for name in ("resid_mid", "resid_post"):
        row = next(row for row in rows if row[:1] == [name])
        first = [trace[f"blocks.{layer}.{name}[pos=4,d_model=0]"].item() for layer in range(2)]
        assert row[-2:] == [number(value) for value in first]


def test_of_many_layers_the_first_and_the_last_are_shown_and_the_rest_is_said():
    lines = toured(wide())
    assert any(line.startswith("── Layer 0 and layer 4 ") for line in lines)
    assert "  … layers 1 to 3 left out (3 of 5)" in lines


@pytest.mark.parametrize("width", [80, 120])
def test_a_tour_is_never_wider_than_its_console(width):
    assert all(cell_len(line) <= width for line in toured(wide(), width))
