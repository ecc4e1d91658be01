"""The page with its data in it: one HTML file that needs no server and nothing from outside."""

from __future__ import annotations

import base64
import gzip
import importlib.metadata
from collections.abc import Iterator
from pathlib import Path

import torch

from glassformer.errors import GlassformerError
from glassformer.files import write_atomically
from glassformer.generation.generate import check_prompt
from glassformer.model.watch import estimated_bytes
from glassformer.server import answers, schemas
from glassformer.server.page import fill, sealed, template
from glassformer.server.record import TraceOptions
from glassformer.server.runs import Runs
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


def write_page(data: schemas.PageData, out: Path) -> Path:
    """Write the page holding `data` to a file, whole or not at all."""
    html = page_html(data)
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(out, html)
    except OSError as error:
        raise GlassformerError(f"the page could not be written to {out}: {error}") from error
    return out


def page_html(data: schemas.PageData) -> str:
    """The page holding `data`, under a policy that keeps it from loading anything."""
    return fill(sealed(template()), data.model_dump(mode="json", by_alias=True))


def page_data(
    runs: Runs,
    prompt: str,
    *,
    target: str | None = None,
    at_step: int | None = None,
    value_bytes: int | None = None,
    snapshot_bytes: int | None = None,
) -> schemas.PageData:
    """What an exported page shows of the first run: its traces, its training, its tokens.

    value_bytes, snapshot_bytes: what it holds at most; None: VALUE_BYTES, SNAPSHOT_BYTES.
    """
    source = runs.there[0]
    state = runs.train_state(source.id, at_step)
    check_size(state, prompt)
    first = LiveTrace(
        state,
        TraceOptions(prompt, target, light_bytes=value_bytes or VALUE_BYTES),
        TraceOrigin(source.id, at_step),
    )
    text = answers.tokenized(state.tokenizer, schemas.TokenizeRequest(run=source.id, text=prompt))
    past = packed_snapshots(runs, source.id, prompt, target, snapshot_bytes or SNAPSHOT_BYTES)
    info = source.info(state.tokenizer)
    return schemas.PageData(
        runs=[info.model_copy(update={"path": source.folder and source.name})],
        traces=[packed(first), *past],
        metrics={source.id: source.metrics()},
        texts={source.id: [text]},
        made=made(),
    )


def check_size(state: TrainState, prompt: str) -> None:
    """Refuse a page whose weights and forward pass alone are more than PAGE_BYTES."""
    ids = state.tokenizer.encode_prompt(prompt)
    check_prompt(state.model, ids)
    weights = sum(p.nbytes for p in state.model.parameters())
    size = weights + estimated_bytes(state.model, torch.tensor([ids]))
    if size > PAGE_BYTES:
        raise OverBudgetError(
            f"this page would hold about {size / 1e6:,.0f} MB of weights and values, and one file"
            f" holds at most {PAGE_BYTES / 1e6:,.0f} MB; look at this model with `glassformer"
            " serve`, which reads only what is on the screen"
        )


def made() -> dict[str, str]:
    """What wrote a page."""
    return {"version": importlib.metadata.version("glassformer")}


def packed(trace: LiveTrace) -> schemas.PackedTrace:
    return pack(trace.about, trace.table, trace.values.read(0, trace.values.size))


def pack(about: schemas.TraceAbout, table: bytes, values: bytes) -> schemas.PackedTrace:
    """A trace as it stands in the page: both files, compressed, as text."""
    return schemas.PackedTrace(about=about, table=_text(table), values=_text(values))


def packed_snapshots(
    runs: Runs, run: str, prompt: str, target: str | None, budget_bytes: int
) -> list[schemas.PackedTrace]:
    """The forward pass after some steps of a run's training, as many as fit into the budget."""
    source = runs[run]
    steps = source.snapshots

    def traces(count: int) -> Iterator[schemas.PackedTrace]:
        for step in spread(steps, count):
            state = runs.train_state(run, step)
            options = TraceOptions(prompt, target, backward=False)
            yield packed(LiveTrace(state, options, TraceOrigin(run, step)))

    if not steps:
        return []
    one = next(traces(1))
    count = min(SNAPSHOTS, len(steps), budget_bytes // (len(one.table) + len(one.values)))
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


def _text(content: bytes) -> str:
    return base64.b64encode(gzip.compress(content, compresslevel=6, mtime=0)).decode()
