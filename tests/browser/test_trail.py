"""The walk from number to number: linked, stepped back, walked to a token, saved as a picture."""

import re
from pathlib import Path
from urllib.parse import urlencode

import pytest
from playwright.sync_api import Page, expect

from tests.browser.test_page import problems

CELL = "fwd/probs[batch=0,pos=5,vocab=9]"
START = urlencode({"run": "small", "prompt": "the easiest trick to teach a", "at": CELL})


def test_the_walk_to_a_number_is_in_its_link_and_can_be_stepped_back(
    page: Page, server: str
) -> None:
    page.goto(f"{server}#/map?{START}")
    page.locator("[data-operand]").first.click()
    expect(page.locator("[data-address^='fwd/logits_exp']")).to_be_visible()
    page.locator("[data-operand]").first.click()
    expect(page.locator("[data-address^='fwd/logits[']")).to_be_visible()
    steps = page.get_by_role("navigation", name="The trail of this walk").locator("a.digits")
    expect(steps).to_have_text(["probs", "logits_exp"])
    expect(page).to_have_url(re.compile("trail="))
    link = page.url
    page.goto("about:blank")
    page.goto(link)  # as somebody to whom it was sent
    expect(steps).to_have_text(["probs", "logits_exp"])
    steps.first.click()
    expect(page.locator(f"[data-address='{CELL}']")).to_be_visible()
    expect(steps).to_have_count(0)
    page.go_back()
    expect(steps).to_have_text(["probs", "logits_exp"])


@pytest.mark.parametrize(
    "motion", [pytest.param("reduce", marks=pytest.mark.heavy), "no-preference"]
)
def test_a_number_is_walked_to_the_token_that_it_came_from(
    page: Page, server: str, motion: str
) -> None:
    page.emulate_media(reduced_motion="reduce" if motion == "reduce" else "no-preference")
    query = urlencode({"run": "miniature", "prompt": "the cat sat"})
    page.goto(f"{server}#/map?{query}&at=fwd/blocks.0.resid_pre[batch=0,pos=1,d_model=0]")
    page.get_by_role("button", name="Walk to the token").click()
    expect(page.locator("[data-address^='token/ids']")).to_be_visible()
    expect(page.get_by_role("status").filter(has_text="steps to token/ids")).to_have_count(1)
    trail = page.get_by_role("navigation", name="The trail of this walk")
    expect(trail.get_by_role("link", name="resid_pre")).to_be_visible()
    assert problems(page) == []


def test_a_card_is_shared_as_a_link_and_as_a_picture(page: Page, server: str) -> None:
    page.goto(f"{server}#/map?{START}")
    value = page.get_by_test_id("value").inner_text()
    page.get_by_text("Share", exact=True).click()
    expect(page.get_by_role("button", name="Copy link")).to_be_visible()
    with page.expect_download() as download:
        page.get_by_role("button", name="Picture (SVG)").click()
    svg = Path(download.value.path()).read_text(encoding="utf-8")
    assert value in svg
    assert "fwd/probs[pos=5,vocab=9]" in svg
    assert "computed again and agrees" in svg
    with page.expect_download() as download:
        page.get_by_role("button", name="Picture (PNG)").click()
    assert Path(download.value.path()).read_bytes().startswith(b"\x89PNG")
