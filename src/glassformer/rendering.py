"""How an object finds its notebook view without knowing who draws it: whoever does registers."""

from __future__ import annotations

from collections.abc import Callable
from html import escape
from typing import Any

Renderer = Callable[[Any], str]

RENDERERS: dict[str, Callable[[], Renderer]] = {}
"""Class name to what gives its renderer, called when a view is first asked for."""


def register(class_name: str, load: Callable[[], Renderer]) -> None:
    """Have objects of a class drawn by the renderer that `load` gives, imported no sooner.

    >>> register("Sum", lambda: lambda thing: "<b>2</b>")
    >>> RENDERERS.pop("Sum")()(None)
    '<b>2</b>'
    """
    RENDERERS[class_name] = load


def html(thing: object) -> str:
    """The registered view of `thing`, or its plain repr."""
    load = RENDERERS.get(type(thing).__name__)
    return f"<pre>{escape(repr(thing))}</pre>" if load is None else load()(thing)
