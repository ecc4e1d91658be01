"""Every error of an endpoint leaves as a status, a code and one line."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from glassformer.errors import GlassformerError
from glassformer.server.errors import HEADERS, STATUS, body, code_of

HTTP_CODES = {400: "bad_request", 404: "not_found", 405: "method_not_allowed"}
"""What the framework refuses by itself: its status to our code."""

FAULTS = {
    "missing": "it is missing; give it",
    "too_short": "it is empty; give at least one",
    "string_too_short": "it is empty; give at least one character",
    "model_attributes_type": "give an object with fields",
}
"""The validator's faults that its own words say for programmers."""

LONGEST_NAME = 100  # characters


def answer_errors(app: FastAPI) -> None:
    """Make the application answer its errors so."""

    @app.exception_handler(GlassformerError)
    async def mendable(_: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, GlassformerError)
        return _answer(code_of(error), str(error))

    @app.exception_handler(OSError)
    async def unreadable(_: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, OSError)
        is_missing = isinstance(error, FileNotFoundError)
        fix = "it was moved or deleted meanwhile; put it back" if is_missing else "mend that"
        code = "unknown_run" if is_missing else "invalid"
        return _answer(code, f"a file of the run can't be read: {error}; {fix}")

    @app.exception_handler(RequestValidationError)
    async def bad_field(_: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, RequestValidationError)
        first = error.errors()[0]
        field = ".".join(shorten(str(part)) for part in first["loc"])
        if first["type"] == "json_invalid":
            return _answer("bad_request", no_json(first))
        return _answer("bad_request", f"{field}: {fault(first)}")

    @app.exception_handler(HTTPException)
    async def refused(http: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, HTTPException)
        return refusal(http, error)


def fault(error: Mapping[str, Any]) -> str:
    """What is wrong with a field, of an error of the validator."""
    kind = error["type"]
    return FAULTS[kind] if kind in FAULTS else str(error["msg"])


def no_json(error: Mapping[str, Any]) -> str:
    """What is wrong with a body that can't be read, and where."""
    why, offset = error["ctx"]["error"], error["loc"][-1]
    return f"body: it is no JSON: {why.removesuffix(' at')} at character {offset}; mend it there"


def refusal(http: Request, error: HTTPException) -> JSONResponse:
    """What the framework refuses a request with, told as any other error."""
    code = HTTP_CODES.get(error.status_code, "invalid")
    return JSONResponse(body(code, _why(http, error)), error.status_code, error.headers)


def _why(http: Request, error: HTTPException) -> str:
    cause = error.__cause__
    if isinstance(cause, RecursionError):
        return "body: it is nested too deeply; send fewer levels"
    if isinstance(cause, ValueError):
        why, _, _ = str(cause).partition(";")
        return f"body: it is no JSON in UTF-8: {why}; mend it there"
    asked = f"there is no {http.method} {shorten(http.url.path)} here"
    if error.status_code == STATUS["method_not_allowed"]:
        return f"{asked}; it takes {(error.headers or {}).get('Allow', 'another method')}"
    paths = http.app.openapi()["paths"]
    near = [path for path in paths if _bare(path) == _bare(http.url.path)]
    fix = f"ask {near[0]}" if near else "/openapi.json and /v1/openapi.json list what there is"
    return f"{asked}; {fix}"


def _bare(path: str) -> str:
    """A path without what clients leave out or double as they join it to a server's address.

    >>> _bare("/v1/v1//completions/"), _bare("/completions")
    ('completions', 'completions')
    """
    return "/".join(part for part in path.split("/") if part not in ("", "v1"))


def shorten(name: str) -> str:
    """A name in an error; the names of edits are addresses that a request makes up.

    >>> shorten("sampling"), len(shorten("9" * 5000))
    ('sampling', 100)
    """
    return name if len(name) <= LONGEST_NAME else f"{name[: LONGEST_NAME - 3]}..."


def _answer(code: str, message: str) -> JSONResponse:
    return JSONResponse(body(code, message), STATUS[code], HEADERS.get(code))
