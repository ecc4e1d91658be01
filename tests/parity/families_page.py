"""The reference's page of families: `python -m tests.parity.write_families_page` writes it.

A figure on it is the power of ten above twice what was measured, so that other machines keep it;
the parity tests hold every folder to the page's figures.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import NamedTuple

from glassformer.interop import families

PAGE = Path(__file__).parents[2] / "docs/reference/families.md"
TITLE = """# Families of models

Folders of these are read, and written as themselves. Every figure is a bound that the tests hold:
the largest difference from `transformers`, relative to the largest number of the tensor, over small
folders with odd sizes, random weights and random gains. What differs is the order of the sums,
and in BLOOM's gradients a constant that `transformers` writes with eight digits.

Where a family has experts, the loss here is the surprise at the next token and nothing else. The
loss for an even load that `transformers` adds when `output_router_logits` is set depends on the
batch and changes no logit: such settings are read past.

| family | `model_type` | logits, fp32 | logits, fp64 | gradients of all weights, fp64 |
|---|---|---|---|---|
"""
ROW = re.compile(r"^\| .* \| `(\w+)` \| (\S+) \| (\S+) \| (\S+) \|$", re.MULTILINE)


class Figures(NamedTuple):
    """The largest relative differences of a family."""

    logits_32: float
    logits_64: float
    gradients: float


def on_the_page() -> dict[str, Figures]:
    """The figures by model_type."""
    rows = ROW.findall(PAGE.read_text(encoding="utf-8"))
    return {model_type: Figures(*map(float, figures)) for model_type, *figures in rows}


def page(figures: Mapping[str, Figures]) -> str:
    """The page's text: a family's own words, and its figures."""
    rows = []
    for model_type in families.names():
        summary = (import_module(f"{families.__name__}.{model_type}").__doc__ or "").split("\n")[0]
        cells = " | ".join(f"{figure:.0e}" for figure in figures[model_type])
        rows.append(f"| {summary} | `{model_type}` | {cells} |")
    return TITLE + "\n".join(rows) + "\n"


def rounded_up(difference: float) -> float:
    """The power of ten above twice a difference."""
    return 10.0 ** math.ceil(math.log10(max(2 * difference, 1e-16)))
