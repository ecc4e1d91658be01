"""Traces: recorded on request, then read by range, part and picture."""

from __future__ import annotations

from functools import partial
from typing import Annotated

from fastapi import APIRouter, Header, Query, Response

from glassformer.server import answers, schemas
from glassformer.server.api.services import NamedTrace, Shared
from glassformer.server.parts import read_part
from glassformer.server.ranges import parse_range
from glassformer.server.responses import binary, refusals

BYTES = "application/octet-stream"

router = APIRouter(prefix="/api/traces")


@router.post("", responses=refusals())
async def open_trace(request: schemas.TraceRequest, shared: Shared) -> schemas.TraceAbout:
    """Record a prompt; its values are then read from the trace's two files."""
    work = partial(answers.open_trace, shared.runs, shared.traces, request)
    trace = await shared.workers.run_until_cancelled(work)
    shared.traces.add(trace)  # here: what nobody waits for any more is not held
    return trace.about


@router.get("/{trace}/trace.json", responses=refusals())
async def node_table(
    trace: NamedTrace, shared: Shared, accept_encoding: Annotated[str, Header()] = ""
) -> Response:
    """The step table, as documented in the reference of the trace format."""
    headers = {"vary": "accept-encoding"}
    if "gzip" not in accept_encoding:
        content = await shared.readers.run(lambda: trace.table)
    else:
        content = await shared.readers.run(lambda: trace.table_gzip)
        headers["content-encoding"] = "gzip"
    return Response(content, media_type="application/json", headers=headers)


@router.get(
    "/{trace}/values",
    response_class=Response,
    status_code=206,
    responses=binary("The bytes asked for.", 206),
)
async def values(
    trace: NamedTrace,
    shared: Shared,
    byte_range: Annotated[
        str | None,
        Header(alias="range", description="One range of at most 1 MiB: bytes=0-65535."),
    ] = None,
) -> Response:
    """A part of the values' safetensors file."""
    file = trace.values
    begin, end = parse_range(byte_range, file.size)
    content = await shared.readers.run(partial(file.read, begin, end))
    headers = {
        "content-range": f"bytes {begin}-{end - 1}/{file.size}",
        "accept-ranges": "bytes",
    }
    return Response(content, 206, headers, BYTES)


@router.get(
    "/{trace}/part",
    response_class=Response,
    responses=binary("The elements, row-major, in the value's dtype, little-endian."),
)
async def part(
    trace: NamedTrace,
    shared: Shared,
    address: schemas.AddressText,
    begin: Annotated[schemas.Numbers, Query(description="First indices; zeros.")] = "",
    end: Annotated[schemas.Numbers, Query(description="Past the last; the shape.")] = "",
    block: Annotated[schemas.Numbers, Query(description="Elements along each axis; 1.")] = "",
) -> Response:
    """A box of a value's elements, at most 64 KiB; of every block of them the largest.

    begin, end and block have a number for each axis, with commas between. A block stands for
    its number of largest magnitude: a nan where there is one, -inf only where all are.
    """
    work = partial(read_part, trace.result.trace, address, begin, end, block)
    return Response(await shared.readers.run(work), media_type=BYTES)


@router.get("/{trace}/counts", responses=refusals())
async def counts(trace: NamedTrace, shared: Shared, address: schemas.AddressText) -> schemas.Counts:
    """The numbers of a value, counted in float64: mean, spread, the largest, a histogram."""
    return await shared.readers.run(partial(answers.counts, trace.result.trace, address))


@router.get("/{trace}/attribution", responses=refusals())
async def attribution(
    trace: NamedTrace,
    shared: Shared,
    token: Annotated[int, Query(ge=0, le=2**31, description="Its id.")],
    pos: Annotated[int, Query(ge=0, le=2**31, description="After which token.")],
) -> schemas.Attribution:
    """A token's logit as the sum of what each part of the model wrote towards it."""
    return await shared.readers.run(partial(answers.attribution, trace, token, pos))


@router.get("/{trace}/guesses", responses=refusals())
async def guesses(
    trace: NamedTrace,
    shared: Shared,
    pos: Annotated[int, Query(ge=0, le=2**31, description="After which token.")],
) -> schemas.EarlyGuesses:
    """What the model would say if it stopped at a point of the stream, for every point."""
    return await shared.workers.run(partial(answers.guesses, trace, pos))


@router.get("/{trace}/change", responses=refusals())
async def change(
    trace: NamedTrace,
    shared: Shared,
    address: schemas.AddressText,
    other: Annotated[str, Query(max_length=100, description="The trace after the change.")],
) -> schemas.Change:
    """How far a value moved from this trace to another one."""
    before, after = trace.result.trace, shared.traces[other].result.trace
    return await shared.readers.run(partial(answers.change, before, after, address))


@router.get(
    "/{trace}/picture",
    response_class=Response,
    responses=binary("Little-endian float64: two shares, every row's x, every row's y."),
)
async def picture(
    trace: NamedTrace,
    shared: Shared,
    address: schemas.AddressText,
    rows: Annotated[int, Query(ge=1, le=2**31, description="The first so many.")] = 2**31,
) -> Response:
    """A table's rows along the two directions in which they differ most, in float64.

    (row - mean) @ direction, with the eigenvectors of largest eigenvalue of the covariance of
    the rows; the shares are those of the variance that each direction holds.
    """
    work = partial(answers.picture, trace.result.trace, address, rows)
    return Response(await shared.workers.run(work), media_type=BYTES)


@router.get("/{trace}/difference", responses=refusals())
async def difference(
    trace: NamedTrace, shared: Shared, address: schemas.AddressText
) -> schemas.Difference:
    """A gradient checked by nudging the number: a central difference of the loss, float64."""
    return await shared.workers.run(partial(answers.difference, trace.result.trace, address))
