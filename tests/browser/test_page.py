"""The page as a whole: views within reach and within the screen, the URL its state."""

import re
from pathlib import Path
from typing import Literal

import pytest
from playwright.sync_api import Page, expect

from glassformer.server.app import create_app
from glassformer.server.runs import Runs
from tests.server.served import listening

VIEWS = ["start", "story", "map", "attention", "playground", "lab", "training", "tokens", "weights"]
SIZES = [(1440, 900), (1024, 768), (390, 844)]
CELL = "fwd/blocks.0.attn.pattern[head=1,query=2,key=1]"
AXE = Path(__file__).resolve().parents[2] / "web/node_modules/axe-core/axe.min.js"


def problems(page: Page) -> list[str]:
    """What axe-core finds, a line each, once nothing glides over the page any more."""
    expect(page.locator(".gliding")).to_have_count(0)
    if not page.evaluate("'axe' in window"):
        page.evaluate(AXE.read_text())
    result = page.evaluate("axe.run({ resultTypes: ['violations'] })")["violations"]
    return [f"{v['id']}: {n['target']} {n['html'][:90]}" for v in result for n in v["nodes"]]


def drawn(page: Page) -> None:
    """Wait until nothing moves and two pictures have been drawn since."""
    page.wait_for_function("() => document.getAnimations().every(a => a.playState != 'running')")
    page.evaluate("() => new Promise(ok => requestAnimationFrame(() => requestAnimationFrame(ok)))")


def settle(page: Page) -> None:
    page.wait_for_selector(".rail .token, .sentence")  # the trace is there
    drawn(page)


NEVER = ("This part of the page failed", "[[", "undefined", "NaN")
"""What no view may show of a trace whose numbers are all finite."""


def problems_of_views(page: Page, url: str, views: list[str]) -> list[str]:
    """What axe-core finds in each view, what has failed, and where it is wider than the screen."""
    result: list[str] = []
    for view in views:
        page.goto(f"{url}#/{view}")
        page.wait_for_selector(".rail .token, .sentence", state="attached")
        expect(page.locator(".spinner")).to_have_count(0)  # the view is loaded
        drawn(page)
        result += [f"{view}: {problem}" for problem in problems(page)]
        text = page.locator("main").inner_text()
        result += [f"{view}: it shows {part!r}" for part in NEVER if part in text]
        for width, height in SIZES:
            page.set_viewport_size({"width": width, "height": height})
            drawn(page)
            over = page.evaluate("document.documentElement.scrollWidth - innerWidth")
            if over > 0:
                result.append(f"{view}: {over} pixels too wide at {width}")
    return result


FEW = ["story", "playground", "training", f"map?at={CELL}"]
ALL = [*VIEWS, "map?block=0", "map?at=weight/embed.W_E", f"map?at={CELL}"]


@pytest.mark.parametrize(
    ("views", "theme"),
    [
        pytest.param(FEW, "light", id="few"),
        pytest.param(ALL, "light", id="light", marks=pytest.mark.heavy),
        pytest.param(ALL, "dark", id="dark", marks=pytest.mark.heavy),
    ],
)
def test_axe_finds_nothing_wrong_and_no_view_is_wider_than_the_screen(
    page: Page, server: str, views: list[str], theme: Literal["light", "dark"]
) -> None:
    page.emulate_media(color_scheme=theme)
    assert problems_of_views(page, server, views) == []


def test_escape_and_back_climb_out_level_by_level(page: Page, server: str) -> None:
    page.goto(f"{server}#/map")
    page.get_by_role("link", name="Open block 1").click()
    expect(page.get_by_role("region", name="Block 1")).to_be_visible()
    page.get_by_role("link", name="pattern", exact=True).first.click()
    page.get_by_role("grid").press("Enter")
    expect(page.get_by_test_id("value")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.get_by_test_id("value")).to_have_count(0)
    expect(page.get_by_role("heading", level=2)).to_have_text("blocks.1.attn.pattern")
    page.go_back()
    expect(page.get_by_test_id("value")).to_be_visible()
    for _ in range(3):
        page.go_back()
    expect(page.get_by_role("heading", level=2)).to_have_text("The whole model")


def test_a_link_to_a_number_opens_that_number(page: Page, server: str) -> None:
    page.goto(f"{server}#/map?run=miniature&prompt=the+cat+sat&at={CELL.replace('head=1,', '')}")
    expect(page.locator("[data-address]")).to_contain_text("query 2 sat, key 1 cat")


def test_operands_can_be_followed_down_to_a_token(page: Page, server: str) -> None:
    page.goto(f"{server}#/map?run=miniature&prompt=the+cat+sat&at=fwd/embed[pos=1,d_model=0]")
    page.locator("[data-operand]").get_by_text("[vocab=1,d_model=0]").click()
    expect(page.locator("[data-address]")).to_contain_text("A trained parameter")
    page.go_back()
    page.locator("[data-operand]").get_by_text("[batch=0,pos=1]").click()
    expect(page.locator("[data-address]")).to_contain_text("A token id")


def test_a_matrix_is_walked_with_the_arrow_keys(page: Page, server: str) -> None:
    page.goto(f"{server}#/map?run=miniature&prompt=the+cat+sat&at=fwd/blocks.0.attn.pattern")
    grid = page.get_by_role("grid")
    for key in ("ArrowDown", "End", "ArrowLeft", "Enter"):
        grid.press(key)
    expect(page.locator("[data-address]")).to_contain_text("query 1 cat, key 1 cat")


def test_an_unknown_address_is_answered_with_the_nearest_names(page: Page, server: str) -> None:
    page.goto(f"{server}#/map")
    page.get_by_role("button", name="Tools").click()
    page.get_by_label("Open an address").fill("fwd/blocks.0.attn.patern")
    page.keyboard.press("Enter")
    expect(page.locator("#address-problem")).to_contain_text("fwd/blocks.0.attn.pattern")


def test_a_prompt_that_is_too_long_is_explained(page: Page, server: str) -> None:
    page.goto(f"{server}#/story?run=miniature&prompt={'+'.join(['the'] * 40)}")
    expect(page.locator("main").get_by_role("alert")).to_contain_text("40 tokens")


def test_a_teacher_can_hide_controls(page: Page, server: str) -> None:
    page.goto(f"{server}#/story?hide=views,run,address,prompt")
    settle(page)
    expect(page.get_by_role("navigation", name="Views")).to_have_count(0)
    expect(page.get_by_text("Edit prompt")).to_have_count(0)


def test_the_story_is_stepped_through_with_keys(page: Page, server: str) -> None:
    page.goto(f"{server}#/story?run=miniature&prompt=the+cat+sat")
    settle(page)
    page.keyboard.press("j")
    expect(page).to_have_url(re.compile("stage=tokens"))


@pytest.mark.parametrize("width", [pytest.param(1440, marks=pytest.mark.heavy), 390])
def test_the_cell_of_an_address_is_outlined_and_in_sight(
    page: Page, server: str, width: int
) -> None:
    page.set_viewport_size({"width": width, "height": 844})
    page.goto(f"{server}#/map?at=fwd/embed[pos=3,d_model=60]")
    outlined = page.locator(".addressed")
    expect(outlined).to_be_in_viewport(ratio=0.9)
    cell, dock = outlined.bounding_box(), page.locator(".dock").bounding_box()
    assert cell is not None
    assert dock is not None
    assert cell["x"] + cell["width"] <= dock["x"] or cell["y"] + cell["height"] <= dock["y"]


@pytest.mark.heavy
def test_a_wide_formula_is_shaded_at_the_edge_and_reached_by_keys(page: Page, server: str) -> None:
    page.set_viewport_size({"width": 390, "height": 844})
    page.goto(f"{server}#/map?at={CELL}")
    regions = page.locator(".dock .formula, .dock section.scroll-x")
    expect(regions.first).to_be_visible()
    for region in regions.all():
        assert region.get_attribute("tabindex") == "0"
        shades = region.evaluate("e => getComputedStyle(e).backgroundAttachment")
        assert shades == "local, local, scroll, scroll"


@pytest.mark.heavy
def test_the_optimizers_names_are_said_in_words(page: Page, server: str) -> None:
    page.goto(f"{server}#/map?at=opt/embed.W_E[vocab=3,d_model=1]")
    table = (
        page.get_by_label("One number explained")
        .get_by_role("table")
        .filter(has_text="after the update")
    )
    for words in (
        "learning rate",
        "mean of the gradients",
        "mean of the squared",
        "shrinks a little",
    ):
        expect(table).to_contain_text(words)


@pytest.mark.heavy
def test_on_a_telephone_nothing_touches_the_edges(page: Page, server: str) -> None:
    page.set_viewport_size({"width": 390, "height": 844})
    for view in VIEWS:
        page.goto(f"{server}#/{view}")
        settle(page)
        box = page.locator("main").bounding_box()
        assert box is not None
        assert box["x"] >= 16
        assert box["x"] + box["width"] <= 374


@pytest.mark.heavy
def test_a_token_leaves_the_address_bar_and_the_history(page: Page) -> None:
    with listening(create_app(Runs(["miniature"]), token="a-secret")) as (port, _):
        page.goto(f"http://127.0.0.1:{port}/?token=a-secret#/tokens")
        settle(page)
        for _ in range(2):  # the second time it has the cookie
            assert page.url.startswith(f"http://127.0.0.1:{port}/#/tokens")
            page.goto(f"http://127.0.0.1:{port}/?token=a-secret#/tokens")
            settle(page)
        page.go_back()
        assert "a-secret" not in page.url
