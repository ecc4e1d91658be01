"""The first screen: what this is, a word to guess, the model's own answer, and where to go on."""

import re
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from glassformer.server.export import gallery_data, write_page
from glassformer.server.record import record
from glassformer.server.schemas import TraceOptions
from glassformer.training.train_state import open_train_state
from tests.browser.test_page import problems

PROMPT = "the easiest trick to teach a"


@pytest.fixture(scope="module")
def gallery(run_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file with a trained model and both that are followed by hand."""
    data = gallery_data([str(run_folder), "miniature", "worked_example"])
    return write_page(data, tmp_path_factory.mktemp("gallery") / "glassformer.html")


def test_a_visitor_guesses_among_four_and_gets_the_models_answer_in_per_cent_on_a_linear_scale(
    page: Page, gallery: Path, run_folder: Path
) -> None:
    page.goto(gallery.as_uri())
    expect(page.get_by_role("heading", level=1)).to_contain_text("small enough to watch")
    expect(page.locator("main")).to_contain_text("109,440 numbers and knows 169 words")
    expect(page.locator(".sentence")).to_contain_text(PROMPT)
    expect(page.get_by_label("Open an address")).to_have_count(0)  # experts' controls stand back
    offered = page.get_by_role("group", name="Your guess").get_by_role("button")
    expect(offered).to_have_count(4)
    expect(page.get_by_test_id("answer")).to_have_count(0)  # it isn't told before
    word = offered.nth(1).inner_text()
    offered.nth(1).click()
    state = open_train_state(str(run_folder))
    trace = record(state, TraceOptions(prompt=PROMPT)).trace
    probs = trace.value_of(trace.node("fwd/probs"))[0, -1].tolist()
    chance = probs[state.tokenizer.encode(word)[0]]
    said = re.search(rf"“{word}” (?:gets|is its first choice, with) ([\d.]+)%", told(page))
    assert said is not None, told(page)
    assert float(said[1]) == pytest.approx(100 * chance, abs=0.06)  # one decimal
    mine = page.locator("li.marked")
    expect(mine).to_contain_text(word)
    end = re.search(r"from 0 to (\d+)%", told(page))
    assert end is not None
    width = float(str(mine.locator(".fill").get_attribute("style")).split(":")[1].strip(" %;"))
    assert width == pytest.approx(100 * chance / (float(end[1]) / 100), rel=1e-3)
    assert problems(page) == []
    page.get_by_role("link", name="Watch how it decides").click()
    expect(page).to_have_url(re.compile(r"#/story\?.*play="))


def told(page: Page) -> str:
    return page.get_by_test_id("answer").inner_text()


def test_an_unknown_word_is_said_while_it_is_typed_and_known_ones_are_suggested(
    page: Page, gallery: Path
) -> None:
    page.goto(gallery.as_uri())
    page.get_by_label("Your sentence").fill("the rabit is")
    expect(page.get_by_test_id("unknown")).to_contain_text("doesn't know “rabit”")
    expect(page.get_by_test_id("unknown")).to_contain_text("“rabbit”")
    page.get_by_label("Your sentence").fill("the rabbit is")
    expect(page.get_by_test_id("unknown")).to_have_count(0)
    page.keyboard.press("Enter")
    expect(page.locator(".sentence")).to_contain_text("the rabbit is ?")


def test_a_gallery_opens_any_of_its_models_and_says_of_one_that_it_learned_nothing_yet(
    page: Page, gallery: Path
) -> None:
    page.goto(gallery.as_uri())
    page.get_by_role("link", name=re.compile("^miniature")).click()
    expect(page.locator("main")).to_contain_text("324 numbers and knows 8 words")
    page.get_by_role("group", name="Your guess").get_by_role("button").first.click()
    expect(page.get_by_test_id("answer")).to_contain_text("has learned nothing yet")
    page.get_by_role("link", name="Watch it learn").click()
    expect(page.get_by_role("heading", name="Train it here")).to_be_visible()
    page.get_by_role("link", name="Glassformer, the first screen").click()
    page.get_by_role("link", name=re.compile("^worked_example")).click()
    expect(page.locator("main")).to_contain_text("160 numbers")


def test_a_served_page_says_that_the_server_runs_the_model(page: Page, server: str) -> None:
    page.goto(server)
    expect(page.locator("main")).to_contain_text("The server on this machine runs it")
