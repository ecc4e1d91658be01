"""What can go wrong with a request: a status, a short code and a line for whoever reads it."""

from __future__ import annotations

import json

from glassformer.errors import GlassformerError
from glassformer.generation.prompt import PromptTooLongError
from glassformer.trace.graph import OverBudgetError

STATUS = {
    "bad_request": 400,
    "unauthorized": 401,
    "forbidden": 403,
    "not_found": 404,
    "unknown_run": 404,
    "unknown_trace": 404,
    "unknown_training": 404,
    "method_not_allowed": 405,
    "conflict": 409,
    "body_too_large": 413,
    "wrong_content_type": 415,
    "range_not_satisfiable": 416,
    "headers_too_large": 431,
    "invalid": 422,
    "over_budget": 422,
    "too_long": 422,
    "busy": 503,
    "too_slow": 503,
    "ending": 503,
}
"""Code to HTTP status."""

TYPES = {
    "unauthorized": "authentication_error",
    "forbidden": "permission_error",
    "busy": "rate_limit_error",
    "too_slow": "server_error",
    "ending": "server_error",
    "broken": "server_error",
}
"""Code to the type that OpenAI's API has for it; others are errors of the request."""

HEADERS = {
    "unauthorized": {"www-authenticate": "Bearer"},
    "busy": {"retry-after": "1"},
    "too_slow": {"retry-after": "10"},
    "ending": {"retry-after": "10"},
}
"""Code to the headers that its answer has, wherever it comes from."""


class ApiError(GlassformerError):
    """An error that says what kind it is; `code` is a key of STATUS."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


def code_of(error: GlassformerError) -> str:
    """The code of any error that a user can mend.

    >>> code_of(GlassformerError("no token 'zebra'"))
    'invalid'
    """
    if isinstance(error, ApiError):
        return error.code
    if isinstance(error, OverBudgetError):
        return "over_budget"
    return "too_long" if isinstance(error, PromptTooLongError) else "invalid"


def body(code: str, message: str, field: str | None = None) -> dict[str, dict[str, str | None]]:
    """The JSON of an error, its message on one line; type and param are as OpenAI's clients know.

    >>> body("busy", "come again")["error"]["type"]
    'rate_limit_error'
    """
    kind = TYPES.get(code, "invalid_request_error")
    line = " ".join(message.split())
    return {"error": {"message": line, "type": kind, "param": field, "code": code}}


def raw_answer(code: str, message: str) -> tuple[bytes, list[tuple[bytes, bytes]]]:
    """The bytes of an error's answer and its headers, for where no framework writes them."""
    content = json.dumps(body(code, message)).encode()
    headers = {
        "content-type": "application/json",
        "content-length": str(len(content)),
        **HEADERS.get(code, {}),
    }
    return content, [(name.encode(), value.encode()) for name, value in headers.items()]
