"""The page with its data in it: one HTML file that needs no server and nothing from outside."""

from __future__ import annotations

import importlib.metadata
import json
from collections.abc import Iterator, Sequence
from pathlib import Path

from glassformer.course.glossary import glossary
from glassformer.errors import GlassformerError
from glassformer.files import write_atomically
from glassformer.server import answers, packing, schemas
from glassformer.server.page import LATER, fill, holding, sealed, template, without_font
from glassformer.server.past import packed_snapshots
from glassformer.server.record import forward_bytes
from glassformer.server.runnable import packed_model, why_recorded
from glassformer.server.runs import Runs, Source
from glassformer.server.seedling import seedling
from glassformer.server.traces import LiveTrace
from glassformer.trace.graph import OverBudgetError
from glassformer.training.train_state import TrainState, inputs_of, token_of

VALUE_BYTES = 16_000_000
"""An exported page holds gradients, and the optimizer's step, while its values stay below this."""

PAGE_BYTES = 60_000_000
"""The weights and the forward pass of a prompt that an exported page can hold."""

SNAPSHOTS = 8
SNAPSHOT_BYTES = 1_000_000
"""How many snapshots a page holds where nobody asks for a number, and how large they may be."""


def write_page(data: schemas.PageData, out: Path) -> Path:
    """Write the page holding `data` to a file, whole or not at all."""
    html = page_html(data.model_copy(update={"glossary": glossary()}))
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(out, html)
    except OSError as error:
        raise GlassformerError(f"the page could not be written to {out}: {error}") from error
    return out


def page_html(data: schemas.PageData, with_font: bool = True) -> str:
    """The page holding `data`, under a policy that keeps it from loading anything."""
    used = {"look": True, "run": data.models or data.metrics, "teach": data.course}
    html = holding(template(), *(name for name in LATER if used[name]))
    html = html if with_font else without_font(html)
    return fill(sealed(html), data.model_dump(mode="json", by_alias=True))


def page_data(
    runs: Runs,
    prompt: str,
    *,
    target: str | None = None,
    at_step: int | None = None,
    snapshots: int | None = None,
    value_bytes: int | None = None,
    snapshot_bytes: int | None = None,
) -> schemas.PageData:
    """What an exported page shows of the first run: its training, and the model, which it runs.

    Of a model that is too large for a browser, or whose tokenizer the page does not know, it holds
    recorded traces. snapshots: how many it holds, whatever their size; None: up to SNAPSHOTS.
    value_bytes, snapshot_bytes: what it holds at most of recorded values and, where no number is
    asked for, of snapshots; None: VALUE_BYTES, SNAPSHOT_BYTES.
    """
    source = runs.present[0]
    state = runs.train_state(source.id, at_step)
    check_size(state, prompt)
    if target is not None:
        token_of(state.tokenizer, target)  # refuses what is no token, before the page is opened
    info = source.info(state.tokenizer)
    opening = schemas.Opening(run=source.id, prompt=prompt, target=target, at_step=at_step)
    data = schemas.PageData(
        runs=[info.model_copy(update={"path": source.folder and source.name})],
        first=opening,
        metrics={source.id: packed_metrics(source.metrics())},
        made=made(),
    )
    budget = snapshot_bytes or SNAPSHOT_BYTES
    model = packed_model(state)
    if model is not None:
        past = past_snapshots(runs, source, state, prompt, snapshots, budget)
        model = model.model_copy(update={"snapshots": past})
        alive = {"models": {source.id: model}, "seedling": seedling()}
        return data.model_copy(update=alive)
    request = _request(source.id, prompt, target, at_step)
    first = LiveTrace(state, request, light_bytes=value_bytes or VALUE_BYTES)
    text = answers.tokenized(state.tokenizer, prompt)
    earlier = recorded_snapshots(runs, source.id, prompt, target, budget)
    recorded = {"traces": [packed(first), *earlier], "texts": {source.id: [text]}}
    return data.model_copy(update={**recorded, "recorded": why_recorded(state)})


def suggested(runs: Runs) -> tuple[str, str | None]:
    """What the first run's page opens with where nobody names a prompt."""
    source = runs.present[0]
    info = source.info(runs.train_state(source.id).tokenizer)
    return info.suggested_prompt, info.suggested_target


def gallery_data(names: Sequence[str], snapshots: int | None = None) -> schemas.PageData:
    """One page of several models, the first of which it opens with."""
    pages: list[schemas.PageData] = []
    for name in names:
        runs = Runs([name])
        prompt, target = suggested(runs)
        pages.append(page_data(runs, prompt, target=target, snapshots=snapshots))
    return schemas.PageData(
        runs=[run for page in pages for run in page.runs],
        traces=[trace for page in pages for trace in page.traces],
        models={run: model for page in pages for run, model in page.models.items()},
        metrics={run: rows for page in pages for run, rows in page.metrics.items()},
        texts={run: texts for page in pages for run, texts in page.texts.items()},
        seedling=pages[0].seedling,
        first=pages[0].first,
        made=made(),
    )


def packed_metrics(metrics: schemas.Metrics) -> str:
    """A run's losses; how fast it was is shown only while it trains."""
    content = metrics.model_dump(mode="json")
    for row in content["rows"]:
        row["tokens_per_second"] = None
    return packing.pack(json.dumps(content, allow_nan=False).encode())


def past_snapshots(
    runs: Runs, source: Source, state: TrainState, prompt: str, asked: int | None, budget: int
) -> schemas.PackedSnapshots | None:
    """A run after some earlier steps of its training: as many as were asked for, or have room."""
    before = [step for step in source.snapshots if step < state.done]
    numbers = sum(p.numel() for p in state.model.parameters())
    count = min(SNAPSHOTS, len(before), budget // (numbers // 2)) if asked is None else asked
    read = inputs_of(state.model, state.tokenizer, prompt)
    for some in range(min(count, len(before)), 0, -1):
        past = [runs.train_state(source.id, step) for step in spread(before, some)]
        packed = packed_snapshots(state, past, *read)
        if asked is not None or sum(map(len, packed.steps.values())) <= budget:
            return packed
    return None


def _request(
    run: str, prompt: str, target: str | None, at_step: int | None, backward: bool | None = None
) -> schemas.TraceRequest:
    return schemas.TraceRequest.model_construct(  # a file is not bound by the API's limits
        run=run, prompt=prompt, target=target, at_step=at_step, backward=backward
    )


def check_size(state: TrainState, prompt: str) -> None:
    """Refuse a page whose weights and forward pass alone are more than PAGE_BYTES."""
    tokens, more = inputs_of(state.model, state.tokenizer, prompt)
    weights = sum(p.nbytes for p in state.model.parameters())
    size = weights + forward_bytes(state.model, tokens, more)
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
    return schemas.PackedTrace(
        about=about,
        table=packing.pack(table),
        values=packing.pack(values),
    )


def recorded_snapshots(
    runs: Runs, run: str, prompt: str, target: str | None, budget_bytes: int
) -> list[schemas.PackedTrace]:
    """The forward pass after some steps of a run's training, as many as fit into the budget."""
    source = runs[run]
    steps = source.snapshots

    def traces(count: int) -> Iterator[schemas.PackedTrace]:
        for step in spread(steps, count):
            state = runs.train_state(run, step)
            request = _request(run, prompt, target, step, backward=False)
            yield packed(LiveTrace(state, request))

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
