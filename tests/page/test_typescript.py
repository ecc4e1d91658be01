"""The page's TypeScript does what Python does: one text, one token, one number from both."""

import json
import math
import random
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import glassformer as gf
from glassformer.formula.spelling import FULL, Fixed, compared, constant, number, spelled
from glassformer.trace import Explanation, Trace
from glassformer.trace.address import Address
from glassformer.trace.file import save
from scripts import page
from tests.model.variety import VARIETY, kinds_with_every_op
from tests.page import attributed, encoders, models, passes, tokenized

NUMBERS, SUMS, CELLS_OF_EACH_STEP = 6000, 300, 3
LINES_NEARLY_EQUAL = 0.03
"""At most this share of lines says ≈: where numbers cancel."""


def some_numbers(draw: random.Random) -> list[float]:
    """Of every size and kind: random bits, float32, ties, whole numbers, the ends of a range."""
    kinds = [
        lambda: struct.unpack("<d", draw.randbytes(8))[0],
        lambda: float(np.float32(draw.gauss(0, 1))),
        lambda: draw.gauss(0, 1) * 10.0 ** draw.randrange(-9, 9),
        lambda: float(draw.randrange(-(10**7), 10**7)) / 2 ** draw.randrange(0, 12),
        lambda: draw.choice((-1, 1)) * (10.0 ** draw.randrange(-6, 12) - draw.random() * 1e-7),
    ]
    ends = [0.0, -0.0, math.inf, -math.inf, math.nan, math.pi, 5e-324, 1.7e308, 99999.5, 1e-4]
    return ends + [kinds[i % len(kinds)]() for i in range(NUMBERS)]


def spellings(value: float) -> dict[str, Any]:
    texts = [number(value, d) for d in (2, 4, 6)] + [spelled(value, d) for d in (4, 9, FULL)]
    return {"value": repr(value), "texts": [*texts, constant(value)]}


def column(draw: random.Random) -> dict[str, Any]:
    size = 10.0 ** draw.randrange(-8, 8)
    terms = np.array([draw.gauss(0, size) for _ in range(draw.choice((2, 7, 40, 300)))])
    fixed = Fixed.of_sum(terms)
    texts = [fixed.text(int(unit)) for unit in fixed.units(terms)]
    return {"terms": terms.tolist(), "holds": fixed.holds, "texts": texts}


def comparison(draw: random.Random) -> dict[str, Any]:
    """Rows of numbers before and after: close ones, far ones, equal ones, and no numbers."""
    size = 10.0 ** draw.randrange(-8, 8)
    before = [draw.gauss(0, size) for _ in range(draw.choice((1, 3, 12)))]
    change = size * 10.0 ** draw.randrange(-7, 1)
    after = [was + draw.choice((0.0, draw.gauss(0, change))) for was in before]
    if draw.random() < 0.2:
        after[0] = draw.choice((math.inf, -math.inf, math.nan))
    pairs = [[repr(was), repr(now)] for was, now in zip(before, after, strict=True)]
    return {"pairs": pairs, "texts": compared(before, after)}


def cell(explanation: Explanation) -> dict[str, Any]:
    lines = [explanation.line, explanation.line_in_full]
    terms = explanation.terms
    indices = [*range(len(terms))][:6]
    return {
        "address": explanation.address,
        "lines": [line and [line.numbers, line.relation, line.result] for line in lines],
        "terms": [[terms[i].text, terms[i].running] for i in indices],
        "digits": terms.digits(indices) if indices else 0,
        "agrees": explanation.agrees,
    }


def some_cells(trace: Trace, draw: random.Random) -> list[str]:
    return [
        str(Address(node.kind, node.name, index))
        for node in trace.nodes.values()
        if node.op is not None
        for index in {
            tuple((a, draw.randrange(n)) for a, n in zip(node.axes, node.shape, strict=True))
            for _ in range(CELLS_OF_EACH_STEP)
        }
    ]


def few_kinds() -> list[str]:
    """Kinds of model that together have every op of all of them, and those that Muon trains."""
    return kinds_with_every_op(*passes.MUON)


@pytest.fixture(
    scope="module",
    params=[few_kinds, pytest.param(lambda: VARIETY, marks=pytest.mark.heavy)],
    ids=["few kinds", "every kind"],
)
def cases(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, dict[str, Any]]:
    kinds = request.param()
    every = kinds is VARIETY
    folder, draw = tmp_path_factory.mktemp("alike"), random.Random(0)
    trace = gf.watch("miniature", "the cat sat on a", target="mat")
    save(trace, folder / "trace")
    result = {
        "trace": str(folder / "trace"),
        "numbers": [spellings(value) for value in some_numbers(draw)],
        "columns": [column(draw) for _ in range(SUMS)],
        "comparisons": [comparison(draw) for _ in range(SUMS)],
        "cells": [cell(trace.explain(address)) for address in some_cells(trace, draw)],
        "tokenizers": tokenized.cases(folder / "tokenizers", draw, every),
        "passes": [*passes.cases(folder / "passes", kinds)],
        "training": passes.training(folder),
        "attributed": [*attributed.cases(folder / "attributed", kinds)],
        "descent": passes.descending(folder),
        "models": [*models.cases(folder / "models", every)],
        "encoders": [*encoders.cases(folder / "encoders", every=every)],
    }
    (folder / "cases.json").write_text(json.dumps(result))
    return folder / "cases.json", result


def test_python_and_typescript_write_the_same_texts_tokens_and_numbers(
    cases: tuple[Path, dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GLASSFORMER_CASES", str(cases[0]))
    page.run_script("test:alike")


def test_few_lines_are_only_nearly_equal(cases: tuple[Path, dict[str, Any]]) -> None:
    lines = [cell["lines"][0] for cell in cases[1]["cells"] if cell["lines"][0]]
    assert len(lines) > 500
    nearly = [line for line in lines if line[1] == "≈"]
    assert len(nearly) <= LINES_NEARLY_EQUAL * len(lines), nearly


def test_the_unit_tests_of_the_page_pass() -> None:
    # in this file, so that no two workers install the page's tools at once
    page.run_script("test:unit")
