"""The application: the page, and the API it reads from."""

import asyncio
import importlib.metadata
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Annotated, Any

from fastapi import Depends, FastAPI, Header, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, JSONResponse
from fastapi.sse import EventSourceResponse, ServerSentEvent
from starlette.exceptions import HTTPException

from glassformer.errors import GlassformerError
from glassformer.server import answers, schemas
from glassformer.server.errors import RETRY_SECONDS, STATUS, body, code_of
from glassformer.server.guard import Guard
from glassformer.server.page import SERVED, fill, served_policy, template
from glassformer.server.parts import read_part
from glassformer.server.ranges import parse_range
from glassformer.server.runs import Runs
from glassformer.server.traces import TraceStore
from glassformer.server.trainings import Training, Trainings
from glassformer.server.work import Workers

ERRORS = {
    400: "The request can't be read.",
    401: "The server asks for its token.",
    403: "Another host or site than this server's own.",
    404: "No such run, trace or training, or no longer.",
    409: "A training is running already.",
    413: "The body is too long.",
    415: "The body is not JSON.",
    416: "Outside the file, or too many bytes.",
    431: "The headers are too long.",
    422: "What was asked can't be done: why, and what helps.",
    503: "Too much to do already, or it took too long.",
}

UNREADABLE = ("json_invalid", "finite_number", "int_parsing_size")
"""What is wrong with a body, or a number, that is not even well formed: 400 and not 422."""

RECORDINGS = 64
"""How much long work may wait: one request of each of 64 pages; more are told to come again."""

READS = 64
"""How many reads of recorded traces may wait; a page asks for some tiles at a time."""

ALWAYS = (400, 401, 403, 404, 413, 415, 422, 431, 503)


def refusals(*more: int, json: bool = True) -> dict[int | str, dict[str, Any]]:
    """How an endpoint may refuse, for its description; json: whether it answers in JSON itself."""
    statuses = sorted({*ALWAYS, *more})
    reference = {"schema": {"$ref": "#/components/schemas/Error"}}
    how = {"model": schemas.Error} if json else {"content": {"application/json": reference}}
    return {status: {"description": ERRORS[status], **how} for status in statuses}


def binary(what: str, status: int = 200) -> dict[int | str, dict[str, Any]]:
    """How an endpoint answers whose answer is a row of bytes."""
    content = {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}
    refused = refusals(416, json=False)
    return {**refused, status: {"description": what, "content": content}}


def create_app(
    runs: Runs,
    *,
    host: str = "127.0.0.1",
    token: str | None = None,
    folder: Path = Path("runs"),
    workers: Workers | None = None,
    trace_bytes: int | None = None,
) -> FastAPI:
    """The application that serves `runs`; see `Guard` for host and token.

    folder: where new runs go that are started from the page. trace_bytes: see `TraceStore`.
    """
    workers = workers or Workers(queue=RECORDINGS)
    readers = Workers(queue=READS)  # of what is recorded: never behind a recording
    traces = TraceStore(trace_bytes)
    trainings = Trainings(runs, folder)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        workers.close()
        readers.close()
        await asyncio.to_thread(trainings.close)

    app = FastAPI(
        title="Glassformer",
        version=importlib.metadata.version("glassformer"),
        description="Traces of a transformer: every number, and where it came from.",
        docs_url=None,  # they would load scripts from elsewhere
        redoc_url=None,
        lifespan=lifespan,
    )
    app.state.leave = trainings.leave
    app.add_middleware(Guard, host=host, token=token)
    _answer_errors(app)

    @app.get("/", response_class=HTMLResponse, responses=refusals(json=False))
    def page() -> HTMLResponse:
        """The page."""
        html = template()
        headers = {"content-security-policy": served_policy(html)}
        return HTMLResponse(fill(html, SERVED), headers=headers)

    @app.get("/api/runs", response_model=schemas.RunList, responses=refusals())
    def list_runs() -> Any:
        """Every run that is served."""
        return {"runs": runs.summaries()}

    @app.get("/api/runs/{run}", response_model=schemas.RunInfo, responses=refusals())
    async def run_info(run: str) -> Any:
        """One run: its configuration, its weights' shapes, its snapshots."""
        return await workers.run(lambda: runs[run].info(runs.learner(run).tokenizer))

    @app.get("/api/runs/{run}/metrics", response_model=schemas.Metrics, responses=refusals())
    def metrics(run: str) -> Any:
        """The loss of every step, and the floor that no model can beat, where it is known."""
        return runs[run].metrics()

    @app.post("/api/traces", response_model=schemas.TraceAbout, responses=refusals())
    async def open_trace(request: schemas.TraceRequest) -> Any:
        """Record a prompt; its values are then read from the trace's two files."""
        trace = await workers.run_until_cancelled(
            partial(answers.open_trace, runs, traces, request)
        )
        traces.add(trace)  # here: what nobody waits for any more is not held
        return trace.about

    @app.get("/api/traces/{trace}/trace.json", responses=refusals())
    async def step_table(trace: str, accept_encoding: Annotated[str, Header()] = "") -> Response:
        """The step table, as documented in the reference of the trace format."""
        found = traces[trace]
        headers = {"vary": "accept-encoding"}
        if "gzip" not in accept_encoding:
            content = await readers.run(lambda: found.table)
        else:
            content = await readers.run(lambda: found.table_gzip)
            headers["content-encoding"] = "gzip"
        return Response(content, media_type="application/json", headers=headers)

    @app.get(
        "/api/traces/{trace}/values",
        response_class=Response,
        status_code=206,
        responses=binary("The bytes asked for.", 206),
    )
    async def values(
        trace: str,
        asked: Annotated[
            str | None,
            Header(alias="range", description="One range of at most 64 KiB: bytes=0-65535."),
        ] = None,
    ) -> Response:
        """A part of the values' safetensors file."""
        file = traces[trace].values
        begin, end = parse_range(asked, file.size)
        content = await readers.run(partial(file.read, begin, end))
        headers = {
            "content-range": f"bytes {begin}-{end - 1}/{file.size}",
            "accept-ranges": "bytes",
        }
        return Response(content, 206, headers, "application/octet-stream")

    @app.get(
        "/api/traces/{trace}/part",
        response_class=Response,
        responses=binary("The elements, row-major, in the value's dtype, little-endian."),
    )
    async def part(
        trace: str,
        address: schemas.Path,
        begin: Annotated[schemas.Numbers, Query(description="First indices; zeros.")] = "",
        end: Annotated[schemas.Numbers, Query(description="Past the last; the shape.")] = "",
        block: Annotated[schemas.Numbers, Query(description="Elements along each axis; 1.")] = "",
    ) -> Response:
        """A box of a value's elements, at most 64 KiB; of every block of them the largest.

        begin, end and block have a number for each axis, with commas between. A block stands for
        its number of largest magnitude: a nan where there is one, -inf only where all are.
        """
        found = traces[trace].result.trace
        content = await readers.run(partial(read_part, found, address, begin, end, block))
        return Response(content, media_type="application/octet-stream")

    @app.get("/api/traces/{trace}/counts", response_model=schemas.Counts, responses=refusals())
    async def counts(trace: str, address: schemas.Path) -> Any:
        """The numbers of a value, counted in float64: mean, spread, the largest, a histogram."""
        return await workers.run(partial(answers.counts, traces[trace].result.trace, address))

    @app.get("/api/traces/{trace}/change", response_model=schemas.Change, responses=refusals())
    async def change(
        trace: str,
        address: schemas.Path,
        other: Annotated[str, Query(max_length=100, description="The trace after the change.")],
    ) -> Any:
        """How far a value moved from this trace to another one."""
        before, after = (traces[one].result.trace for one in (trace, other))
        return await readers.run(partial(answers.moved, before, after, address))

    @app.get(
        "/api/traces/{trace}/picture",
        response_class=Response,
        responses=binary("Little-endian float64: two shares, every row's x, every row's y."),
    )
    async def picture(
        trace: str,
        address: schemas.Path,
        rows: Annotated[int, Query(ge=1, le=2**31, description="The first so many.")] = 2**31,
    ) -> Response:
        """A table's rows along the two directions in which they differ most, in float64.

        (row - mean) @ direction, with the eigenvectors of largest eigenvalue of the covariance of
        the rows; the shares are those of the variance that each direction holds.
        """
        found = traces[trace].result.trace
        content = await workers.run(partial(answers.picture, found, address, rows))
        return Response(content, media_type="application/octet-stream")

    @app.get(
        "/api/traces/{trace}/difference",
        response_model=schemas.Difference,
        responses=refusals(),
    )
    async def difference(trace: str, address: Annotated[str, Query(max_length=500)]) -> Any:
        """A gradient checked by nudging the number: a central difference of the loss, float64."""
        return await workers.run(partial(answers.difference, traces[trace], address))

    @app.post("/api/tokenize", response_model=schemas.TokenizedText, responses=refusals())
    async def tokenize(request: schemas.TokenizeRequest) -> Any:
        """How a text becomes tokens: split, merge by merge, look up."""

        def work() -> Any:
            return answers.tokenized(runs.learner(request.run).tokenizer, request)

        return await workers.run(work)

    @app.post("/api/biography", response_model=schemas.Biography, responses=refusals())
    async def biography(request: schemas.BiographyRequest) -> Any:
        """One number through training, and the update that moved it most."""
        return await workers.run_until_cancelled(partial(answers.lived, runs, request))

    @app.post("/api/neighbours", response_model=schemas.Neighbours, responses=refusals())
    async def neighbours(request: schemas.NeighboursRequest) -> Any:
        """The tokens whose embeddings point most nearly the same way."""
        return await workers.run(partial(answers.near, runs, request))

    _add_trainings(app, trainings)
    return app


def _add_trainings(app: FastAPI, trainings: Trainings) -> None:
    """The endpoints that train."""

    def named(training: Training) -> dict[str, str]:
        return {"id": training.source.id, "run": training.source.id}

    def found(training: str) -> Training:
        return trainings[training]

    @app.post("/api/trainings", response_model=schemas.Training, responses=refusals(409))
    def start(request: schemas.TrainingRequest) -> Any:
        """Train a small run from a text, in a process of its own; one at a time."""
        return named(trainings.start(request))

    @app.get(
        "/api/trainings/{training}/events",
        response_class=EventSourceResponse,
        responses=refusals(json=False),
    )
    async def events(training: Annotated[Training, Depends(found)]) -> AsyncIterator[Any]:
        """What happens, from the start: progress, sample; done or error at the end."""
        async for event, data in training.events():
            yield ServerSentEvent(event=event, data=data)

    @app.post(
        "/api/trainings/{training}/stop",
        response_model=schemas.Training,
        responses=refusals(),
    )
    def stop(training: Annotated[Training, Depends(found)]) -> Any:
        """Ask a training to save and end; its events say when it has."""
        training.stop()
        return named(training)

    @app.post(
        "/api/trainings/{training}/resume",
        response_model=schemas.Training,
        responses=refusals(409),
    )
    def resume(training: str) -> Any:
        """Go on with a training that was stopped, from where it saved."""
        return named(trainings.resume(training))


def _answer_errors(app: FastAPI) -> None:
    """Every error leaves as a code and one line."""

    @app.exception_handler(GlassformerError)
    def mendable(_: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, GlassformerError)
        code = code_of(error)
        later = {"retry-after": str(RETRY_SECONDS[code])} if code in RETRY_SECONDS else None
        return JSONResponse(body(code, str(error)), STATUS[code], later)

    @app.exception_handler(OSError)
    def unreadable(_: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, OSError)
        gone = isinstance(error, FileNotFoundError)
        code = "unknown_run" if gone else "invalid"
        why = "it was moved or deleted meanwhile; put it back" if gone else "mend that"
        return JSONResponse(
            body(code, f"a file of the run can't be read: {error}; {why}"), STATUS[code]
        )

    @app.exception_handler(RequestValidationError)
    def invalid(_: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, RequestValidationError)
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        broken = first["type"] in UNREADABLE
        code = "bad_request" if broken else "invalid"
        return JSONResponse(body(code, f"{place}: {first['msg']}"), STATUS[code])

    @app.exception_handler(HTTPException)
    def refused(_: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, HTTPException)
        codes = {404: "not_found", 405: "method_not_allowed", 400: "bad_request"}
        code = codes.get(error.status_code, "invalid")
        return JSONResponse(body(code, str(error.detail)), error.status_code, error.headers)
