"""A file trains its model, or a new one of a pasted text, in the page."""

import re
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.browser.test_engine import chance
from tests.browser.test_page import problems
from tests.pages import export

TEXT = "The cat sat on the mat. The dog sat on the rug. The fish swam in the sea."


@pytest.fixture(scope="module")
def miniature(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("alive") / "miniature.html"
    return export("miniature", "the cat sat on a", out, target="mat")


def test_a_file_without_lessons_says_so_and_leads_to_the_start(page: Page, miniature: Path) -> None:
    page.goto(f"{miniature.as_uri()}#/learn")
    expect(page.get_by_role("heading", name="This file holds no lessons")).to_be_visible()
    expect(page.get_by_text("glassformer course --out course.html")).to_be_visible()
    page.get_by_role("link", name="Go to the start").click()
    expect(page).to_have_url(re.compile("#/start"))


def opened(page: Page, file: Path) -> None:
    page.goto(f"{file.as_uri()}#/training")
    page.get_by_role("heading", name="Train it here").wait_for()


def train(page: Page, steps: int) -> None:
    """Train until so many steps are done; then pause."""
    page.get_by_role("button", name="Train", exact=True).click()
    page.wait_for_function(
        "n => Number(document.querySelector('[data-testid=trained]').dataset.step) >= n", arg=steps
    )
    page.get_by_role("button", name="Pause").click()
    expect(page.get_by_role("button", name="Train", exact=True)).to_be_visible()


@pytest.mark.heavy
def test_plain_gradient_descent_learns_too_and_a_weight_and_attention_move_with_it(
    page: Page, miniature: Path
) -> None:
    opened(page, miniature)
    page.get_by_label("plain gradient descent").check()
    page.get_by_label("Learning rate").fill("-0.5")  # a power of ten
    train(page, 150)
    assert chance(page, "mat") > 90
    followed = page.get_by_test_id("followed")
    now = float(followed.locator("b").inner_text().replace("−", "-"))
    assert abs(now) > 0.1  # it began near 0
    expect(page.locator("main").get_by_role("grid")).to_be_visible()  # attention
    assert problems(page) == []
    page.get_by_role("button", name="Watch this step").click()
    expect(page).to_have_url(re.compile("rate="))  # of the training's own next update
    card = page.locator("[data-address^='opt/embed.W_E']")
    expect(card).to_contain_text("Plain gradient descent")
    expect(card).to_contain_text("computed it again and agrees")


@pytest.mark.heavy
def test_a_learning_rate_that_overshoots_is_said(page: Page, miniature: Path) -> None:
    opened(page, miniature)
    page.get_by_label("plain gradient descent").check()
    page.get_by_label("Learning rate").fill("1")  # 10
    page.get_by_role("button", name="Train", exact=True).click()
    expect(page.get_by_test_id("overshot")).to_contain_text("beyond the lowest point")
    # it stops by itself where the loss is no number any more
    if (pause := page.get_by_role("button", name="Pause")).is_visible():
        pause.click()
    page.get_by_role("button", name="Back to the start").click()
    expect(page.get_by_test_id("trained")).to_have_attribute("data-step", "0")
    expect(page.get_by_test_id("expects").locator("li").first).to_contain_text("12.5%")


@pytest.mark.parametrize("unit", ["words", pytest.param("characters", marks=pytest.mark.heavy)])
def test_a_new_model_of_a_pasted_text_learns_it_by_its_own_vocabulary(
    page: Page, miniature: Path, unit: str
) -> None:
    opened(page, miniature)
    page.get_by_label("Text to learn").fill(TEXT)
    page.get_by_label("Learn it with").select_option(unit)
    # what is not made is not trained in its place
    expect(page.get_by_text("The new model is not made yet")).to_be_visible()
    expect(page.get_by_role("button", name="Train", exact=True)).to_be_disabled()
    expect(page.get_by_role("button", name="One step")).to_be_disabled()
    page.get_by_role("button", name="Make this model").click()
    expect(page.get_by_text("a model of your text, as it is")).to_be_attached()
    expect(page.get_by_label("Text to learn")).to_have_value(TEXT)
    train(page, 60)
    first = page.get_by_test_id("expects").locator("li").first
    expect(first).to_contain_text("mat" if unit == "words" else "o")
    page.get_by_role("button", name="Open it as it is now").click()
    page.get_by_role("link", name="Story", exact=True).click()
    goes_on = "“mat”" if unit == "words" else "“o”"
    expect(page.get_by_role("heading", level=1)).to_contain_text(f"goes on with {goes_on}")
    page.get_by_role("link", name="Start", exact=True).click()
    size = 15 if unit == "words" else 21
    expect(page.locator("main")).to_contain_text(
        f"knows {size} {'words' if unit == 'words' else 'tokens'}"
    )


def test_a_text_with_nothing_to_learn_is_refused_in_a_sentence(page: Page, miniature: Path) -> None:
    opened(page, miniature)
    page.get_by_label("Text to learn").fill("word")
    page.get_by_label("Learn it with").select_option("words")
    page.get_by_role("button", name="Make this model").click()
    expect(page.get_by_role("alert").first).to_contain_text("no two different words")
