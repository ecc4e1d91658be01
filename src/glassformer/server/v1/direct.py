"""Texts are answered past the framework, which takes longer over such a request than we do.

What it describes is what is done: a request that can't be read is handed to it, and it says why.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from glassformer.server.guard import BODY
from glassformer.server.v1 import schemas
from glassformer.server.v1.services import Clients

Asked = TypeVar("Asked", bound=schemas.Request)


class Direct(Generic[Asked]):
    """ASGI: one endpoint for texts.

    kind: what is asked; answer: the endpoint, as the framework calls it; framework: for the rest.
    """

    def __init__(
        self,
        kind: type[Asked],
        answer: Callable[[Asked, Request, Clients], Awaitable[Response]],
        clients: Clients,
        framework: ASGIApp,
    ) -> None:
        self._kind, self._answer = kind, answer
        self._clients, self._framework = clients, framework

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        http = Request(scope, receive)
        request = None if "x-glass" in http.headers else self._read(scope[BODY])
        if request is None:
            return await self._framework(scope, receive, send)
        response = await self._answer(request, http, self._clients)
        return await response(scope, receive, send)

    def _read(self, content: bytes) -> Asked | None:
        try:
            return self._kind.model_validate(json.loads(content))
        except (ValueError, RecursionError):
            return None
