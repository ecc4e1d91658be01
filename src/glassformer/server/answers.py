"""What the endpoints that compute answer with: each from a request to the contract's JSON."""

from __future__ import annotations

import math
from dataclasses import asdict
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from glassformer.generation.generate import check_prompt
from glassformer.generation.sampling import Sampling
from glassformer.lab.biography import Followed, Point, stretches
from glassformer.lab.changes import change
from glassformer.lab.embeddings import Neighbor, analogy, flattened, nearest
from glassformer.lab.numbers import BINS, counted
from glassformer.server import schemas
from glassformer.server.errors import ApiError
from glassformer.server.parts import whole_value
from glassformer.server.record import SamplingOptions, TraceOptions
from glassformer.server.runs import Runs
from glassformer.server.schemas import (
    BiographyRequest,
    NeighboursRequest,
    Patch,
    TokenizeRequest,
    TraceRequest,
)
from glassformer.server.traces import LiveTrace, TraceOrigin, TraceStore
from glassformer.text.merges import Pair
from glassformer.text.tokenizer import Tokenizer
from glassformer.trace import Address, Trace
from glassformer.trace.trace import CancelCheck
from glassformer.trace.values_file import raw_bytes

BATCH_BLOCKS = 8  # of the batch of the update that moved a number most
TEXT_CHARACTERS = 2_000  # a text's merges take its square to write out
PICTURE_WORK = 2e11  # products, some 20 seconds: GPT-2's largest model takes 1.3e11


def open_trace(
    runs: Runs, traces: TraceStore, request: TraceRequest, is_cancelled: CancelCheck
) -> LiveTrace:
    """A new live trace, which is not in the store yet; patches come from what is."""
    learner = runs.learner(request.run, request.at_step)
    edits: dict[str, float | Tensor] = {}
    for address, new in request.edits.items():
        where = str(Address.parse(address))
        if isinstance(new, Patch):
            edits[where] = traces[new.trace].result.trace[new.address]
        else:
            edits[where] = new
    options = TraceOptions(
        prompt=request.prompt,
        target=request.target,
        backward=request.backward,
        optimizer=request.optimizer,
        lens=request.lens,
        edits=edits,
        sampling=request.sampling and _sampling(request.sampling),
        added=tuple(request.added),
        float64=request.float64,
    )
    written = request.model_dump()["edits"]
    origin = TraceOrigin(request.run, request.at_step, written)
    return LiveTrace(learner, options, origin, is_cancelled)


def _sampling(options: schemas.Sampling) -> SamplingOptions:
    settings = options.model_dump()
    seed, index = settings.pop("seed"), settings.pop("index")
    return SamplingOptions(Sampling(**settings), seed, index)


def difference(trace: LiveTrace, address: str) -> dict[str, float]:
    """The finite difference that checks a gradient."""
    found = trace.result.trace.explain(address, check=True)
    assert found.difference is not None, "it was asked for"
    checked = found.difference
    return {
        "value": checked.value,
        "error": checked.error,
        "step": checked.step,
        "gradient": found.value,
    }


def counts(trace: Trace, address: str) -> dict[str, Any]:
    """The numbers of one value, counted."""
    found = counted(whole_value(trace, address))
    edges = [(k - BINS / 2) * found.width for k in range(BINS + 1)]
    return {
        "mean": found.mean,
        "spread": found.spread,
        "largest": found.largest,
        "finite": found.finite,
        "bins": [
            {"from": start, "to": stop, "count": count}
            for (start, stop), count in zip(pairwise(edges), found.counts, strict=True)
        ],
    }


def moved(before: Trace, after: Trace, address: str) -> dict[str, Any]:
    """How far one value moved from one trace to another."""
    for trace in (before, after):
        whole_value(trace, address)
    found = change(before, after, address)

    def finite(number: float) -> float | None:
        return number if math.isfinite(number) else None

    return {
        **asdict(found),
        "largest": finite(found.largest),
        "relative": finite(found.relative),
    }


def picture(trace: Trace, address: str, rows: int) -> bytes:
    """The first rows of a table in two dimensions: both shares, every x, every y, as float64."""
    table = whole_value(trace, address)
    if table.ndim != 2:
        raise ApiError("invalid", f"{address} is no table: it has {table.ndim} axes, a table two")
    table = table[:rows]
    work = table.numel() * table.shape[-1]
    if work > PICTURE_WORK:
        raise ApiError(
            "over_budget",
            f"the covariance of this table takes {work:.2g} products, and the server makes at most"
            f" {PICTURE_WORK:.2g}; ask for fewer rows",
        )
    found = flattened(table)
    shares = torch.tensor(found.shares, dtype=torch.float64)
    return raw_bytes(torch.cat([shares, found.x, found.y])).tobytes()


def tokenized(tokenizer: Tokenizer, request: TokenizeRequest) -> dict[str, Any]:
    """TokenizedText: every step from the text to its ids."""
    if len(request.text) > TEXT_CHARACTERS:
        raise ApiError(
            "too_long",
            f"the text has {len(request.text):,} characters; its merges are shown for up to"
            f" {TEXT_CHARACTERS:,}, so shorten it",
        )
    found = tokenizer.trace(request.text)

    def pair(pair: Pair) -> dict[str, Any]:
        return {"left": pair.left, "right": pair.right, "rank": pair.rank}

    return {
        "text": request.text,
        "steps": [
            {
                "op": step.op,
                "word": step.word,
                "pieces": list(step.pieces),
                "merge": step.merge and pair(step.merge),
                "considered": [pair(other) for other in step.considered],
                "ids": list(step.ids),
            }
            for step in found.steps
        ],
        "tokens": [
            {
                "id": token,
                "token": tokenizer.token(token),
                "bytes": list(tokenizer.token_bytes(token)),
                "text": text,
            }
            for token, text in zip(found.ids, found.tokens, strict=True)
        ],
    }


def lived(runs: Runs, request: BiographyRequest, is_cancelled: CancelCheck) -> dict[str, Any]:
    """Biography of one number: its saved values, and one stretch between them made again."""
    source = runs[request.run]
    if source.folder is None or source.kind != "run":
        raise ApiError("invalid", f"{source.name!r} was not trained here, so it has no past")
    tokenizer = Tokenizer.load(source.folder)
    ids = None
    if request.prompt is not None:
        tokens = tokenizer.encode_prompt(request.prompt)
        check_prompt(runs.learner(request.run).model, tokens)
        ids = torch.tensor([tokens])
    followed = Followed(source.folder, Address.parse(request.address), ids)
    if followed.axes:
        axes = ", ".join(followed.axes)
        raise ApiError("invalid", f"{followed.where} is not one number; also give {axes}")
    points: list[Point] = []
    if request.since is None:
        points = followed.points()
        (start, end), *others = stretches(points)
    else:
        start, others = request.since, []
        if start not in followed.steps[:-1]:
            raise ApiError("invalid", f"{start} is no saved step that another one follows")
        end = followed.steps[followed.steps.index(start) + 1]
    _, turn = followed.replay(start, end, is_cancelled)
    texts = [tokenizer.decode(row) for batch in turn.batches for row in batch.ids.tolist()]
    before, after = turn.before.item(), turn.after.item()
    return {
        "address": str(followed.where),
        "points": [{"step": point.step, "value": point.value.item()} for point in points],
        "moved": {
            "from": before,
            "to": after,
            "step": turn.step,
            "change": after - before,
            "batch": texts[:BATCH_BLOCKS],
        },
        "since": start,
        "until": end,
        "others": [first for first, _ in others],
    }


def near(runs: Runs, request: NeighboursRequest) -> dict[str, Any]:
    """The tokens nearest to one, or to token - minus + plus."""
    learner = runs.learner(request.run)
    tokenizer = learner.tokenizer
    for token in (request.token, request.minus, request.plus):
        if token is not None and token >= tokenizer.vocab_size:
            raise ApiError(
                "invalid", f"there is no token {token}; ids are 0 to {tokenizer.vocab_size - 1}"
            )
    W_E = learner.model.embed.W_E[: tokenizer.vocab_size]
    found: list[Neighbor]
    if request.minus is not None and request.plus is not None:
        found = analogy(W_E, request.token, request.minus, request.plus, request.count)
    elif request.minus is None and request.plus is None:
        found = nearest(W_E, request.token, request.count)
    else:
        raise ApiError("invalid", "an analogy takes both minus and plus; give both or neither")
    return {
        "rows": [
            {
                "id": n.token,
                "token": tokenizer.token(n.token),
                "cosine": n.cosine,
                "dot": n.dot,
                "length": n.length,
            }
            for n in found
        ]
    }
