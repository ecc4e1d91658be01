"""The first screen: what this is, a word to guess, the model's own answer, and where to go on."""

import re
from pathlib import Path
from urllib.parse import urlencode, urlsplit

import pytest
from playwright.sync_api import Page, Request, expect

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
    said = re.search(rf"“{word}” (?:gets|is its first choice, with) ([\d.]+)%", sentence(page))
    assert said is not None, sentence(page)
    assert float(said[1]) == pytest.approx(100 * chance, abs=0.06)  # one decimal
    mine = page.locator("li.marked")
    expect(mine).to_contain_text(word)
    end = re.search(r"from 0 to (\d+)%", sentence(page))
    assert end is not None
    drawn = re.search(r"width: ([\d.]+)%", str(mine.locator(".fill").get_attribute("style")))
    assert drawn is not None
    width = float(drawn[1])
    assert width == pytest.approx(100 * chance / (float(end[1]) / 100), rel=1e-3)
    assert problems(page) == []
    page.get_by_role("link", name="Watch how it decides").click()
    expect(page).to_have_url(re.compile(r"#/story\?.*play="))


def sentence(page: Page) -> str:
    return page.get_by_test_id("answer").inner_text()


def test_an_unknown_word_is_said_while_it_is_typed_and_known_ones_are_suggested(
    page: Page, gallery: Path
) -> None:
    page.goto(gallery.as_uri())
    page.get_by_label("Your sentence").fill("the rabit is")
    expect(page.get_by_test_id("unknown")).to_contain_text("doesn't know “rabit”")
    expect(page.get_by_test_id("unknown")).to_contain_text("“rabbit”")
    page.get_by_label("Your sentence").fill("the elephant")
    expect(page.get_by_test_id("unknown")).to_contain_text("it knows are listed below")
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


def test_a_served_page_runs_a_small_model_itself_once_it_is_here_and_says_so(
    page: Page, server: str
) -> None:
    fetched: list[str] = []
    recorded: list[str] = []  # what the server was asked to record of the last prompt

    def note(request: Request) -> None:
        fetched.append(f"{request.method} {urlsplit(request.url).path}")
        if "The cat is" in (request.post_data or ""):
            recorded.append(fetched[-1])

    page.on("request", note)
    page.goto(f"{server}#/start?run=small&prompt=the+dog+is")
    expect(page.locator("main")).to_contain_text("The server on this machine runs it")
    page.goto(f"{server}#/training?run=small&prompt=the+dog+is")
    expect(page.get_by_role("heading", name="Train it here")).to_be_visible()
    assert fetched.count("GET /api/runs/small/model") == 1
    at = "bwd/blocks.0.attn.W_Q[head=1,d_model=2,d_head=3]"
    page.goto(f"{server}#/story?{urlencode({'run': 'small', 'prompt': 'The cat is', 'at': at})}")
    expect(page.get_by_text("this page ran the model itself")).to_be_visible()
    expect(page.get_by_test_id("check")).to_contain_text("run by this page")
    assert recorded == []
    # what only the server can do is asked of it, about the same trace
    page.get_by_role("button", name="Check by a finite difference").click()
    expect(page.get_by_text("the gradient there is")).to_be_visible()
    assert recorded.count("POST /api/traces") == 1
    # and so are the exact weights of an earlier step
    page.goto(f"{server}#/story?run=small&prompt=The+cat+is&step=8")
    expect(page.get_by_text("the server ran the model")).to_be_visible()
    page.remove_listener("request", note)
