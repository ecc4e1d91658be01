"""The model on paper of many GPUs: its bytes are those that ranks exchange and hold."""

import pytest

from bench.on_paper import (
    H100,
    MODELS,
    RANKS,
    Step,
    copied_bytes,
    exchanged_bytes,
    held_bytes,
    step_of,
    table,
)
from glassformer.model.size import parameter_count


def test_the_models_have_the_parameters_that_they_are_called_by():
    counted = {name: round(parameter_count(config) / 1e6) for name, config in MODELS.items()}
    assert counted == {"124M": 124, "1.5B": 1558, "8B": 8030}


def test_nothing_is_exchanged_by_one_and_parts_exchange_half_as_much_again():
    assert exchanged_bytes(1000, 1, parts=False) == 0
    assert exchanged_bytes(1000, 64, parts=True) == 1.5 * exchanged_bytes(1000, 64, parts=False)


def test_parts_are_copied_three_times_and_that_is_little_beside_the_arithmetic():
    plain, parts = (step_of(MODELS["8B"], 64, kind, H100) for kind in (False, True))
    copying = parts.compute - plain.compute
    assert copying == pytest.approx(copied_bytes(parameter_count(MODELS["8B"]), True) / 3.35e12)
    assert copying < 0.05 * plain.compute


def test_copies_hold_sixteen_bytes_a_parameter_and_parts_their_share_and_what_is_gathered():
    config = MODELS["124M"]
    total = parameter_count(config)
    assert held_bytes(config, 8, parts=False) == 16 * total
    gathered = held_bytes(config, 8, parts=True) - 16 * total / 8
    assert 4 * 50257 * 768 < gathered < 4 * total  # the embeddings, and two of twelve blocks


def test_a_step_takes_its_arithmetic_or_exchange_at_least_and_both_at_most():
    step = step_of(MODELS["8B"], 64, True, H100)
    assert step.compute == pytest.approx(step_of(MODELS["8B"], 8, True, H100).compute)
    assert step.hidden == max(step.compute, step.exchange) < step.plain
    assert Step(1.0, 3.0).hidden == 3.0


def test_the_table_has_every_model_on_every_number_of_gpus():
    lines = table().splitlines()[2:]
    assert [line.split()[:2] for line in lines] == [
        [name, str(ranks)] for name in MODELS for ranks in RANKS
    ]
