"""The page itself."""

from __future__ import annotations

from fastapi import APIRouter
from fastapi.responses import HTMLResponse

from glassformer.server.page import SERVED, fill, served_policy, template
from glassformer.server.responses import refusals

router = APIRouter()


@router.get("/", response_class=HTMLResponse, responses=refusals(json=False))
def page() -> HTMLResponse:
    """The page."""
    html = template()
    headers = {"content-security-policy": served_policy(html)}
    return HTMLResponse(fill(html, SERVED), headers=headers)
