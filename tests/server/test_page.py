"""The page runs its own scripts and nothing else, and names from users are text in it."""

import base64
import gzip
import hashlib
import json
import re

import pytest

from glassformer.server import page
from tests.server.served import client, data_block

SCRIPT = "let a = '<style>';\nif (1 < 2) { a += '</'; }\n"
STYLE = "body { margin: 0 }"
LATER = "provide('./run.js', () => '<script>')"
BUILT = (
    f'<!doctype html><html><head><meta charset="utf-8" /><script>{SCRIPT}</script>'
    f"<style>{STYLE}</style></head><body>{page.MARK}old</script>"
    f'<script type="text/plain" id="./run.js">{LATER}</script></body></html>'
)
BREAKOUT = "</script><script>alert(1)</script>"


def sha256(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def directives(policy: str) -> dict[str, str]:
    parts = (part.strip().partition(" ") for part in policy.split(";"))
    return {name: value for name, _, value in parts}


def test_the_policy_names_the_hash_of_each_script_and_style_and_nothing_unsafe():
    result = directives(page.served_policy(BUILT))
    assert result["script-src"] == f"{sha256(SCRIPT)} {sha256(LATER)}"
    assert result["style-src"] == sha256(STYLE)
    assert result["default-src"] == "'none'"
    assert result["connect-src"] == "'self'"
    assert result["frame-ancestors"] == "'none'"
    assert "unsafe" not in page.served_policy(BUILT)


def test_the_served_page_is_sent_with_the_policy_of_its_own_tags(monkeypatch):
    monkeypatch.setattr("glassformer.server.api.page.template", lambda: BUILT)
    answer = client().get("/")
    result = directives(answer.headers["content-security-policy"])
    sent = re.search(r"<script>(.*?)</script>", answer.text, re.DOTALL)
    assert sent is not None
    assert result["script-src"] == f"{sha256(sent[1])} {sha256(LATER)}"
    assert data_block(answer.text) == page.SERVED


def test_a_script_that_stands_by_is_sent_when_it_is_asked_for_and_not_with_the_page(monkeypatch):
    monkeypatch.setattr("glassformer.server.api.page.template", lambda: BUILT)
    assert LATER not in client().get("/").text
    answer = client().get("/run.js")
    assert answer.text == LATER
    assert answer.headers["content-type"].startswith("text/javascript")
    assert client().get("/else.js").json()["error"]["message"] == "the page has no script 'else'"


def test_an_exported_page_has_its_policy_inside_and_asks_no_server():
    sealed = page.sealed(BUILT)
    meta = re.search(r'http-equiv="content-security-policy" content="([^"]*)"', sealed)
    assert meta is not None
    result = directives(meta[1])
    assert result["script-src"] == " ".join(map(sha256, [SCRIPT, LATER, page.LOADER]))
    assert "connect-src" not in result  # so default-src holds: none
    assert sealed.index("http-equiv") < sealed.index("<script")


def unpacked(name: str) -> str:
    """What a file of BUILT holds packed under a name."""
    packed = re.search(rf'id="{name}">(.*?)</script>', page.compact(BUILT))
    assert packed is not None
    letters = packed[1].translate(str.maketrans(",.", "<&"))
    return gzip.decompress(base64.b85decode(letters)).decode()


def test_a_file_holds_the_pages_styles_and_script_packed_as_they_were():
    assert json.loads(unpacked("glassformer-page")) == [["style", STYLE], ["script", SCRIPT]]
    assert unpacked("./run.js") == LATER
    assert len(page.compact(page.template())) < 0.6 * len(page.template())


@pytest.mark.parametrize("text", [BREAKOUT, "<!--<script>", "</SCRIPT >", "\u2028 \ud7ff"])
def test_no_name_can_end_the_data_block(text):
    html = page.fill(BUILT, {"name": text})
    assert data_block(html) == {"name": text}
    assert html.count("<") == BUILT.count("<")


def test_a_page_that_is_not_built_says_how(monkeypatch):
    monkeypatch.setattr("glassformer.server.api.page.template", lambda: page.PLACEHOLDER)
    answer = client().get("/")
    assert answer.status_code == 200
    assert "make page" in answer.text


def test_the_page_that_is_installed_has_a_data_block_and_a_charset():
    assert data_block(page.fill(page.template(), page.SERVED)) == page.SERVED
    page.sealed(page.template())


def test_no_attribute_of_a_template_runs_into_the_end_of_its_tag():
    # <input class=a/> would have the class "a/": the build leaves such quotes where they are
    assert not re.findall(r"=[\w.#-]+/>", page.template())
