"""Logits that Python splits into what each part wrote, for the page to split alike."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch

from glassformer.errors import GlassformerError
from glassformer.lab.logit_attribution import attribute
from glassformer.trace.file import save
from tests.model.variety import config_of, random_ids, random_model

TOKENS, POS = 6, 4


def cases(place: Path, kinds: Iterable[str]) -> Iterator[dict[str, Any]]:
    """One logit of a small random model of each kind; null where its logits can't be split."""
    for name in kinds:
        config = replace(config_of(name), n_ctx=TOKENS)
        model = random_model(config, 0, torch.float64)
        trace = model.watch(random_ids(config, 1, 1, TOKENS))
        try:
            result = asdict(attribute(config, trace, config.vocab_size - 1, POS))
        except GlassformerError:
            result = None
        folder = save(trace, place / name)
        yield {"name": name, "folder": str(folder), "config": config.to_dict(), "result": result}
