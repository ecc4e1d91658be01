"""The page with its data in it: one HTML file that needs no server and nothing from outside."""

from __future__ import annotations

import base64
import gzip
import importlib.metadata
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from glassformer.errors import GlassformerError
from glassformer.files import write_atomically
from glassformer.generation.generate import check_prompt
from glassformer.model.watch import estimated_bytes
from glassformer.server import answers
from glassformer.server.page import fill, sealed, template
from glassformer.server.record import TraceOptions
from glassformer.server.runs import Runs
from glassformer.server.schemas import TokenizeRequest
from glassformer.server.traces import LiveTrace, TraceOrigin
from glassformer.trace.trace import OverBudgetError
from glassformer.training.train_state import TrainState

VALUE_BYTES = 16_000_000
"""An exported page holds gradients, and the optimizer's step, while its values stay below this."""

PAGE_BYTES = 60_000_000
"""The weights and the forward pass of a prompt that an exported page can hold."""

SNAPSHOTS = 8
SNAPSHOT_BYTES = 6_000_000
"""How many snapshots' traces an exported page holds, and how large they may be together."""


def export(
    run: str, prompt: str, out: Path, *, target: str | None = None, at_step: int | None = None
) -> Path:
    """Write the page about one prompt to a file; what stood there is replaced."""
    return write_page(page_data(Runs([run]), prompt, target=target, at_step=at_step), out)


def write_page(data: dict[str, Any], out: Path) -> Path:
    """Write the page holding `data` to a file, whole or not at all."""
    html = page_html(data)
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(out, html)
    except OSError as error:
        raise GlassformerError(f"the page could not be written to {out}: {error}") from error
    return out


def page_html(data: dict[str, Any]) -> str:
    """The page holding `data`, under a policy that keeps it from loading anything."""
    return fill(sealed(template()), data)


def page_data(
    runs: Runs,
    prompt: str,
    *,
    target: str | None = None,
    at_step: int | None = None,
    value_bytes: int | None = None,
    snapshot_bytes: int | None = None,
) -> dict[str, Any]:
    """What an exported page shows of the first run: its traces, its training, its tokens.

    value_bytes, snapshot_bytes: what it holds at most; None: VALUE_BYTES, SNAPSHOT_BYTES.
    """
    source = runs.there[0]
    learner = runs.learner(source.id, at_step)
    check_size(learner, prompt)
    first = LiveTrace(
        learner,
        TraceOptions(prompt, target, light_bytes=value_bytes or VALUE_BYTES),
        TraceOrigin(source.id, at_step),
    )
    text = answers.tokenized(learner.tokenizer, TokenizeRequest(run=source.id, text=prompt))
    past = packed_snapshots(runs, source.id, prompt, target, snapshot_bytes or SNAPSHOT_BYTES)
    return {
        **trace_data([packed(first), *past]),
        "runs": [{**source.info(learner.tokenizer), "path": source.folder and source.name}],
        "metrics": {source.id: source.metrics()},
        "texts": {source.id: [text]},
    }


def check_size(learner: TrainState, prompt: str) -> None:
    """Refuse a page whose weights and forward pass alone are more than PAGE_BYTES."""
    ids = learner.tokenizer.encode_prompt(prompt)
    check_prompt(learner.model, ids)
    weights = sum(p.nbytes for p in learner.model.parameters())
    size = weights + estimated_bytes(learner.model, torch.tensor([ids]))
    if size > PAGE_BYTES:
        raise OverBudgetError(
            f"this page would hold about {size / 1e6:,.0f} MB of weights and values, and one file"
            f" holds at most {PAGE_BYTES / 1e6:,.0f} MB; look at this model with `glassformer"
            " serve`, which reads only what is on the screen"
        )


def trace_data(traces: list[dict[str, Any]]) -> dict[str, Any]:
    """A page of packed traces alone."""
    return {
        "format": "glassformer-page",
        "version": 1,
        "runs": [],
        "traces": traces,
        "metrics": {},
        "texts": {},
        "made": {"version": importlib.metadata.version("glassformer")},
    }


def packed(trace: LiveTrace) -> dict[str, Any]:
    return pack(trace.about, trace.table, trace.values.read(0, trace.values.size))


def pack(about: dict[str, Any], table: bytes, values: bytes) -> dict[str, Any]:
    """A trace as it stands in the page: both files, compressed, as text."""
    return {"about": about, "table": _text(table), "values": _text(values)}


def packed_snapshots(
    runs: Runs, run: str, prompt: str, target: str | None, room: int
) -> list[dict[str, Any]]:
    """The forward pass after some steps of a run's training, as many as there is room for."""
    source = runs[run]
    steps = source.snapshots

    def traces(count: int) -> Iterator[dict[str, Any]]:
        for step in spread(steps, count):
            learner = runs.learner(run, step)
            options = TraceOptions(prompt, target, backward=False)
            yield packed(LiveTrace(learner, options, TraceOrigin(run, step)))

    if not steps:
        return []
    size = sum(len(text) for text in _texts(next(traces(1))))
    count = min(SNAPSHOTS, len(steps), room // size)
    return list(traces(count)) if count > 1 else []  # one alone shows no change


def spread(steps: list[int], count: int) -> list[int]:
    """`count` of the steps, evenly among them, first and last included.

    >>> spread([0, 1, 2, 4, 8, 16, 32, 40], 4)
    [0, 2, 16, 40]
    """
    if count == 1:
        return steps[-1:]
    last = len(steps) - 1
    return [steps[round(i * last / (count - 1))] for i in range(count)]


def _texts(packed: dict[str, Any]) -> tuple[str, str]:
    return packed["table"], packed["values"]


def _text(content: bytes) -> str:
    return base64.b64encode(gzip.compress(content, compresslevel=6, mtime=0)).decode()
