"""The application for clients, which stands beside the page's."""

from __future__ import annotations

import importlib.metadata

from fastapi import FastAPI
from starlette.types import ASGIApp

from glassformer.server.v1 import chat, completions, models, schemas, tokens
from glassformer.server.v1.direct import Direct
from glassformer.server.v1.errors import answer_errors
from glassformer.server.v1.services import Clients

ROUTERS = (models.router, completions.router, chat.router, tokens.router)


def client_app(clients: Clients) -> ASGIApp:
    """The endpoints that OpenAI's clients call; described at /v1/openapi.json."""
    described = FastAPI(
        title="Glassformer, for clients of OpenAI's API",
        version=importlib.metadata.version("glassformer"),
        description="Completions of the served models; each token can be looked into on the page.",
        openapi_url="/v1/openapi.json",
        docs_url=None,  # they would load scripts from elsewhere
        redoc_url=None,
        redirect_slashes=False,  # few clients follow, and a body is sent twice
    )
    described.state.clients = clients
    answer_errors(described)
    for router in ROUTERS:
        described.include_router(router)
    texts = {
        "/v1/completions": (schemas.CompletionRequest, completions.complete),
        "/v1/chat/completions": (schemas.ChatRequest, chat.chat),
    }
    return Direct(texts, clients, described)
