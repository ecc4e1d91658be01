"""What clients of the API ask for, for whoever looks at the page on the same machine."""

from __future__ import annotations

from fastapi import APIRouter, Request

from glassformer.server import schemas
from glassformer.server.api.services import Shared
from glassformer.server.responses import refusals

router = APIRouter(prefix="/api/requests", responses=refusals())


@router.get("")
async def client_requests(shared: Shared, http: Request) -> schemas.ClientRequests:
    """The last requests of this machine's own clients; nothing to a page on another machine."""
    return schemas.ClientRequests(requests=shared.clients.seen_from(http))
