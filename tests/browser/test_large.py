"""Matrices too large for the screen: in blocks, through a window, and counted by the server."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import numpy as np
import pytest
import torch
from playwright.sync_api import Locator, Page, Request, expect

import glassformer as gf
from glassformer.lab.changes import changes, watch_text
from glassformer.lab.edits import without_head
from glassformer.lab.embeddings import nearest
from glassformer.model import Decoder
from glassformer.text.tokenizer import Tokenizer
from tests.browser.serving import serve
from tests.browser.test_page import problems
from tests.browser.test_weights import numbers, saved
from tests.interop.models import ODD, random_model
from tests.pages import export

WORDS = [f"w{i}x" for i in range(8200)]
WIDTH = 65
PROMPT = "w0x w7x w77x"


@pytest.fixture(scope="module")
def model() -> Decoder:
    config = ODD.replace(vocab_size=len(WORDS), d_model=WIDTH, n_layers=1, tied=False, n_ctx=300)
    return random_model(config)


@pytest.fixture(scope="module")
def table(model: Decoder) -> np.ndarray:
    return model.embed.W_E.detach().numpy()


@pytest.fixture(scope="module")
def folder(model: Decoder, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("large") / "wide"
    gf.save(model, Tokenizer.from_words(WORDS), folder)
    return folder


@pytest.fixture(scope="module")
def served(folder: Path) -> Iterator[str]:
    with serve(str(folder)) as url:
        yield url


@pytest.fixture(scope="module")
def exported(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    out = tmp_path_factory.mktemp("large-page") / "page.html"
    export(str(folder), PROMPT, out)
    return out.as_uri()


@pytest.fixture(params=["served", pytest.param("exported", marks=pytest.mark.heavy)])
def wide(request: pytest.FixtureRequest) -> str:
    """The page's address, with a server and without."""
    return request.getfixturevalue(request.param)


def at(address: str, view: str = "map", **fields: str) -> str:
    query = "&".join(f"{field}={value}" for field, value in {"at": address, **fields}.items())
    return f"#/{view}?prompt={PROMPT.replace(' ', '+')}&{query}"


def part(page: Page) -> Locator:
    return page.get_by_role("main").get_by_role("status").filter(has_text=" of ")


def overview(page: Page) -> Locator:
    return page.get_by_role("application")


def test_the_part_that_is_shown_is_said(page: Page, wide: str) -> None:
    page.goto(wide + at("weight/embed.W_E"))
    expect(part(page)).to_have_text("64 × 64 of 8,200 × 65: vocab 0 to 63, d_model 0 to 63")
    expect(page.locator("figcaption")).to_contain_text("the number of largest magnitude of 65 × 1")


def test_every_point_of_the_overview_is_the_largest_of_its_block(
    page: Page, wide: str, table: np.ndarray
) -> None:
    page.goto(wide + at("weight/embed.W_E"))
    expect(page.locator("figcaption")).to_contain_text("65 × 1")
    canvas = overview(page).locator("canvas")
    pixels, width, height = canvas.evaluate(
        """(canvas) => [[...canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height)
            .data], canvas.width, canvas.height]"""
    )
    shown = np.array(pixels, dtype=int).reshape(height, width, 4)
    starts = range(0, len(WORDS), 65)
    largest = np.array(
        [[block[np.abs(block).argmax()] for block in table[a : a + 65].T] for a in starts]
    )
    assert (height, width) == largest.shape
    # blue is positive, orange negative; what is near zero is nearly white
    strong = np.abs(largest) > 0.3 * np.abs(table).max()
    assert strong.mean() > 0.9
    blue = shown[:, :, 2] > shown[:, :, 0]
    assert (blue == (largest > 0))[strong].all()


@pytest.mark.heavy
def test_the_overview_is_drawn_in_the_colors_of_the_theme(page: Page, wide: str) -> None:
    page.emulate_media(color_scheme="light")
    page.goto(wide + at("weight/embed.W_E"))
    expect(page.locator("figcaption")).to_contain_text("65 × 1")
    canvas = overview(page).locator("canvas")
    light = canvas.evaluate("(canvas) => canvas.toDataURL()")
    page.get_by_role("button", name="Switch to dark").click()
    page.wait_for_function(
        "(was) => document.querySelector('figure canvas').toDataURL() !== was", arg=light
    )


@pytest.mark.heavy
def test_the_frame_is_moved_by_pointer_and_the_link_holds_it(page: Page, wide: str) -> None:
    page.goto(wide + at("weight/embed.W_E"))
    box = overview(page).bounding_box()
    assert box
    page.mouse.click(box["x"] + 5, box["y"] + box["height"] / 2)
    expect(part(page)).to_have_text(re.compile(r"vocab 4,0\d\d to 4,1\d\d, d_model 0 to 63"))
    moved = part(page).inner_text()
    page.wait_for_url("**window=*")
    page.reload()
    expect(part(page)).to_have_text(moved)


@pytest.mark.heavy
def test_a_frame_on_its_way_does_not_move_that_of_the_next_matrix(page: Page, wide: str) -> None:
    page.goto(wide + at("weight/embed.W_E"))
    overview(page).press("PageDown")
    expect(part(page)).to_contain_text("vocab 820 to 883")
    page.evaluate("(to) => { location.hash = to; }", at("weight/unembed.W_U"))
    page.wait_for_timeout(400)  # a frame settles within 250 ms
    expect(part(page)).to_have_text("64 × 64 of 65 × 8,200: d_model 0 to 63, vocab 0 to 63")
    assert "window" not in page.url


@pytest.mark.heavy
def test_the_frame_is_moved_by_keys(page: Page, wide: str) -> None:
    page.goto(wide + at("weight/embed.W_E"))
    for key, text in [
        ("PageDown", "vocab 820 to 883, d_model 0 to 63"),
        ("ArrowDown", "vocab 852 to 915, d_model 0 to 63"),
        ("End", "vocab 852 to 915, d_model 1 to 64"),
        ("Control+End", "vocab 8,136 to 8,199, d_model 1 to 64"),
        ("Control+Home", "vocab 0 to 63, d_model 0 to 63"),
    ]:
        overview(page).press(key)
        expect(part(page)).to_contain_text(text)


@pytest.mark.heavy
def test_the_grid_goes_on_beyond_the_edge_of_its_window(
    page: Page, wide: str, table: np.ndarray
) -> None:
    page.goto(wide + at("weight/embed.W_E", window="100,0"))
    grid = page.get_by_role("grid")
    expect(grid).to_have_attribute("aria-rowcount", "8200")
    for key in ["ArrowDown"] * 63:
        grid.press(key)
    expect(part(page)).to_contain_text("vocab 100 to 163")
    grid.press("ArrowDown")
    expect(part(page)).to_contain_text("vocab 132 to 195")
    expect(page.get_by_role("gridcell")).to_contain_text("vocab 164 w164x, d_model 0")
    said = page.get_by_role("gridcell").inner_text().split(", ")[-1]
    assert float(said) == pytest.approx(table[164, 0], rel=6e-4)
    grid.press("Enter")
    expect(page.get_by_test_id("value")).to_be_visible()
    assert float(page.get_by_test_id("value").inner_text()) == pytest.approx(table[164, 0], 1e-5)
    page.keyboard.press("Escape")
    expect(page.get_by_test_id("value")).to_have_count(0)
    expect(part(page)).to_contain_text("vocab 132 to 195")


def test_a_link_to_a_number_opens_the_part_around_it(page: Page, wide: str) -> None:
    page.goto(wide + at("weight/embed.W_E[vocab=5000,d_model=3]"))
    expect(part(page)).to_contain_text("vocab 4,968 to 5,031, d_model 0 to 63")


@pytest.mark.heavy
def test_the_part_is_what_is_saved(page: Page, wide: str, table: np.ndarray) -> None:
    page.goto(wide + at("weight/embed.W_E", window="200,1"))
    rows = saved(page, page.get_by_role("button", name="CSV"))
    assert rows[0][1:] == [str(i) for i in range(1, 65)]
    assert [row[0] for row in rows[1:]] == [f"{i} w{i}x" for i in range(200, 264)]
    shown = np.array([[float(cell) for cell in row[1:]] for row in rows[1:]])
    assert (shown == table[200:264, 1:65]).all()


def test_a_column_of_a_large_matrix_is_one_request(page: Page, served: str) -> None:
    asked: list[str] = []

    def note(request: Request) -> None:
        if "/values" in request.url or "/part?" in request.url:
            asked.append(request.url)

    page.goto(served + at("", view="tokens"))
    page.wait_for_selector(".rail .token")
    page.on("request", note)
    page.goto(served + at("fwd/logits[pos=1,vocab=4000]", view="tokens"))
    expect(page.get_by_test_id("check")).to_have_attribute("data-agrees", "true")
    columns = [url for url in asked if "unembed.W_U" in url]
    assert len(columns) == 1
    assert len(asked) <= 4, asked


@pytest.mark.heavy
def test_a_column_too_long_for_one_answer_is_put_together_in_order(
    page: Page, tmp_path: Path
) -> None:
    config = ODD.replace(vocab_size=78, d_model=WIDTH, n_layers=1, n_ctx=8, d_mlp=17_000)
    gf.save(random_model(config), Tokenizer.from_words(WORDS[:78]), tmp_path / "deep")
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    with serve(str(tmp_path / "deep")) as url:
        page.goto(url + at("fwd/blocks.0.mlp.mlp_out[pos=2,d_model=3]", view="tokens"))
        expect(page.get_by_test_id("check")).to_have_attribute("data-agrees", "true")
    parts = [url for url in asked if "/part?" in url and "W_out" in url]
    assert len(parts) == 2, asked  # of at most 64 KiB: 16,384 numbers
    # and none of it again: the column touches 68 tiles
    assert sum("/values" in url for url in asked) < 20, asked


@pytest.mark.heavy
def test_what_is_too_large_to_be_sent_is_compared_by_the_server(
    page: Page, served: str, model: Decoder
) -> None:
    n = 70
    ids = torch.arange(n)[None]
    edit = without_head(model.config, layer=0, head=1)
    before, after = watch_text(model, ids), watch_text(model, ids, edit)
    large = next(one for one in changes(before, after) if one.path == "fwd/logits")
    assert large.of > 1 << 19
    other = quote(json.dumps({"edits": {"fwd/blocks.0.attn.z[head=1]": 0}}))
    page.goto(f"{served}#/lab?prompt={'+'.join(WORDS[:n])}&with={other}")
    tile = page.locator("[data-path='fwd/logits']")
    expect(tile).to_have_attribute("data-relative", re.compile(r"\d"))
    shown = float(tile.get_attribute("data-relative") or "nan")
    assert shown == pytest.approx(large.relative, rel=1e-3)
    page.get_by_text("Every value that changed").first.click()
    row = page.get_by_role("row").filter(has=page.get_by_role("link", name="logits", exact=True))
    expect(row.locator("td").last).to_have_text(f"{large.numbers:,} of {large.of:,}")
    expect(row.get_by_role("link").last).to_have_attribute(
        "href", re.compile(re.escape(quote(large.address, safe="")))
    )


@pytest.mark.heavy
def test_a_large_histogram_counts_every_number(page: Page, wide: str, table: np.ndarray) -> None:
    page.goto(wide + at("", view="weights", matrix="embed.W_E"))
    card = page.get_by_role("region", name="The numbers of one matrix")
    expect(card.locator("dd")).to_have_count(4)
    mean, spread, largest, n = card.locator("dd").all_inner_texts()
    values = table.astype(float)
    assert float(mean) == pytest.approx(values.mean(), rel=6e-4)
    assert float(spread) == pytest.approx(values.std(), rel=6e-4)
    assert float(largest) == pytest.approx(values.flat[np.abs(values).argmax()], rel=6e-4)
    assert int(n.replace(",", "")) == values.size
    who = "this page" if wide.startswith("file:") else "the server, in float64,"
    expect(card).to_contain_text(f"Counted by {who} from all recorded numbers")
    rows = saved(page, card.get_by_role("button", name="CSV"))
    assert sum(int(row[2]) for row in rows[1:]) == values.size


@pytest.mark.heavy
def test_a_large_table_has_its_map_and_its_neighbors(
    page: Page, wide: str, model: Decoder, table: np.ndarray
) -> None:
    page.goto(wide + at("", view="weights", part="embeddings", near="77"))
    rows = saved(page, page.get_by_role("button", name="CSV"))
    values = table.astype(float)
    centered = values - values.mean(axis=0)
    _, _, directions = np.linalg.svd(centered, full_matrices=False)
    shown = np.array([[float(cell) for cell in row[2:]] for row in rows[1:]])
    # random numbers differ nearly as much in every direction: the page's iteration settles slowly
    assert np.allclose(np.abs(shown), np.abs(centered @ directions[:2].T), atol=1e-4)
    with page.expect_download() as download:
        page.get_by_role("button", name="SVG").click()
    assert Path(download.value.path()).read_text().count("h0") == len(WORDS)  # a dot for each
    who = "this page" if wide.startswith("file:") else "the server, in float64,"
    expect(page.get_by_role("main")).to_contain_text(f"principal components, computed by {who}")
    neighbors = page.get_by_role("region", name="The tokens nearest to w77x")
    expect(neighbors.locator("tbody tr")).to_have_count(10)
    result = {WORDS[n.token]: [n.dot, n.length, n.cosine] for n in nearest(model.embed.W_E, 77, 10)}
    assert list(numbers(neighbors)) == list(result)
    for word, row in numbers(neighbors).items():
        assert row == pytest.approx(result[word], rel=6e-4)


def test_the_scores_of_one_head_are_seen_whole_with_their_mask(
    page: Page, served: str, model: Decoder
) -> None:
    n, head = 280, 2
    trace = model.watch(torch.arange(n)[None])
    scores = trace[f"blocks.0.attn.attn_scores[head={head}]"].detach().numpy()
    words = "+".join(WORDS[:n])
    page.goto(f"{served}#/map?prompt={words}&at=fwd/blocks.0.attn.attn_scores&head={head}")
    expect(part(page)).to_have_text("64 × 64 of 280 × 280: query 0 to 63, key 0 to 63")
    expect(page.locator("figcaption")).to_contain_text("3 × 3")
    canvas = overview(page).locator("canvas")
    row, masked, hatch = canvas.evaluate(
        """(canvas) => {
            const { data } = canvas.getContext("2d").getImageData(0, 90, 94, 1);
            const row = Array.from({ length: 94 }, (_, x) => [...data.slice(4 * x, 4 * x + 4)]);
            const style = getComputedStyle(document.documentElement).getPropertyValue("--hatch");
            return [row.slice(0, 90), row[92], style];
        }"""
    )
    assert masked[:3] == [int(hatch.strip()[i : i + 2], 16) for i in (1, 3, 5)]
    blocks = scores[270:273, :270].reshape(3, 90, 3).transpose(1, 0, 2).reshape(90, 9)
    largest = np.array([block[np.abs(block).argmax()] for block in blocks])
    blue = np.array([pixel[2] > pixel[0] for pixel in row])
    strong = np.abs(largest) > 0.3 * np.abs(scores[np.isfinite(scores)]).max()
    assert strong.sum() > 10
    assert (blue == (largest > 0))[strong].all()


@pytest.mark.heavy
@pytest.mark.parametrize("size", [(1440, 900), (1024, 768), (390, 844)], ids=lambda s: str(s[0]))
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_large_matrix_is_accessible_and_fits_the_screen(
    page: Page, served: str, size, scheme
) -> None:
    page.emulate_media(color_scheme=scheme)
    page.set_viewport_size({"width": size[0], "height": size[1]})
    for address in ("weight/embed.W_E", "weight/unembed.W_U[d_model=3,vocab=5]"):
        page.goto(served + at(address))
        expect(part(page)).to_be_visible()
        map_, window = overview(page).bounding_box(), page.get_by_role("grid").bounding_box()
        assert map_
        assert window
        beside = map_["x"] + map_["width"] <= window["x"]
        assert beside or map_["y"] + map_["height"] <= window["y"]
        assert problems(page) == []
        assert page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0
