"""Kernels that suit one processor or one size alone stand in one table, each with its test."""

from pathlib import Path

import pytest

from glassformer.kernels import choices


@pytest.mark.parametrize(("maker", "amd"), [("AuthenticAMD", True), ("GenuineIntel", False)])
def test_the_processor_says_who_made_it(maker, amd, monkeypatch):
    monkeypatch.setattr(choices.Path, "is_file", lambda _: True)
    monkeypatch.setattr(choices.Path, "read_text", lambda _: f"vendor_id\t: {maker}\n")
    assert choices.is_amd() == amd


ROOT = Path(__file__).resolve().parents[2]
TABLE = {n: c for n, c in vars(choices).items() if isinstance(c, choices.Choice)}


@pytest.mark.parametrize("name", TABLE)
def test_every_choice_was_measured_and_names_a_test_that_there_is(name):
    choice = TABLE[name]
    assert any(character.isdigit() for character in choice.measured)
    file, _, test = choice.guarded_by.partition("::")
    assert f"def {test}(" in (ROOT / file).read_text()
