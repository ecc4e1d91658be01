"""Logits that Python splits into what each part wrote, for the page to split alike."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch

from glassformer.errors import GlassformerError
from glassformer.lab.logit_attribution import attribute
from glassformer.model import Config, TowersConfig
from glassformer.trace import Trace
from glassformer.trace.file import save
from tests.model.towers import TOWERS, random_pair, random_towers
from tests.model.variety import config_of, random_ids, random_model

TOKENS, POS = 6, 4


def cases(folder: Path, kinds: Iterable[str]) -> Iterator[dict[str, Any]]:
    """One logit of a small random model of each kind; null where its logits can't be split."""
    for name in kinds:
        config = replace(config_of(name), n_ctx=TOKENS)
        model = random_model(config, 0, torch.float64)
        trace = model.watch(random_ids(config, 1, 1, TOKENS))
        yield case(folder / name, config, trace, POS)
    for name in TOWERS:
        towers = random_towers(name)
        ids, _, source = random_pair()
        trace = towers.watch(ids[:1], source=source[:1])
        yield case(folder / f"towers {name}", towers.config, trace, ids.shape[1] - 1)


def case(folder: Path, config: Config | TowersConfig, trace: Trace, pos: int) -> dict[str, Any]:
    try:
        result = asdict(attribute(config, trace, config.vocab_size - 1, pos))
    except GlassformerError:
        result = None
    saved = str(save(trace, folder))
    return {"name": folder.name, "folder": saved, "config": config.to_dict(), "result": result}
