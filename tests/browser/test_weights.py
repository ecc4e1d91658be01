"""The weight view: every matrix with its share, and the embedding table as a space."""

import csv
import io
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from playwright.sync_api import Locator, Page, expect

import glassformer as gf
from glassformer.lab.embeddings import Neighbor, analogy, nearest
from glassformer.model import Decoder
from glassformer.text.tokenizer import Tokenizer
from tests.browser.serving import serve
from tests.browser.test_page import problems
from tests.interop.models import ODD, random_model
from tests.pages import export

WORDS = [
    "one",
    "two",
    "three",
    "four",
    "five",
    "six",
    "seven",
    "eight",
    "nine",
    "ten",
    "eleven",
    "twelve",
]


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return Tokenizer.from_words(WORDS)


@pytest.fixture(scope="module")
def model() -> Decoder:
    return random_model(ODD.replace(vocab_size=len(WORDS), tied=False))


@pytest.fixture(scope="module")
def folder(model, tokenizer: Tokenizer, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("weights") / "odd"
    gf.save(model, tokenizer, folder)
    return folder


@pytest.fixture(scope="module")
def odd(folder: Path) -> Iterator[str]:
    with serve(str(folder)) as url:
        yield url


@pytest.fixture(
    scope="module", params=[pytest.param("served", marks=pytest.mark.heavy), "exported"]
)
def weights(
    request: pytest.FixtureRequest, folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> str:
    """The weight view's address, with a server and without."""
    if request.param == "served":
        return f"{request.getfixturevalue('odd')}#/weights?prompt=one+two+three"
    out = tmp_path_factory.mktemp("page") / "page.html"
    export(str(folder), "one two three", out)
    return f"{out.as_uri()}#/weights?"


def saved(page: Page, button: Locator) -> list[list[str]]:
    """The rows of the CSV file that a button offers."""
    with page.expect_download() as download:
        button.click()
    return list(csv.reader(io.StringIO(Path(download.value.path()).read_text())))


def numbers(table: Locator) -> dict[str, list[float]]:
    """The numbers of a table of neighbors, by token, in its order."""
    rows = table.locator("tbody tr").all()
    return {
        row.locator("th").inner_text(): [
            float(cell) for cell in row.locator("td.right").all_inner_texts()
        ]
        for row in rows
    }


def expected(neighbors: list[Neighbor]) -> dict[str, list[float]]:
    return {WORDS[n.token]: [n.dot, n.length, n.cosine] for n in neighbors}


def same(shown: dict[str, list[float]], neighbors: list[Neighbor]) -> None:
    wanted = expected(neighbors)
    assert list(shown) == list(wanted)
    for word, values in wanted.items():
        assert shown[word] == pytest.approx(values, rel=6e-4)


def test_shares_sum_to_one_and_count_the_model(page: Page, weights: str, model) -> None:
    page.goto(weights)
    rows = saved(
        page,
        page.get_by_role("region", name="All weights")
        .locator("xpath=..")
        .get_by_role("button", name="CSV"),
    )
    views = {view.name: view.value for view in model.views()}
    assert [row[0] for row in rows[1:]] == list(views)
    for name, axes, shape, parameters, _ in rows[1:]:
        assert int(parameters) == views[name].numel()
        assert shape == " × ".join(map(str, views[name].shape))
        assert len(axes.split(" × ")) == views[name].ndim
    assert sum(float(row[4]) for row in rows[1:]) == pytest.approx(1)
    total = sum(p.numel() for p in model.parameters())
    assert sum(int(row[3]) for row in rows[1:]) == total
    expect(page.locator("tfoot")).to_contain_text(f"{total:,}")


@pytest.mark.heavy
def test_matrices_can_be_put_in_order_of_size(page: Page, weights: str) -> None:
    page.goto(weights)
    page.get_by_role("button", name="By size").click()
    page.reload()
    expect(page.get_by_role("button", name="By size")).to_have_attribute("aria-pressed", "true")
    rows = page.locator("tbody tr:not(.group) td:nth-child(4)").all_inner_texts()
    sizes = [int(text.replace(",", "")) for text in rows]
    assert sizes == sorted(sizes, reverse=True)
    assert len(set(sizes)) > 2


@pytest.mark.heavy
def test_a_matrix_opens_from_its_name(page: Page, weights: str) -> None:
    page.goto(weights)
    page.get_by_role("link", name="blocks.1.mlp.W_in", exact=True).click()
    expect(page.get_by_role("heading", level=2)).to_contain_text("blocks.1.mlp.W_in")
    expect(page.get_by_role("grid")).to_be_visible()


def test_the_histogram_counts_every_number(page: Page, weights: str, model) -> None:
    page.goto(f"{weights}&matrix=blocks.2.mlp.W_out")
    values = model.blocks[2].mlp.W_out.detach().double().numpy()
    card = page.get_by_role("region", name="The numbers of one matrix")
    expect(card.locator("dd")).to_have_count(4)
    mean, spread, largest, n = card.locator("dd").all_inner_texts()
    assert float(mean) == pytest.approx(values.mean(), rel=6e-4)
    assert float(spread) == pytest.approx(values.std(), rel=6e-4)
    assert float(largest) == pytest.approx(values.flat[np.abs(values).argmax()], rel=6e-4)
    assert int(n.replace(",", "")) == values.size
    rows = saved(page, card.get_by_role("button", name="CSV"))
    edges = [float(row[0]) for row in rows[1:]] + [float(rows[-1][1])]
    edges[0], edges[-1] = edges[0] - 1e-9, edges[-1] + 1e-9  # the largest lies on an edge
    assert [int(row[2]) for row in rows[1:]] == np.histogram(values, edges)[0].tolist()
    card.get_by_role("link", name=largest).click()
    expect(page.get_by_test_id("value")).to_be_visible()
    assert float(page.get_by_test_id("value").inner_text()) == pytest.approx(
        float(largest), rel=6e-4
    )


def test_neighbors_are_those_of_the_lab(page: Page, weights: str, model) -> None:
    for token in (0, 7):
        page.goto(f"{weights}&part=embeddings&near={token}")
        table = page.get_by_role("region", name=f"The tokens nearest to {WORDS[token]}")
        expect(table.locator("tbody tr")).to_have_count(10)
        same(numbers(table), nearest(model.embed.W_E, token, 10))


def test_an_analogy_is_the_labs_and_the_link_holds_it(page: Page, weights: str, model) -> None:
    page.goto(f"{weights}&part=embeddings")
    for label, word in (("a", "two"), ("− b", "one"), ("+ c", "nine")):
        field = page.get_by_label(label, exact=True)
        field.fill(word)
        field.press("Tab")
    table = page.get_by_role("region", name="a minus b plus c")
    expect(table.locator("tbody tr")).to_have_count(9)
    same(numbers(table), analogy(model.embed.W_E, 1, 0, 8))
    page.reload()
    expect(page.get_by_label("+ c", exact=True)).to_have_value("nine")
    expect(table.locator("tbody tr")).to_have_count(9)
    same(numbers(table), analogy(model.embed.W_E, 1, 0, 8))


@pytest.mark.heavy
def test_an_analogy_of_a_word_with_itself_is_refused(page: Page, odd: str) -> None:
    page.goto(f"{odd}#/weights?part=embeddings&analogy=1,1,2")
    alert = page.get_by_role("main").get_by_role("alert")
    expect(alert).to_have_text("An analogy needs three different tokens.")


def test_the_map_shows_the_principal_components(page: Page, weights: str, model) -> None:
    page.goto(f"{weights}&part=embeddings")
    rows = saved(page, page.get_by_role("button", name="CSV"))
    assert [row[1] for row in rows[1:]] == WORDS
    table = model.embed.W_E.detach().double().numpy()
    centered = table - table.mean(axis=0)
    _, strengths, directions = np.linalg.svd(centered, full_matrices=False)
    for column in (2, 3):
        shown = np.array([float(row[column]) for row in rows[1:]])
        coordinates = centered @ directions[column - 2]
        assert np.allclose(np.abs(shown), np.abs(coordinates), atol=1e-6)
    held = (strengths**2)[:2].sum() / (strengths**2).sum()
    expect(page.get_by_role("main")).to_contain_text(f"They hold {held:.1%} of the variance")


@pytest.mark.heavy
def test_the_map_is_moved_with_keys_and_the_link_holds_the_place(page: Page, odd: str) -> None:
    page.goto(f"{odd}#/weights?part=embeddings&near=4")
    map_ = page.get_by_role("application")
    points = map_.locator("circle")

    def position() -> list[str | None]:
        return [points.first.get_attribute(side) for side in ("cx", "cy")]

    expect(points.first).to_be_visible()
    before = position()
    for key in ("+", "ArrowRight"):
        map_.press(key)
    page.wait_for_url("**zoom=**")
    moved = position()
    assert moved != before
    page.reload()
    expect(points.first).to_be_visible()
    shifts = np.array(position(), dtype=float) - np.array(moved, dtype=float)
    assert np.abs(shifts).max() < 0.1  # the link rounds
    map_.press("0")
    assert position() == before


@pytest.mark.heavy
def test_a_click_on_the_map_asks_for_that_token(page: Page, odd: str) -> None:
    page.goto(f"{odd}#/weights?part=embeddings&near=0")
    dot = page.get_by_role("application").get_by_text("eight", exact=True)
    box = dot.bounding_box()
    assert box
    page.mouse.move(box["x"] - 7, box["y"] + box["height"] / 2)
    expect(page.get_by_role("heading", name="Nearest to eight")).to_be_visible()
    page.mouse.down()
    page.mouse.up()
    page.mouse.move(5, 5)
    expect(page.get_by_label("Token, or its id")).to_have_value("eight")
    page.go_back()
    expect(page.get_by_label("Token, or its id")).to_have_value("one")


@pytest.mark.parametrize(
    "size",
    [pytest.param((1440, 900), marks=pytest.mark.heavy), (390, 844)],
    ids=["wide", "narrow"],
)
@pytest.mark.parametrize("part", [pytest.param("matrices", marks=pytest.mark.heavy), "embeddings"])
def test_both_parts_are_accessible_and_fit_the_screen(page: Page, odd: str, size, part) -> None:
    page.set_viewport_size({"width": size[0], "height": size[1]})
    page.goto(f"{odd}#/weights?part={part}&analogy=0,1,2")
    expect(page.locator("main svg, main canvas").first).to_be_visible()
    assert problems(page) == []
    assert page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0
