"""Passes recorded by Python, with their plans, for the page's engine to make again."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from glassformer.formula.evaluate import evaluate
from glassformer.formula.tree import Drawn
from glassformer.model import Config
from glassformer.model.language_model import LanguageModel
from glassformer.ops import IGNORED
from glassformer.server.runnable import descent
from glassformer.trace import Trace
from glassformer.trace.file import save
from glassformer.trace.graph import Graph
from glassformer.trace.plan import Watch, plan
from glassformer.training.recipe import Recipe
from glassformer.training.watched import watch_step, zero_moments
from tests.model.variety import config_of, random_ids, random_model, random_targets


def recorded(folder: Path, trace: Graph, **more: Any) -> dict[str, Any]:
    """A trace on disk."""
    save(trace, folder)
    return {"folder": str(folder), "plan": None, "bounds": None, **more}


def bounds(trace: Graph) -> Iterator[np.ndarray]:
    """How far each computed number may be from its formula in float64, value by value."""
    for node in trace.computed:
        assert node.formula is not None
        if isinstance(node.formula.body, Drawn):
            yield np.zeros(node.shape).ravel()
            continue
        _, bound, _ = evaluate(
            node.formula,
            {name: trace.value_of(trace.nodes[path]) for name, path in node.operands.items()},
            node.params,
            shape=node.shape,
            dtype=node.dtype,
            sizes=dict(zip(node.axes, node.shape, strict=True)),
        )
        # as `Explanation`: PyTorch may arrange an equal formula otherwise
        yield np.ascontiguousarray(bound).ravel() * (2 if node.kind in ("bwd", "opt") else 1)


def update_of(model: LanguageModel[Any], recipe: Recipe, ids: Tensor, targets: Tensor) -> Trace:
    """An update of a model whose optimizer has seen random gradients before."""
    generator = torch.Generator().manual_seed(3)
    moments = {
        name: torch.rand(moment.shape, generator=generator, dtype=torch.float64).to(moment)
        for name, moment in zero_moments(model).items()
    }
    return watch_step(model, ids, targets, recipe=recipe, moments=moments, t=2).trace


def varied(config: Config, recipe: Recipe, dtype: torch.dtype) -> Watch:
    """Watches one update of a small random model."""
    model = random_model(config, 0, dtype)

    @cache
    def watch(batch: int, pos: int) -> Trace:
        ids = random_ids(config, 1, batch, pos)
        return update_of(model, recipe, ids, random_targets(config, 2, ids))

    return watch


TEXTS, TOKENS = 2, 6
MUON = ("gpt2", "fast", "rotary alone")


def cases(folder: Path, kinds: Iterable[str]) -> Iterator[dict[str, Any]]:
    """Updates of models of these kinds, and of a few in float32 how far each number may be off.

    Plans are followed in float64, where what is zero but for rounding (the gradient of a key's
    bias) is too small for AdamW to make a step of.
    """
    for name in kinds:
        config = replace(config_of(name), n_layers=1, n_ctx=TOKENS + 1)
        recipe = Recipe(optimizer="muon" if name in MUON else "adamw", clip=0.5)
        watch = varied(config, recipe, torch.float64)
        trace = watch(TEXTS, TOKENS)
        yield recorded(folder / name, trace, name=name, plan=plan(watch, TEXTS, TOKENS))
        if name in MUON:
            trace = varied(config, recipe, torch.float32)(TEXTS, TOKENS)
            allowed = folder / f"{name}.bounds"
            allowed.write_bytes(np.concatenate([*bounds(trace)]).tobytes())
            of_single = f"{name}, float32"
            yield recorded(folder / of_single, trace, name=of_single, bounds=str(allowed))


STEPS = 50


def descending(folder: Path) -> dict[str, Any]:
    """Some steps of plain gradient descent by PyTorch, in float64, and the plan of such a step."""
    config, lr = replace(config_of("gpt2"), n_layers=1), 0.1
    model = random_model(config, 0, torch.float64)

    @cache
    def watch(batch: int, pos: int) -> Trace:
        ids = random_ids(config, 1, batch, pos)
        return update_of(model, Recipe(), ids, random_targets(config, 2, ids))

    start = {f"weight/{name}": weight.tolist() for name, weight in model.weights().items()}
    content = {"plan": plan(watch), "descent": descent(model), "start": start}
    optimizer = torch.optim.SGD(model.parameters(), lr=lr)
    batches, losses = [], []
    for step in range(1, STEPS + 1):
        ids = random_ids(config, step, 2, TOKENS)
        targets = random_targets(config, 100 + step, ids)
        batches.append({"ids": ids.flatten().tolist(), "targets": targets.flatten().tolist()})
        optimizer.zero_grad()
        loss = cross_entropy(model(ids).flatten(0, 1), targets.flatten(), ignore_index=IGNORED)
        loss.backward()
        losses.append(loss.item())
        optimizer.step()
    end = {f"weight/{name}": weight.tolist() for name, weight in model.weights().items()}
    lengths = {"batch": 2, "pos": TOKENS}
    content |= {"end": end, "losses": losses, "batches": batches, "lengths": lengths}
    file = folder / "descent.json"
    file.write_text(json.dumps(content))
    return {"file": str(file), "share": lr}


def training(folder: Path) -> dict[str, Any]:
    """Some steps of training a small model by AdamW in float64, each on a batch of its own.

    AdamW makes a whole step of a gradient that is zero but for rounding, so float32 would not do.
    """
    config = replace(config_of("gpt2"), n_layers=1)
    recipe = Recipe(lr=0.01)
    model = random_model(config, 0, torch.float64)

    @cache
    def watch(batch: int, pos: int) -> Trace:
        ids = random_ids(config, 1, batch, pos)
        return update_of(model, recipe, ids, random_targets(config, 2, ids))

    planned = plan(watch)
    moments: Mapping[str, Tensor] = zero_moments(model)
    start = {f"weight/{name}": weight.tolist() for name, weight in model.weights().items()}
    batches, losses = [], []
    for step in range(1, STEPS + 1):
        ids = random_ids(config, step, 2, 5)
        targets = random_targets(config, step, ids)
        batches.append({"ids": ids.flatten().tolist(), "targets": targets.flatten().tolist()})
        done = watch_step(model, ids, targets, recipe=recipe, moments=moments, lr=0.005, t=step)
        losses.append(done.trace["fwd/loss"].item())
        model, moments = done.model, done.moments
    end = {f"weight/{name}": weight.tolist() for name, weight in model.weights().items()}
    lengths = {"batch": 2, "pos": 5}
    result = {"plan": planned, "start": start, "end": end, "losses": losses}
    file = folder / "training.json"
    file.write_text(json.dumps({**result, "batches": batches, "lengths": lengths}))
    return {"file": str(file), "share": 0.5}
