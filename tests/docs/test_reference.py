"""The reference lacks nothing that the code has."""

import importlib
import re
import sys
from pathlib import Path

import pytest
import torch

import glassformer as gf
from glassformer.cli.app import VERBS
from glassformer.lab.logit_lens import record_guesses
from glassformer.ops import REGISTRY, Composite
from glassformer.trace import Trace
from tests.model.variety import VARIETY, config_of, random_ids, random_model

DOCS = Path(__file__).parents[2] / "docs"
sys.path.insert(0, str(DOCS / "_ext"))

reference = importlib.import_module("reference")

ADDRESSES = (DOCS / "reference" / "addresses.md").read_text(encoding="utf-8")
NAMES = {name.rpartition(".")[2] for name in re.findall(r"(?<!`)`([^`\n]+)`", ADDRESSES)}


def test_every_op_is_in_the_reference_with_its_sentence():
    text = reference.ops_text()
    for name, op in REGISTRY.items():
        assert f"### `{name}`\n\n{op.said()}" in text


def test_a_composites_sub_steps_are_those_that_it_records():
    norm: set[str | None] = set()
    for gain, from_one in ((True, False), (True, True), (False, False)):
        config = gf.Config(
            *(11, 4, 6, 1, 2), norm_gain=gain, norm_bias=gain, norm_gain_from_one=from_one
        )
        model = gf.Decoder(config)
        trace = model.watch(torch.tensor([[1, 2, 3]]), torch.tensor([[2, 3, 4]]))
        norm |= {step.op for step in trace.computed if ".ln1." in step.name}
    layer_norm = REGISTRY["layer_norm"]
    assert isinstance(layer_norm, Composite)
    assert norm == set(reference.sub_steps(layer_norm))


def test_a_composites_sub_steps_are_ops():
    for op in REGISTRY.values():
        if isinstance(op, Composite):
            assert reference.sub_steps(op), op.name


def test_every_command_is_in_the_reference():
    text = reference.commands_text()
    for verb in VERBS:
        assert f"## `glassformer {verb}`" in text


def test_every_public_name_is_on_the_python_page():
    page = (DOCS / "reference" / "python.md").read_text(encoding="utf-8")
    names = set(gf._HOME) - {"GlassformerError"}  # that one has a page of its own
    for name in names:
        assert re.search(rf"glassformer\.{name}\b", page), name


@pytest.mark.parametrize("name", VARIETY)
def test_every_name_that_a_pass_records_is_on_the_page_of_addresses(name: str):
    config = config_of(name).replace(dropout=0.1)
    model = random_model(config, seed=0).train()
    trace: Trace = model.watch(random_ids(config, seed=0), random_ids(config, seed=1))
    guessed = model.watch(random_ids(config, seed=0))
    record_guesses(model, guessed)
    assert {step.short for step in [*trace.computed, *guessed.computed]} <= NAMES


def test_every_decision_has_a_number_of_its_own():
    numbers = [file.name[:4] for file in sorted((DOCS / "decisions").glob("0*.md"))]
    assert numbers == sorted(set(numbers))
