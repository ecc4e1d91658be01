"""The page itself."""

from __future__ import annotations

from fastapi import APIRouter, Response
from fastapi.responses import HTMLResponse

from glassformer.server.errors import ApiError
from glassformer.server.page import SERVED, fill, holding, later, served_policy, template
from glassformer.server.responses import refusals

router = APIRouter()


@router.get("/", response_class=HTMLResponse, responses=refusals(json=False))
def page() -> HTMLResponse:
    """The page."""
    html = template()
    headers = {"content-security-policy": served_policy(html)}
    return HTMLResponse(fill(holding(html), SERVED), headers=headers)


@router.get("/{script}.js", response_class=Response, responses=refusals(json=False))
def script(script: str) -> Response:
    """A script of the page's, which it loads when a view of it is first opened."""
    code = later(template()).get(script)
    if code is None:
        raise ApiError("not_found", f"the page has no script {script!r}")
    return Response(code, media_type="text/javascript")
