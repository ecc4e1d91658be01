"""Models with encoders as pages hold them, and what Python records of some requests to each."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from glassformer.model import TowersConfig
from glassformer.model.kinds import AnyModel
from glassformer.server.runnable import packed_model
from glassformer.server.schemas import TraceRequest
from glassformer.server.traces import LiveTrace
from glassformer.text.tokenizer import Tokenizer
from glassformer.trace.file import save
from glassformer.training.recipe import Recipe
from glassformer.training.train_state import TrainState, inputs_of
from glassformer.training.watched import zero_moments
from tests.model.towers import random_weights, towers_of
from tests.model.variety import config_of, random_model
from tests.page.models import FEW

SOURCE, TARGET = "the friend does not sleep", "l'ami ne dort pas"
HEAD, CROSS = "fwd/decoder.blocks.0.attn.z[head=1]", "fwd/decoder.blocks.0.cross_attn"
BLANK = "The [MASK] sat on the mat"
SAMPLING = {"temperature": 0.5, "top_k": 3, "seed": 7, "index": 1}


@dataclass
class Case:
    """A model, a prompt to begin with, and what else it is asked for."""

    state: TrainState
    prompt: str
    requests: list[dict[str, Any]]


def masked(name: str) -> Case:
    tokenizer = Tokenizer.of_masked_words(["the cat sat on the mat", "a dog ran"])
    config = config_of(name).replace(vocab_size=tokenizer.vocab_size, n_ctx=12)
    requests: list[dict[str, Any]] = [
        {"target": "cat"},
        {"prompt": "a <mask> ran", "sampling": SAMPLING},
        {"prompt": "nothing is hidden here"},
        {"edits": {"fwd/blocks.1.attn.z": {"prompt": "a [MASK] ran on the mat"}}},
        {},
        {"prompt": "the cat sat [SEP] a [MASK] ran", "target": "dog"},
        {"target": "cat", "edits": {"fwd/blocks.0.attn.pattern[query=2,key=1]": 0.5}},
    ]
    return Case(state_of(random_model(config, 0).float(), tokenizer), BLANK, requests)


def translating(name: str, gated: bool = False, optimizer: str = "adamw") -> Case:
    tokenizer = Tokenizer.of_sentences([SOURCE, TARGET, "the dog runs", "le chien court"])
    config = towers_of(name)
    choices = {"vocab_size": tokenizer.vocab_size, "n_ctx": 10}
    towers = (config.encoder, config.decoder)
    encoder, decoder = (t.replace(**choices, gated=gated or t.gated) for t in towers)
    ids: dict[str, Any] = {"pad_id": tokenizer.pad_id, "start_id": tokenizer.bos_id}
    config = TowersConfig(
        encoder=encoder, decoder=decoder, shared_embeddings=config.shared_embeddings, **ids
    )
    written = tokenizer.encode("l'ami ne")
    requests: list[dict[str, Any]] = [
        {},
        {"written": []},
        {"written": written, "sampling": SAMPLING},
        {"edits": {f"{CROSS}.k": {"prompt": "the friend does not runs"}}, "written": written},
        {"edits": {HEAD: 0, f"{CROSS}.pattern[source_key=1]": 0.5}},
        {"written": written, "target": "dort"},
        {"prompt": "the dog runs", "target": "court"},
    ]
    model = random_weights(config).float()
    return Case(state_of(model, tokenizer, optimizer), SOURCE, requests)


def state_of(model: AnyModel, tokenizer: Tokenizer, optimizer: str = "adamw") -> TrainState:
    model.tokenizer = tokenizer
    recipe = Recipe(optimizer=optimizer)
    return TrainState(model, tokenizer, zero_moments(model), recipe, 0)


def recorded(state: TrainState, asked: dict[str, Any]) -> LiveTrace:
    patches = {}
    edits = dict(asked.get("edits", {}))
    for address, edit in edits.items():
        if isinstance(edit, dict):
            ids, more = inputs_of(state.model, state.tokenizer, edit["prompt"])
            patches[address] = state.model.watch(ids, **more)[address]
            edits[address] = {"trace": "other", "address": address}
    return LiveTrace(state, TraceRequest(**{"run": "", **asked, "edits": edits}), patches)


KINDS = {
    "like bert": lambda: masked("like bert"),
    "like modernbert": lambda: masked("like modernbert"),
    "like marian": lambda: translating("like marian"),
    "like t5, gated": lambda: translating("like t5", gated=True, optimizer="muon"),
    "apart": lambda: translating("apart"),
}
FEW_KINDS = ("like bert", "like marian", "like t5, gated")
"""What has every op of all of them."""


def cases(root: Path, every: bool) -> Iterator[dict[str, Any]]:
    root.mkdir(exist_ok=True)
    for name, made in (KINDS if every else {name: KINDS[name] for name in FEW_KINDS}).items():
        case = made()
        packed = packed_model(case.state)
        assert packed is not None
        file = root / f"{name}.json"
        file.write_text(packed.model_dump_json())
        traces = []
        for number, more in enumerate(case.requests if every else case.requests[:FEW]):
            request = {"prompt": case.prompt, **more}
            result = recorded(case.state, request)
            folder = save(result.result.trace, root / f"{name}-{number}")
            edits = {
                address: {**edit, "address": address} if isinstance(edit, dict) else edit
                for address, edit in request.get("edits", {}).items()
            }
            about = json.loads(result.about.model_dump_json())
            asked = {"run": "", **request, "edits": edits}
            traces.append({"request": asked, "folder": str(folder), "about": about})
        n_ctx = case.state.model.config.n_ctx
        yield {"name": name, "file": str(file), "n_ctx": n_ctx, "traces": traces}
