"""The token view: what a text is cut into, and every merge on the way."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest
from playwright.sync_api import Page, expect

import glassformer as gf
from glassformer.text.tokenizer import Tokenizer
from tests.browser.serving import serve
from tests.browser.test_page import problems
from tests.interop.models import ODD, random_model
from tests.pages import export

TEXT = "then thee newest Zürich"


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    corpus = ["the easiest thing to do then is to read the newest and the lowest of these"]
    return Tokenizer.train("bpe", corpus * 9, vocab_size=300)


@pytest.fixture(scope="module")
def bpe_folder(tokenizer: Tokenizer, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tokens") / "merging"
    model = random_model(ODD.replace(vocab_size=tokenizer.vocab_size, n_ctx=32))
    gf.save(model, tokenizer, folder)
    return folder


@pytest.fixture(scope="module")
def bpe(bpe_folder: Path) -> Iterator[str]:
    with serve(str(bpe_folder), "miniature") as url:
        yield url


def link(server: str, text: str = TEXT, **fields: object) -> str:
    more = "".join(f"&{name}={value}" for name, value in fields.items())
    return f"{server}#/tokens?text={quote(text)}{more}"


def lines(page: Page, selector: str) -> list[str]:
    return [" ".join(text.split()) for text in page.locator(selector).all_inner_texts()]


def visible(text: str) -> str:
    """As the page writes a token: the spaces at its start show."""
    return "␣" * (len(text) - len(text.lstrip(" "))) + text.lstrip(" ")


def test_each_token_stands_with_its_id_and_bytes(page: Page, bpe: str, tokenizer) -> None:
    page.goto(link(bpe))
    chips = page.get_by_role("list", name="The tokens, with their ids and bytes")
    ids = tokenizer.encode(TEXT)
    expect(chips.get_by_role("listitem")).to_have_count(len(ids))
    shown = [chip.split() for chip in chips.get_by_role("listitem").all_inner_texts()]
    for words, token in zip(shown, ids, strict=True):
        text, bytes_ = tokenizer.token(token), tokenizer.token_bytes(token)
        spelled = [f"{byte:02x}" for byte in bytes_]
        assert words == [visible(text), "id", str(token), "bytes", *spelled]
    assert lines(page, "dl dd") == ["23", "24", str(len(ids)), f"{24 / len(ids):.2f}"]


def test_merges_are_replayed_as_the_tokenizer_took_them(page: Page, bpe: str, tokenizer) -> None:
    steps = tokenizer.trace(TEXT).steps
    assert sum(step.op == "merge" for step in steps) > 5
    page.goto(link(bpe))
    for at, step in enumerate(steps):
        expect(page.get_by_text(f"{at + 1} of {len(steps)}", exact=True)).to_be_visible()
        pieces = lines(page, ".after > li > span:first-child")
        assert pieces == [visible(piece) for piece in step.pieces]
        if step.merge:
            ranks = [text.split(": ")[1] for text in lines(page, ".rank")]
            assert [rank.removesuffix(", joined").strip() for rank in ranks] == [
                "–" if pair.rank is None else str(pair.rank) for pair in step.considered
            ]
            joined = [i for i, rank in enumerate(ranks) if rank.endswith(", joined")]
            assert joined == [step.merge.position]
        if step.op == "look up":
            assert lines(page, ".after .digits") == [str(token) for token in step.ids]
        if at < len(steps) - 1:
            page.get_by_role("button", name="Next", exact=True).click()
    expect(page.get_by_role("button", name="Next", exact=True)).to_be_disabled()


@pytest.mark.heavy
def test_the_replay_plays_by_itself_and_pauses(page: Page, bpe: str) -> None:
    page.goto(link(bpe, cut=2))
    page.get_by_role("button", name="Play").click()
    expect(page.get_by_text(re.compile(r"^4 of \d+$"))).to_be_visible()
    page.get_by_role("button", name="Pause").click()
    page.wait_for_timeout(1500)
    expect(page.get_by_text(re.compile(r"^4 of \d+$"))).to_be_visible()


def test_typing_cuts_the_new_text_and_the_link_holds_it(page: Page, bpe: str, tokenizer) -> None:
    page.goto(link(bpe))
    page.get_by_label("Your text").fill("the lowest")
    chips = page.locator(".chips > li")
    expect(chips).to_have_count(len(tokenizer.encode("the lowest")))
    page.get_by_role("button", name="To the word's end").or_(
        page.get_by_role("button", name="Next word")
    ).click()
    where = page.locator(".controls .digits").inner_text()
    page.reload()
    expect(page.get_by_label("Your text")).to_have_value("the lowest")
    expect(page.locator(".controls .digits")).to_have_text(where)
    page.get_by_label("Your text").fill("")
    expect(page.get_by_text("No text, no tokens")).to_be_visible()


def test_a_word_level_tokenizer_has_no_merges_and_says_what_is_unknown(
    page: Page, server: str
) -> None:
    page.goto(link(server, "the xyzzy"))
    expect(page.get_by_text("it has no merges")).to_be_visible()
    expect(page.locator(".unknown")).to_contain_text("for xyzzy")
    assert "merge" not in json.dumps(lines(page, ".replay"))


@pytest.mark.heavy
def test_a_text_too_long_is_refused_in_one_line(page: Page, bpe: str) -> None:
    other = page.context.new_page()  # a refusal is noted in the console, which `page` forbids
    other.goto(link(bpe))
    expect(other.locator(".chips")).to_be_visible()
    other.get_by_label("Your text").fill("a" * 2001)
    expect(other.get_by_role("main").get_by_role("alert")).to_contain_text("2,001 characters")


@pytest.mark.heavy
@pytest.mark.usefixtures("recorded")
def test_an_exported_page_shows_the_recorded_prompt(
    page: Page, bpe_folder: Path, tmp_path: Path, tokenizer
) -> None:
    out = tmp_path / "page.html"
    export(str(bpe_folder), "the newest", out)
    page.goto(f"{out.as_uri()}#/tokens?cut=3")
    expect(page.locator(".chips > li")).to_have_count(len(tokenizer.encode("the newest")))
    expect(page.get_by_text(re.compile(r"^4 of \d+$"))).to_be_visible()
    expect(page.get_by_text("Another text needs the tokenizer")).to_be_visible()
    expect(page.get_by_label("Your text")).not_to_be_editable()


@pytest.mark.heavy
@pytest.mark.parametrize("width", [1440, 390])
def test_a_merge_is_accessible_and_fits_the_screen(page: Page, bpe: str, width: int) -> None:
    page.set_viewport_size({"width": width, "height": 844})
    page.goto(link(bpe, "unbelievablynewest", cut=4))
    expect(page.get_by_text(re.compile(r"^5 of \d+$"))).to_be_visible()
    assert problems(page) == []
    assert page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0
