"""Texts are answered past the framework, which takes longer over such a request than we do.

What it describes is what is done: a request that can't be read is handed to it, and it says why.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeVar

import pydantic_core
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from glassformer.errors import GlassformerError
from glassformer.server.guard import BODY
from glassformer.server.v1 import schemas
from glassformer.server.v1.errors import broken, mendable, unreadable
from glassformer.server.v1.services import Clients

Endpoint = tuple[type[schemas.Request], Callable[[Any, Request, Clients], Awaitable[Response]]]
"""What is asked, and who answers it."""


class Direct:
    """ASGI: the endpoints for texts, by their paths; framework: for the rest."""

    def __init__(
        self, endpoints: Mapping[str, Endpoint], clients: Clients, framework: ASGIApp
    ) -> None:
        self._endpoints, self._clients, self._framework = endpoints, clients, framework

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        endpoint = self._endpoints.get(scope["path"])
        if endpoint is None or scope["method"] != "POST":
            return await self._framework(scope, receive, send)
        kind, answer = endpoint
        http = Request(scope, receive)
        request = None if "x-glass" in http.headers else _read(kind, scope[BODY])
        if request is None:
            return await self._framework(scope, receive, send)
        try:
            response = await answer(request, http, self._clients)
        except GlassformerError as error:
            response = mendable(error)
        except OSError as error:
            response = unreadable(error)
        except Exception:
            await broken()(scope, receive, send)
            raise  # into the server's log
        return await response(scope, receive, send)


Asked = TypeVar("Asked", bound=schemas.Request)


def _read(kind: type[Asked], content: bytes) -> Asked | None:
    try:
        return kind.model_validate(pydantic_core.from_json(content))
    except (ValueError, RecursionError):
        return None
