"""How an endpoint may answer beside its model, for the API's description."""

from __future__ import annotations

from typing import Any

from glassformer.server import schemas
from glassformer.server.errors import HEADERS, STATUS

Responses = dict[int | str, dict[str, Any]]

ERRORS = {
    400: "The request, or a field of it, can't be read.",
    401: "The server asks for its token.",
    403: "Another host or site than this server's own.",
    404: "No such run, trace or training, or no longer.",
    409: "A training is running already.",
    413: "The body is too long.",
    415: "The body is not JSON.",
    416: "Outside the file, or too many bytes.",
    422: "What was asked can't be done: why, and what helps.",
    431: "The headers are too long.",
    503: "Too much to do already, or it took too long.",
}

ANYWHERE = (400, 401, 403, 404, 413, 415, 422, 431, 503)


def refusals(*more: int, json: bool = True) -> Responses:
    """How an endpoint may refuse; json: whether it answers in JSON itself."""
    reference = {"schema": {"$ref": "#/components/schemas/Error"}}
    content = {"model": schemas.Error} if json else {"content": {"application/json": reference}}
    return {
        status: {"description": ERRORS[status], **content, **_headers(status)}
        for status in sorted({*ANYWHERE, *more})
    }


def binary(description: str, status: int = 200) -> Responses:
    """How an endpoint answers whose answer is a row of bytes."""
    content = {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}
    refused = refusals(416, json=False)
    return {**refused, status: {"description": description, "content": content}}


def _headers(status: int) -> dict[str, Any]:
    names = {name for code, fields in HEADERS.items() if STATUS[code] == status for name in fields}
    headers = {name: {"schema": {"type": "string"}} for name in sorted(names)}
    return {"headers": headers} if headers else {}
