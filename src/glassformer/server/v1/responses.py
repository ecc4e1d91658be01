"""What answers have in common."""

from __future__ import annotations

import importlib.metadata

from fastapi import Response

from glassformer.server.responses import ERRORS, Responses
from glassformer.server.schemas import Error
from glassformer.server.v1 import schemas
from glassformer.server.v1.answer import Answer

FINGERPRINT = f"glassformer-{importlib.metadata.version('glassformer')}"

STATUSES = (400, 401, 403, 404, 413, 415, 429, 431, 503)


def refusals() -> Responses:
    """How an endpoint may refuse."""
    descriptions = {
        **ERRORS,
        429: "Too many texts wait already; Retry-After says when to come again.",
    }
    return {status: {"description": descriptions[status], "model": Error} for status in STATUSES}


def in_one_piece(answer: schemas.Completion | schemas.ChatCompletion) -> Response:
    """An answer that is sent in one piece."""
    return Response(answer.model_dump_json(), media_type="application/json")


def usage(answer: Answer) -> schemas.Usage:
    """How many tokens were read and made."""
    read, made = answer.prompt_tokens, answer.new_tokens
    return schemas.Usage(prompt_tokens=read, completion_tokens=made, total_tokens=read + made)
