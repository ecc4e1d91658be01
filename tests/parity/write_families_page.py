"""Measure every family, or those that are named, and write their page.

`python -m tests.parity.write_families_page [MODEL_TYPE ...]`
"""

from __future__ import annotations

import sys
from copy import deepcopy
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch.nn.functional import cross_entropy

from glassformer.interop.folder import load_folder
from tests.parity.families import (
    FAMILIES,
    InDouble,
    more_here,
    random_ids,
    their_logits,
    their_model,
)
from tests.parity.families_page import PAGE, Figures, on_the_page, page, rounded_up
from tests.parity.test_families import difference, gradients, their_gradients


def measured(model_type: str, settings: dict[str, Any]) -> Figures:
    """The differences of one folder."""
    theirs = their_model(model_type, settings)
    with TemporaryDirectory() as folder:
        theirs.save_pretrained(folder)
        ours, narrow = load_folder(folder)[0], load_folder(folder, dtype=torch.float32)[0]
    ids, targets = random_ids(ours.config), random_ids(ours.config, seed=1)
    with InDouble():
        logits = their_logits(theirs, ids)
    cross_entropy(logits.flatten(0, 1), targets.flatten()).backward()
    result = gradients(ours, ids, targets)
    more = more_here(ours, ids)
    with torch.no_grad():
        return Figures(
            difference(narrow(ids, **more), their_logits(deepcopy(theirs).float(), ids)),
            difference(ours(ids, **more), logits),
            max(difference(result[n], g) for n, g in their_gradients(theirs).items()),
        )


def main() -> None:
    figures = {}
    known, wanted = on_the_page(), sys.argv[1:]
    for model_type, variants in FAMILIES.items():
        if wanted and model_type not in wanted:
            figures[model_type] = known[model_type]
            continue
        each = [measured(model_type, settings) for settings in variants]
        figures[model_type] = Figures(
            *(rounded_up(max(column)) for column in zip(*each, strict=True))
        )
    PAGE.write_text(page(figures), encoding="utf-8")


if __name__ == "__main__":
    main()
