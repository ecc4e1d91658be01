"""The application for clients, which stands beside the page's."""

from __future__ import annotations

import importlib.metadata

from fastapi import FastAPI

from glassformer.server.v1 import chat, completions, models, tokens
from glassformer.server.v1.errors import answer_errors
from glassformer.server.v1.services import Clients

ROUTERS = (models.router, completions.router, chat.router, tokens.router)


def client_app(clients: Clients) -> FastAPI:
    """The endpoints that OpenAI's clients call; described at /v1/openapi.json."""
    app = FastAPI(
        title="Glassformer, for clients of OpenAI's API",
        version=importlib.metadata.version("glassformer"),
        description="Completions of the served models; each token can be looked into on the page.",
        openapi_url="/v1/openapi.json",
        docs_url=None,  # they would load scripts from elsewhere
        redoc_url=None,
    )
    app.state.clients = clients
    answer_errors(app)
    for router in ROUTERS:
        app.include_router(router)
    return app
