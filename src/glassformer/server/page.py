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

from glassformer.server.packing import pack

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


def without_font(html: str) -> str:
    """The page with the reader's own math font: 8 KB less, and a notebook keeps every output."""
    return _FONT.sub("", html)


_FONT = re.compile(r"@font-face\s*\{[^}]*\}")


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


LATER = ("look", "run", "teach")
"""Scripts of views that are loaded when the first of them is opened (`web/src/views`)."""

_LATER = re.compile(r'<script type="text/plain" id="\./(\w+)\.js">(.*?)</script>\n?', re.DOTALL)


def later(html: str) -> dict[str, str]:
    """The scripts that stand by in the page, as text."""
    return dict(_LATER.findall(html))


def holding(html: str, *names: str) -> str:
    """The page with these of the scripts that stand by, and none of the others.

    >>> html = '<script type="text/plain" id="./look.js">1</script>'
    >>> holding(html, "look") == html, holding(html)
    (True, '')
    """
    return _LATER.sub(lambda script: script[0] if script[1] in names else "", html)


LOADER = """
const letters =
  "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz!#$%.()*+-;,=>?@^_`{|}~";
globalThis.unpacked = (text) => {
  const words = new DataView(new ArrayBuffer(4 * Math.ceil(text.length / 5)));
  for (let i = 0; i < words.byteLength / 4; i++) {
    let word = 0;
    for (let k = 5 * i; k < 5 * i + 5; k++)
      word = 85 * word + (k < text.length ? letters.indexOf(text[k]) : 84);
    words.setUint32(4 * i, word);
  }
  const bytes = new Uint8Array(words.buffer, 0, Math.floor((4 * text.length) / 5));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Response(stream).text();
};
const parts = await unpacked(document.getElementById("glassformer-page").textContent);
for (const [tag, content] of JSON.parse(parts)) {
  const element = document.createElement(tag);
  element.textContent = content;
  document.head.append(element);
}
"""
"""Unpacks the page's styles and its scripts; the policy names the hashes of what it puts there."""


def compact(html: str) -> str:
    """The page for a file: its styles and its scripts packed, a third of their size."""
    parts: list[tuple[str, str]] = []

    def take(part: re.Match[str]) -> str:
        parts.append((part[1], part[2]))
        return ""

    packed = _LATER.sub(lambda script: _plain(f"./{script[1]}.js", pack(script[2].encode())), html)
    rest = _CODE.sub(take, packed)
    if not parts:
        return html
    parts.sort(key=lambda part: part[0] == "script")  # styles come first
    block = _plain("glassformer-page", pack(json.dumps(parts).encode()))
    start = f'<script type="module">{LOADER}</script>'
    return rest.replace(MARK, f"{block}{start}\n{MARK}", 1)


def _plain(name: str, text: str) -> str:
    return f'<script type="text/plain" id="{name}">{text}</script>\n'


_CODE = re.compile(r"<(script|style)>(.*?)</\1>", re.DOTALL)


@cache
def policy(html: str, *others: str) -> str:
    """The content security policy under which exactly this page's own scripts and styles run.

    `others`: scripts that run beside those that stand in the page.
    """
    scripts = " ".join([*_hashes(html, "script"), *map(_digest, others)]) or "'none'"
    styles = " ".join(_hashes(html, "style")) or "'none'"
    return (
        f"default-src 'none'; script-src {scripts}; style-src {styles}; img-src data: blob:;"
        " font-src data:; worker-src blob:; base-uri 'none'; form-action 'none'"
    )


def served_policy(html: str) -> str:
    """The policy of a served page, which also asks its own server and is never framed."""
    return f"{policy(html)}; connect-src 'self'; frame-ancestors 'none'"


def sealed(html: str) -> str:
    """The page for a file: packed, with its policy inside, since nobody sends its headers."""
    meta = f'<meta http-equiv="content-security-policy" content="{policy(html, LOADER)}">'
    sealed, count = re.subn(r"<meta charset=[^>]*>", rf"\g<0>\n{meta}", compact(html), count=1)
    if not count:
        raise RuntimeError("the built page does not say its charset; build it again")
    return sealed


def _hashes(html: str, tag: str) -> list[str]:
    """The hash of every inline script or style."""
    result = _Inline()
    result.feed(html)
    return [_digest(text) for text in result.texts[tag]]


def _digest(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


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
