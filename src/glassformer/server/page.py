"""The page: one HTML file built from ``web/``, with a block of data for it to read."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from functools import cache
from html.parser import HTMLParser
from importlib.resources import files
from typing import Any

MARK = '<script type="application/json" id="glassformer-data">'
SERVED = {"format": "glassformer-page", "version": 1, "server": True}

PLACEHOLDER = f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<title>Glassformer: the page is not built</title>
</head>
<body>
<h1>The page has not been built</h1>
<p>This installation of Glassformer came without its page. In a checkout, <code>make page</code>
builds it; reload afterwards.</p>
<p>The server works: <a href="/api/runs">/api/runs</a> and <a href="/openapi.json">its
description</a>.</p>
{MARK}</script>
</body>
</html>
"""


_BUILT = files("glassformer.server") / "page.html"


def is_built() -> bool:
    """Whether this installation came with its page."""
    return _BUILT.is_file()


def template() -> str:
    """The built page, or one that says how to build it."""
    return _BUILT.read_text(encoding="utf-8") if is_built() else PLACEHOLDER


def fill(html: str, data: dict[str, Any]) -> str:
    """The page with `data` in its block; no text in it can end the block.

    >>> fill(f"{MARK}</script>", {"name": "</script>"}).removeprefix(MARK)
    '{"name":"\\\\u003c/script>"}</script>'
    """
    text = json.dumps(data, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")
    before, mark, rest = html.partition(MARK)
    if not mark:
        raise RuntimeError("the built page has no data block; build it again with `make page`")
    end = rest.index("</script>")
    return before + mark + text + rest[end:]


@cache
def policy(html: str) -> str:
    """The content security policy under which exactly this page's own scripts and styles run."""
    scripts = " ".join(_hashes(html, "script")) or "'none'"
    styles = " ".join(_hashes(html, "style")) or "'none'"
    return (
        f"default-src 'none'; script-src {scripts}; style-src {styles}; img-src data: blob:;"
        " font-src data:; worker-src blob:; base-uri 'none'; form-action 'none'"
    )


def served_policy(html: str) -> str:
    """The policy of a served page, which also asks its own server and is never framed."""
    return f"{policy(html)}; connect-src 'self'; frame-ancestors 'none'"


def sealed(html: str) -> str:
    """The page with its policy inside, for a file, whose headers nobody sends."""
    meta = f'<meta http-equiv="content-security-policy" content="{policy(html)}">'
    sealed, places = re.subn(r"<meta charset=[^>]*>", rf"\g<0>\n{meta}", html, count=1)
    if not places:
        raise RuntimeError("the built page does not say its charset; build it again")
    return sealed


def _hashes(html: str, tag: str) -> list[str]:
    """The hash of every inline script or style."""
    result = _Inline()
    result.feed(html)
    digests = (hashlib.sha256(text.encode()).digest() for text in result.texts[tag])
    return [f"'sha256-{base64.b64encode(digest).decode()}'" for digest in digests]


class _Inline(HTMLParser):
    """Collects what stands in <script> and <style>; blocks of data are not run and need no hash."""

    def __init__(self) -> None:
        super().__init__()
        self.texts: dict[str, list[str]] = {"script": [], "style": []}
        self._within: str | None = None

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in self.texts and ("type", "application/json") not in attrs:
            self._within = tag
            self.texts[tag].append("")

    def handle_data(self, data: str) -> None:
        if self._within is not None:
            self.texts[self._within][-1] += data

    def handle_endtag(self, tag: str) -> None:
        if tag == self._within:
            self._within = None
