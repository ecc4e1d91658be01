"""A telephone: a long text's attention fits, and what is tapped stays in sight above its card."""

import re
from urllib.parse import urlencode

import pytest
from playwright.sync_api import Page, expect

LONG = " ".join(["the dog ran to the hill ."] * 5 + ["the easiest trick to"])
TOKENS = 39
STAGE = urlencode({"run": "small", "prompt": LONG, "stage": "softmax"})
TOPS = """() => [".addressed", ".dock"].map(
    (part) => document.querySelector(part).getBoundingClientRect())"""


@pytest.mark.heavy
def test_a_tapped_number_stays_in_sight_above_its_card_and_the_stage_stays_the_same(
    page: Page, server: str
) -> None:
    page.set_viewport_size({"width": 390, "height": 844})
    page.goto(f"{server}#/story?{STAGE}")
    grid = page.get_by_role("grid", name="fwd/blocks.0.attn.pattern").first
    grid.wait_for()
    # every query, that of the predicting token too, and every key is in the picture
    fits = "grid => grid.scrollWidth <= grid.clientWidth && grid.scrollHeight <= grid.clientHeight"
    assert grid.evaluate(fits)
    grid.press("Control+End")
    expect(grid.get_by_role("gridcell")).to_contain_text(
        f"query {TOKENS - 1} to, key {TOKENS - 1} to"
    )
    box = grid.bounding_box()
    assert box
    grid.click(position={"x": box["width"] / 2, "y": box["height"] - 6})
    expect(page.get_by_test_id("value")).to_be_visible()
    expect(page).to_have_url(re.compile("stage=softmax"))
    in_sight = (
        f"(() => {{ const [cell, card] = ({TOPS})(); "
        "return cell.top >= 0 && cell.bottom <= card.top; })()"
    )
    page.wait_for_function(in_sight)
    link = page.url
    page.goto("about:blank")
    page.goto(link)  # as somebody to whom it was sent
    expect(page.get_by_test_id("value")).to_be_visible()
    page.wait_for_timeout(2000)  # what is drawn late has grown by now
    page.wait_for_function(in_sight)
