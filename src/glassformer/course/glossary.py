"""What the terms of a transformer mean, in one or two plain sentences each: `glossary.toml`."""

from __future__ import annotations

import tomllib
from functools import cache
from importlib.resources import files


@cache
def glossary() -> dict[str, str]:
    """Every term and what it means.

    >>> glossary()["vocabulary"]
    'The list of all tokens that a model knows. Every token has its number in it.'
    """
    text = (files("glassformer.course") / "glossary.toml").read_text(encoding="utf-8")
    return tomllib.loads(text)
