"""Models as pages hold them, and what Python records of some requests, for the page to make too."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from glassformer.model.parts import RotaryScaling
from glassformer.server.past import packed_snapshots, rounded
from glassformer.server.record import record
from glassformer.server.runnable import packed_model
from glassformer.server.schemas import SamplingOptions, TraceOptions, TraceRequest
from glassformer.server.traces import LiveTrace
from glassformer.text.tokenizer import Tokenizer
from glassformer.trace.file import save
from glassformer.training.recipe import Recipe
from glassformer.training.train_state import TrainState, open_train_state
from glassformer.training.watched import zero_moments
from tests.model.variety import config_of, random_model

PROMPT, OTHER = "the cat sat on a", "the mat sat on a"
SAMPLINGS = [
    SamplingOptions(temperature=0.5, top_k=3, repetition_penalty=1.5, seed=7, index=0),
    SamplingOptions(temperature=1.0, top_p=0.8, min_p=0.05, seed=7, index=1),
    SamplingOptions(temperature=0, repetition_penalty=2, seed=7, index=2),
    SamplingOptions(seed=7, index=3),
]
HEAD, COLUMN, WEIGHT = "fwd/blocks.0.attn.z", "fwd/blocks.0.mlp.post", "weight/unembed.W_U"
PATTERN = "fwd/blocks.0.attn.pattern"


FEW = 4
"""So many requests, the first, every model is asked; the others cost time, and one is asked all."""


def requests() -> Iterator[dict[str, Any]]:
    """What the page is asked for; a patch names a prompt, where the server has another trace."""
    yield {"target": "mat"}
    yield {
        "edits": {f"{HEAD}[head=0]": 0, f"{COLUMN}[pos=1,d_mlp=2]": 1.5, f"{WEIGHT}[vocab=3]": 0.25}
    }
    yield {"edits": {HEAD: {"prompt": OTHER, "address": HEAD}}}
    yield {"sampling": SAMPLINGS[0].model_dump()}
    yield {"edits": {f"{PATTERN}[key=0]": 0.5, f"{PATTERN}_exp[head=0]": 2}}
    yield {"prompt": "the"}  # one token: nothing is asked of it
    yield {"backward": False}
    yield {"added": [2]}
    for sampling in SAMPLINGS[1:]:
        yield {"sampling": sampling.model_dump()}


def recorded(state: TrainState, asked: dict[str, Any]) -> LiveTrace:
    fields, patches = {"run": "", "prompt": PROMPT, **asked}, {}
    for address, edit in asked.get("edits", {}).items():
        if isinstance(edit, dict):
            other = record(state, TraceOptions(prompt=edit["prompt"])).trace
            patches[address] = other[edit["address"]]
            fields["edits"] = {address: {"trace": "other", "address": edit["address"]}}
    return LiveTrace(state, TraceRequest(**fields), patches)


def rotary() -> TrainState:
    """A model that Muon trains: the length says how it turns, and its neurons learn their bend."""
    tokenizer = Tokenizer.from_words(["the", "cat", "sat", "on", "a", "mat", "dog", "ran"])
    config = config_of("fast").replace(
        vocab_size=tokenizer.vocab_size, n_ctx=9, tied=False, activation="xielu", d_head=4
    )
    scaling = RotaryScaling("longrope", original_n_ctx=5, short=(1.0, 1.3), long=(1.7, 5.0))
    config = config.replace(rotary_scaling=scaling)
    model = random_model(config, 0).float()
    model.tokenizer = tokenizer
    moments = zero_moments(model)
    return TrainState(model, tokenizer, moments, Recipe(optimizer="muon"), 0)


def experts() -> TrainState:
    """A model with experts in its second block, sinks, grouped heads, and branches in parallel."""
    tokenizer = Tokenizer.from_words(["the", "cat", "sat", "on", "a", "mat", "dog", "ran"])
    config = config_of("like gpt-oss").replace(
        vocab_size=tokenizer.vocab_size,
        n_ctx=9,
        tied=False,
        n_heads=4,
        n_kv_heads=2,
        d_head=2,
        parallel=True,
        shared_norm=True,
    )
    model = random_model(config, 0).float()
    model.tokenizer = tokenizer
    return TrainState(model, tokenizer, zero_moments(model), Recipe(), 0)


def cases(root: Path, every: bool) -> Iterator[dict[str, Any]]:
    """What a draw does with probabilities is the same for every model: one is asked everything."""
    states = {
        "miniature": open_train_state("miniature"),
        "rotary": rotary(),
        "experts": experts(),
    }
    for name, state in states.items():
        packed = packed_model(state)
        assert packed is not None
        earlier = [younger(state, step) for step in (2, 5)]
        ids = torch.tensor([state.tokenizer.encode_prompt(PROMPT)])
        snapshots = packed_snapshots(state, earlier, ids)
        packed = packed.model_copy(update={"snapshots": snapshots})
        file = root / f"{name}.json"
        root.mkdir(exist_ok=True)
        file.write_text(packed.model_dump_json())
        traces = []
        wanted = [*requests()]
        if not every and name != "miniature":
            wanted = wanted[:FEW]
        for number, asked in enumerate(wanted):
            result = recorded(state, asked)
            folder = save(result.result.trace, root / f"{name}-{number}")
            request = {"run": "", "prompt": PROMPT, **asked}
            about = json.loads(result.about.model_dump_json())
            traces.append({"request": request, "folder": str(folder), "about": about})
        n_ctx = state.model.config.n_ctx
        past = {str(young.done): on_grid(young, snapshots.grids) for young in earlier}
        yield {"name": name, "file": str(file), "n_ctx": n_ctx, "traces": traces, "past": past}


def younger(state: TrainState, step: int) -> TrainState:
    """A model whose weights are a little other ones."""
    model = copy.deepcopy(state.model)
    draw = torch.Generator().manual_seed(step)
    with torch.no_grad():
        for weight in model.weights().values():
            weight += 0.3 * torch.randn(weight.shape, generator=draw)
    return replace(state, model=model, done=step)


def on_grid(state: TrainState, grids: list[float]) -> dict[str, list[float]]:
    weights = zip(state.model.weights().items(), grids, strict=True)
    return {name: rounded(weight, to).flatten().tolist() for (name, weight), to in weights}
