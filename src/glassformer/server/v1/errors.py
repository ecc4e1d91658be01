"""Errors in the form that OpenAI's clients read: a message, a type, the field, a code."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from glassformer.errors import GlassformerError, did_you_mean
from glassformer.server.errors import HEADERS, STATUS, ApiError, body, code_of
from glassformer.server.handlers import fault, no_json, refusal, shorten
from glassformer.server.v1 import schemas

CODES = {"unknown_run": "model_not_found", "too_long": "context_length_exceeded"}
"""Our code to OpenAI's, where theirs says the same."""

STATUSES = {"busy": 429, "invalid": 400, "too_long": 400, "over_budget": 400}
"""Our code to the status that their clients expect; others are as everywhere."""

FORMS = {
    "prompt": "give a text, a list of token ids, or a list of either; no list may be empty",
    "stop": "give a text, or a list of texts; none of them may be empty",
}
"""What a field that may be of several kinds can be."""

KNOWN = {
    "/v1/completions": schemas.CompletionRequest.model_fields,
    "/v1/chat/completions": schemas.ChatRequest.model_fields,
    "/tokenize": schemas.TokenizeRequest.model_fields,
    "/detokenize": schemas.DetokenizeRequest.model_fields,
}
"""The fields that a request may have, by its address."""

KINDS = ("str", "int", "float", "bool")


WRONG_KIND = (
    "string_type",
    "string_too_short",
    "list_type",
    "too_short",
    "int_type",
    "int_from_float",
)
"""Errors of a value that is not of the kind asked for; one that is empty is of any kind."""


class FieldError(ApiError):
    """A field whose value can't be done."""

    def __init__(self, field: str, message: str, code: str = "bad_request") -> None:
        super().__init__(code, f"{field}: {message}")
        self.field = field


def _is_index(name: str) -> bool:
    """Whether a part of an error's place is a field or a number, and not a kind of value.

    >>> [name for name in ("messages", "0", "list[TextPart]", "str", "role") if _is_index(name)]
    ['messages', '0', 'role']
    """
    return name.isdigit() or (name.isidentifier() and name not in KINDS)


def _closest(errors: Sequence[Any]) -> Mapping[str, Any]:
    """Of a field that may be of several kinds the error of the kind that it is, else the first."""
    field = errors[0]["loc"][:2]
    same = (error for error in errors if error["loc"][:2] == field)
    return next((error for error in same if error["type"] not in WRONG_KIND), errors[0])


def error_body(error: GlassformerError) -> dict[str, dict[str, str | None]]:
    """The JSON of an error."""
    code, field = code_of(error), getattr(error, "field", None)
    return body(CODES.get(code, code), str(error), field)


def mendable(error: GlassformerError) -> JSONResponse:
    """The answer to what the client can mend."""
    code = code_of(error)
    status = STATUSES.get(code, STATUS[code])
    return JSONResponse(error_body(error), status, HEADERS.get(code))


def unreadable(error: OSError) -> JSONResponse:
    """The answer where a model's file can't be read."""
    message = f"a file of the model can't be read: {error}; mend that, or choose another model"
    return JSONResponse(body("model_not_found", message), 404)


def broken() -> JSONResponse:
    """The answer to a fault of ours."""
    return JSONResponse(body("broken", "the server failed; its log says where"), 500)


def answer_errors(app: FastAPI) -> None:
    """Make the application answer its errors so."""

    @app.exception_handler(GlassformerError)
    async def ours(_: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, GlassformerError)
        return mendable(error)

    @app.exception_handler(OSError)
    async def files(_: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, OSError)
        return unreadable(error)

    @app.exception_handler(RequestValidationError)
    async def bad_field(http: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, RequestValidationError)
        first = _closest(error.errors())
        # what stands between are the kinds of value that it could be
        names = [
            shorten(str(part)) for part in first["loc"] if part not in ("body", "query", "header")
        ]
        field = names[0] if names else None
        where = ".".join([*names[:1], *filter(_is_index, names[1:])])
        message = f"{where or 'body'}: {fault(first)}"
        if field in FORMS and first["type"] in WRONG_KIND:  # of the kinds it is none
            message = f"{field}: {FORMS[field]}"
        if first["type"] == "extra_forbidden" and len(names) == 1:
            near = did_you_mean(names[0], KNOWN.get(http.url.path, ()))
            message = f"{field} is not a field of this request here; leave it out.{near}"
        if first["type"] == "json_invalid":
            message, field = no_json(first), None
        if field in schemas.NOT_DONE:
            message = f"{field} is not supported; leave it out"
        return JSONResponse(body("bad_request", message, field), 400)

    @app.exception_handler(Exception)
    async def unforeseen(_: Request, error: Exception) -> JSONResponse:
        del error  # the server logs it
        return broken()

    @app.exception_handler(HTTPException)
    async def refused(http: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, HTTPException)
        return refusal(http, error)
