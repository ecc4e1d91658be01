"""What the endpoints that compute answer with: each from a request to a model of `schemas`."""

from __future__ import annotations

import math
from dataclasses import asdict
from itertools import pairwise
from weakref import WeakKeyDictionary

import torch
from torch.nn import Module

from glassformer.lab import changes
from glassformer.lab.biography import Followed, Point, parts_of, stretches
from glassformer.lab.embeddings import analogy, flattened, nearest
from glassformer.lab.logit_attribution import attribute
from glassformer.lab.logit_lens import guesses_at
from glassformer.lab.numbers import BINS, counted
from glassformer.server import schemas
from glassformer.server.errors import ApiError
from glassformer.server.parts import whole_value
from glassformer.server.runnable import packed_model
from glassformer.server.runs import Runs
from glassformer.server.traces import LiveTrace, TraceStore
from glassformer.text.load import load_tokenizer
from glassformer.text.merges import Pair
from glassformer.text.tokenizer import Tokenizer
from glassformer.trace import Address, Trace
from glassformer.trace.cancel import CancelCheck
from glassformer.trace.values_file import raw_bytes
from glassformer.training.train_state import inputs_of

BATCH_BLOCKS = 8  # of the batch of the update that moved a number most
TEXT_CHARACTERS = 2_000  # a text's merges take its square to write out
PICTURE_WORK = 2e11  # products, some 20 seconds: GPT-2's largest model takes 1.3e11


def open_trace(
    runs: Runs, traces: TraceStore, request: schemas.TraceRequest, is_cancelled: CancelCheck
) -> LiveTrace:
    """A new live trace, which is not in the store yet; patches come from what is."""
    state = runs.train_state(request.run, request.at_step)
    patches = {
        address: traces[patch.trace].result.trace[patch.address]
        for address, patch in request.edits.items()
        if isinstance(patch, schemas.Patch)
    }
    return LiveTrace(state, request, patches, is_cancelled)


_packed: WeakKeyDictionary[Module, schemas.PackedModel | None] = WeakKeyDictionary()


def model_for_page(runs: Runs, run: str) -> schemas.PackedModel | None:
    """What a page runs a run's model from, packed once; None where the server has to run it."""
    if runs[run].steps_left:
        return None  # its weights are about to change
    state = runs.train_state(run)
    if state.model not in _packed:
        _packed[state.model] = packed_model(state)
    return _packed[state.model]


def difference(trace: Trace, address: str) -> schemas.Difference:
    """The finite difference that checks a gradient."""
    explanation = trace.explain(address, check=True)
    checked = explanation.difference
    assert checked is not None, "it was asked for"
    return schemas.Difference(
        value=checked.value, error=checked.error, step=checked.step, gradient=explanation.value
    )


def counts(trace: Trace, address: str) -> schemas.Counts:
    """The numbers of one value, counted."""
    result = counted(whole_value(trace, address))
    edges = [(k - BINS / 2) * result.width for k in range(BINS + 1)]
    return schemas.Counts(
        mean=result.mean,
        spread=result.spread,
        largest=result.largest,
        finite=result.finite,
        bins=[
            schemas.Bin(from_=start, to=stop, count=count)
            for (start, stop), count in zip(pairwise(edges), result.counts, strict=True)
        ],
    )


def attribution(live: LiveTrace, token: int, pos: int) -> schemas.Attribution:
    """A token's logit as the sum of what each part wrote."""
    result = attribute(live.model.config, live.result.trace, token, pos)
    return schemas.Attribution(
        token=token,
        pos=pos,
        shares=[schemas.Share(**asdict(share)) for share in result.shares],
        total=result.total,
        logit=result.logit,
        address=result.address,
    )


def guesses(live: LiveTrace, pos: int) -> schemas.EarlyGuesses:
    """What the model would say after one token at every point of the stream."""
    n = len(live.about.ids)
    if pos >= n:
        raise ApiError("invalid", f"there is no position {pos}; they go from 0 to {n - 1}")
    result = guesses_at(live.model, live.result.trace, pos)
    return schemas.EarlyGuesses(
        guesses=[
            schemas.EarlyGuess(point=point, token=guess.token, prob=guess.prob)
            for point, guess in result.items()
        ]
    )


def change(before: Trace, after: Trace, address: str) -> schemas.Change:
    """How far one value moved from one trace to another."""
    for trace in (before, after):
        whole_value(trace, address)
    result = changes.change(before, after, address)
    numbers = {"largest": result.largest, "relative": result.relative}
    finite = {name: x if math.isfinite(x) else None for name, x in numbers.items()}
    return schemas.Change(**{**asdict(result), **finite})


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
    plane = flattened(table)
    shares = torch.tensor(plane.shares, dtype=torch.float64)
    return raw_bytes(torch.cat([shares, plane.x, plane.y])).tobytes()


def tokenized(tokenizer: Tokenizer, text: str) -> schemas.TokenizedText:
    """Every step from the text to its ids."""
    if len(text) > TEXT_CHARACTERS:
        raise ApiError(
            "too_long",
            f"the text has {len(text):,} characters; its merges are shown for up to"
            f" {TEXT_CHARACTERS:,}, so shorten it",
        )
    trace = tokenizer.trace(text)
    return schemas.TokenizedText(
        text=text,
        steps=[
            schemas.TextStep(
                op=step.op,
                word=step.word,
                pieces=list(step.pieces),
                merge=step.merge and _pair(step.merge),
                considered=[_pair(pair) for pair in step.considered],
                ids=list(step.ids),
            )
            for step in trace.steps
        ],
        tokens=[
            schemas.Token(
                id=token,
                token=tokenizer.token(token),
                bytes=list(tokenizer.token_bytes(token)),
                text=part,
            )
            for token, part in zip(trace.ids, trace.tokens, strict=True)
        ],
    )


def _pair(pair: Pair) -> schemas.Pair:
    return schemas.Pair(left=pair.left, right=pair.right, rank=pair.rank)


def biography(
    runs: Runs, request: schemas.BiographyRequest, is_cancelled: CancelCheck
) -> schemas.Biography:
    """One number's saved values, and one stretch between them made again."""
    source = runs[request.run]
    if source.folder is None or source.kind != "run":
        raise ApiError("invalid", f"{source.name!r} was not trained here, so it has no past")
    tokenizer = load_tokenizer(source.folder)
    model = runs.train_state(request.run).model
    read = None if request.prompt is None else inputs_of(model, tokenizer, request.prompt)
    ids, more = read or (None, {})
    followed = Followed(source.folder, Address.parse(request.address), ids, more)
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
    causal = model.config.causal
    texts = [text for batch in turn.batches for text in parts_of(batch, tokenizer, causal)]
    before, after = turn.before.item(), turn.after.item()
    return schemas.Biography(
        address=str(followed.where),
        points=[schemas.Point(step=point.step, value=point.value.item()) for point in points],
        moved=schemas.Moved(
            from_=before,
            to=after,
            step=turn.step,
            change=after - before,
            batch=[
                [schemas.Part(text=part.text, asked=part.asked) for part in text]
                for text in texts[:BATCH_BLOCKS]
            ],
        ),
        since=start,
        until=end,
        others=[first for first, _ in others],
    )


def neighbors(runs: Runs, request: schemas.NeighborsRequest) -> schemas.Neighbors:
    """The tokens nearest to one, or to token - minus + plus."""
    state = runs.train_state(request.run)
    tokenizer = state.tokenizer
    for token in (request.token, request.minus, request.plus):
        if token is not None and token >= tokenizer.vocab_size:
            raise ApiError(
                "invalid", f"there is no token {token}; ids are 0 to {tokenizer.vocab_size - 1}"
            )
    W_E = state.model.embed.W_E[: tokenizer.vocab_size]
    if request.minus is not None and request.plus is not None:
        nearby = analogy(W_E, request.token, request.minus, request.plus, request.count)
    elif request.minus is None and request.plus is None:
        nearby = nearest(W_E, request.token, request.count)
    else:
        raise ApiError("invalid", "an analogy takes both minus and plus; give both or neither")
    return schemas.Neighbors(
        rows=[
            schemas.Neighbor(
                id=one.token,
                token=tokenizer.token(one.token),
                cosine=one.cosine,
                dot=one.dot,
                length=one.length,
            )
            for one in nearby
        ]
    )
