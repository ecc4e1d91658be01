"""How traces, explanations and runs find their notebook view without importing who draws it."""

from __future__ import annotations

import importlib
from html import escape

RENDERERS: dict[str, str] = {
    "Explanation": "glassformer.show.notebook:explanation_html",
    "PastRun": "glassformer.server.notebook:run_html",
    "Trace": "glassformer.server.notebook:trace_html",
}
"""Class name to "module:function"; the module is imported when a view is first asked for."""


def html(thing: object) -> str:
    """The registered view of `thing`, or its plain repr."""
    place = RENDERERS.get(type(thing).__name__)
    if place is None:
        return f"<pre>{escape(repr(thing))}</pre>"
    module, _, function = place.partition(":")
    return getattr(importlib.import_module(module), function)(thing)
