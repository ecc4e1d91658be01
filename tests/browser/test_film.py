"""Training as a film: saved step after saved step, with what each model says."""

from pathlib import Path
from urllib.parse import urlencode

import pytest
from playwright.sync_api import Page, expect

from glassformer.generation.generate import generate
from glassformer.training.train_state import open_train_state
from tests.browser.test_page import problems

PROMPT = "the easiest trick to teach a"
LINK = urlencode({"run": "small", "prompt": PROMPT, "step": 16})


@pytest.mark.heavy
def test_the_saved_steps_play_and_every_model_goes_on_with_the_text(
    page: Page, server: str, run_folder: Path
) -> None:
    page.goto(f"{server}#/training?{LINK}")
    step, sample = page.get_by_test_id("step"), page.get_by_test_id("sample")
    expect(step).to_have_text("after step 16")
    dots = page.get_by_role("img", name="tokens as dots").locator("canvas")
    expect(dots).to_be_visible()
    expect(page.get_by_text("of all saved steps")).to_be_visible()
    before = dots.evaluate("canvas => canvas.toDataURL()")
    page.get_by_role("button", name="Play", exact=True).click()
    expect(step).to_have_text("after step 32")
    expect(step).to_have_text("after step 60")
    expect(page.get_by_role("button", name="Play", exact=True)).to_be_visible()  # it has ended
    assert dots.evaluate("canvas => canvas.toDataURL()") != before
    state = open_train_state(str(run_folder))
    ids = state.tokenizer.encode(PROMPT)
    tokens = [*ids, *generate(state.model, ids, max_new_tokens=8, temperature=0)]
    expect(sample).to_have_text(state.tokenizer.decode(tokens))
    page.get_by_role("button", name="Play", exact=True).scroll_into_view_if_needed()
    assert problems(page) == []


def test_a_phone_has_its_views_at_the_bottom_within_the_thumbs_reach(
    page: Page, server: str
) -> None:
    page.set_viewport_size({"width": 390, "height": 844})
    page.goto(f"{server}#/story?{LINK}")
    bar = page.get_by_role("navigation", name="Views")
    box = bar.bounding_box()
    assert box
    assert box["y"] + box["height"] == 844
    expect(bar.get_by_role("link", name="Weights")).to_be_hidden()
    bar.get_by_role("button", name="More").click()
    bar.get_by_role("link", name="Weights").click()
    expect(bar.get_by_role("button", name="Weights")).to_be_visible()  # where one is
    expect(bar.get_by_role("link", name="Lab")).to_be_hidden()
