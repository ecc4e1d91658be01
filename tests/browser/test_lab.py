"""The lab: what an edit changes on the page is what it changes in Python."""

import json
import re
from pathlib import Path
from urllib.parse import quote

import pytest
import torch
from playwright.sync_api import Page, expect

from glassformer.lab.changes import changes, watch_text
from glassformer.lab.edits import Edit, patched, without_head
from glassformer.trace import Trace
from glassformer.training.train_state import TrainState, open_train_state
from tests.browser.test_page import problems
from tests.calculator import gives
from tests.pages import export

PROMPT = "the easiest trick to teach a dog is"
OTHER = "the easiest trick to teach a cat is"
BACKGROUND = "(node) => getComputedStyle(node).backgroundColor"
ROWS = """(rows) => rows.map((row) => [
    row.dataset.token,
    row.querySelector("[data-testid=after]").title,
    [...row.querySelectorAll("td")].map((cell) => cell.innerText),
])"""
TILES = """(tiles) => tiles.map((tile) => [
    tile.dataset.path,
    tile.dataset.relative,
    tile.querySelector("[data-testid=share]").innerText,
])"""
PROBABILITIES = "The next token's probabilities"
CLOSE = 2e-4  # the page prints four digits


@pytest.fixture(scope="module")
def state(run_folder: Path) -> TrainState:
    return open_train_state(str(run_folder))


def passes(state: TrainState, edit: Edit) -> tuple[Trace, Trace]:
    ids = torch.tensor([state.tokenizer.encode(PROMPT)])
    return watch_text(state.model, ids), watch_text(state.model, ids, edit)


def lab(url: str, edits: object = None, **fields: str) -> str:
    query = {"run": "small", "prompt": PROMPT, **fields}
    if edits:
        query["with"] = json.dumps({"edits": edits})
    return f"{url}#/lab?" + "&".join(f"{name}={quote(value)}" for name, value in query.items())


def shows(page: Page, before: Trace, after: Trace) -> None:
    """The page's probabilities after the edit, its loss and its changes are those of Python."""
    expect(page.get_by_test_id("after").first).to_be_visible()
    p = after.value_of(after.node("fwd/probs"))[0, -1]
    rows = page.get_by_role("table", name=PROBABILITIES).locator("tbody tr").evaluate_all(ROWS)
    assert rows
    for token, shown, cells in rows:
        assert float(shown) == pytest.approx(p[int(token)].item(), rel=1e-3, abs=1e-7)
        was, now, difference = cells[-3:]
        assert re.search("[1-9]", difference)  # what doesn't change is not listed
        assert gives(f"{was.strip().rstrip('%')} + {difference}", now.strip().rstrip("%"))
    losses = page.get_by_test_id("losses").locator("a")
    expect(losses).to_have_count(2)
    (difference,) = page.get_by_test_id("losses").locator("span.digits").all_inner_texts()
    assert gives(f"{losses.first.inner_text()} + {difference}", losses.last.inner_text())
    assert float(losses.last.inner_text()) == pytest.approx(after["loss"].item(), rel=CLOSE)
    relative = {change.path: change.relative for change in changes(before, after)}
    expect(page.locator("[data-path='fwd/loss'][data-relative]")).to_have_count(1)
    tiles = page.locator("[data-path]").evaluate_all(TILES)
    assert tiles
    for path, share, text in tiles:
        shown, written = float(share), text.removesuffix("%")
        assert shown == pytest.approx(relative.get(path, 0), rel=1e-3, abs=1e-5), path
        if written not in ("unchanged", "< 0.01"):
            assert float(written.replace(",", "")) == pytest.approx(100 * shown, rel=0.4), path


def test_a_head_switched_off_gives_the_probabilities_of_python(
    page: Page, server: str, state: TrainState
) -> None:
    page.goto(lab(server))
    page.get_by_role("switch", name="Head 1 of block 0").click()
    shows(page, *passes(state, without_head(state.model.config, layer=0, head=1)))
    page.get_by_role("button", name="Take back: Head 1 of block 0").click()
    expect(page.get_by_test_id("after")).to_have_count(0)


def test_a_number_is_changed_from_its_card(page: Page, server: str, state: TrainState) -> None:
    address = "fwd/blocks.0.mlp.post[batch=0,pos=7,d_mlp=3]"
    page.goto(lab(server, at=address).replace("#/lab", "#/map"))
    page.get_by_role("link", name="Change this number").click()
    page.get_by_label("It becomes").fill("2.5")
    page.get_by_role("button", name="Run with this edit").click()
    shows(page, *passes(state, {address: 2.5}))


@pytest.mark.heavy
def test_a_weight_is_edited_in_the_url(page: Page, server: str, state: TrainState) -> None:
    address = "weight/blocks.1.mlp.W_out[d_mlp=0]"
    page.goto(lab(server, {address: 1}))
    shows(page, *passes(state, {address: 1.0}))


def test_that_the_answer_is_another_one_is_said_before_the_loss(
    page: Page, server: str, state: TrainState
) -> None:
    address = "fwd/logits[batch=0,pos=7,vocab=9]"
    before, after = passes(state, {address: 20.0})
    was, now = (
        state.tokenizer.decode([int(one["logits"][-1].argmax())]) for one in (before, after)
    )
    assert was != now
    page.goto(lab(server, {address: 20}))
    losses = page.get_by_test_id("losses")
    expect(losses).to_contain_text(
        re.compile(rf"^\s*The most probable next token goes from {was} to {now}\. The loss")
    )


def test_a_value_is_patched_from_another_text(page: Page, server: str, state: TrainState) -> None:
    page.goto(lab(server, way="patch"))
    page.get_by_label("Another text").fill(OTHER)
    page.get_by_label("Take from it").select_option("fwd/blocks.0.resid_post")
    page.get_by_label("at its token").select_option("6")
    page.get_by_label("and put it here at").select_option("6")
    page.get_by_role("button", name="Run with this patch").click()
    ids = torch.tensor([state.tokenizer.encode(OTHER)])
    edit = patched(["fwd/blocks.0.resid_post[pos=6]"], state.model.watch(ids))
    shows(page, *passes(state, edit))
    page.reload()  # the link holds the text, not a trace that the server may have dropped
    shows(page, *passes(state, edit))


def test_an_edit_that_cannot_be_made_is_refused_beside_the_form(page: Page, server: str) -> None:
    page.goto(lab(server, way="number"))
    page.get_by_label("Address", exact=True).fill("blocks.0.mlp.pots")
    expect(page.locator("#lab-address-problem")).to_contain_text("near it: fwd/blocks.0.mlp.post")
    expect(page.get_by_role("button", name="Run with this edit")).to_be_disabled()


def test_a_difference_leads_to_the_number_in_both_passes(page: Page, server: str) -> None:
    page.goto(lab(server, {"fwd/blocks.0.attn.z[head=1]": 0}, at="fwd/blocks.1.resid_post"))
    grid = page.get_by_role("grid", name="fwd/blocks.1.resid_post")
    grid.focus()
    grid.press("Enter")
    value = page.get_by_test_id("value")
    expect(page.get_by_test_id("check")).to_have_attribute("data-agrees", "true")
    with_edits = value.inner_text()
    page.get_by_role("button", name="as it is").click()
    expect(value).not_to_have_text(with_edits)
    expect(page.get_by_test_id("check")).to_have_attribute("data-agrees", "true")


@pytest.mark.heavy
@pytest.mark.parametrize("way", ["off", "number", "patch"])
def test_an_edited_lab_is_accessible_and_fits_a_narrow_screen(
    page: Page, server: str, way: str
) -> None:
    page.set_viewport_size({"width": 390, "height": 844})
    page.goto(lab(server, {"fwd/blocks.0.attn.z[head=1]": 0}, way=way))
    expect(page.get_by_test_id("after").first).to_be_visible()
    expect(page.get_by_role("grid")).to_be_visible()
    page.get_by_text("Every value that changed").first.click()
    assert problems(page) == []
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


@pytest.mark.heavy
@pytest.mark.usefixtures("recorded")
def test_a_recorded_lab_says_what_it_needs(page: Page, run_folder: Path, tmp_path: Path) -> None:
    file = tmp_path / "page.html"
    export(str(run_folder), PROMPT, file)
    page.goto(f"{file.as_uri()}#/lab")
    expect(page.get_by_text("An edit needs the model to run again")).to_be_visible()
    expect(page.get_by_role("switch", name="Head 0 of block 0")).to_be_disabled()
    page.get_by_role("button", name="Change a number").click()
    address = page.get_by_label("Address", exact=True)
    expect(address).not_to_be_editable()
    assert address.evaluate(BACKGROUND) == page.locator("body").evaluate(BACKGROUND)
    expect(page.get_by_role("table", name=PROBABILITIES).locator("tbody tr")).to_have_count(8)


@pytest.mark.heavy
def test_a_training_step_in_the_link_is_not_taken_for_the_edit(page: Page, server: str) -> None:
    edit = {"fwd/blocks.0.attn.z[head=1]": 0}
    page.goto(lab(server, **{"with": json.dumps({"edits": edit, "at_step": 0})}))
    expect(page.get_by_text("differs in more than the edits")).to_be_visible()
    expect(page.get_by_test_id("after")).to_have_count(0)


@pytest.mark.parametrize(
    "edits",
    [
        {"oops oops": 0},
        *(pytest.param(e, marks=pytest.mark.heavy) for e in ({"fwd/logits": None}, "oops")),
    ],
)
def test_an_edit_that_cannot_be_read_leaves_the_lab_standing(
    page: Page, server: str, edits: object
) -> None:
    page.goto(lab(server, edits))
    expect(page.get_by_role("table", name=PROBABILITIES).locator("tbody tr")).to_have_count(8)
    if isinstance(edits, dict):
        page.get_by_role("button", name="is not an edit that can be read").click()
        expect(page.get_by_text("Nothing is edited yet")).to_be_visible()


@pytest.mark.heavy
def test_the_loss_says_that_after_the_last_token_nothing_is_asked(page: Page, server: str) -> None:
    page.goto(lab(server))
    losses = page.get_by_test_id("losses")
    expect(losses).to_contain_text(
        "Nothing is asked after the last token, “is”, so it does not count in the mean."
    )
    page.goto(lab(server, target="sit"))
    expect(losses).to_contain_text("at each next token and at “sit” after the last, is")
    expect(losses).not_to_contain_text("Nothing is asked")


@pytest.mark.heavy
def test_the_token_that_another_one_follows_is_named_apart_from_the_words_around(
    page: Page, server: str
) -> None:
    page.goto(lab(server))
    title = page.get_by_role("region", name="Predictions").get_by_role("heading")
    expect(title).to_have_text("The token after is position 7")
    expect(title.locator("b")).to_have_text("is")


@pytest.mark.heavy
def test_the_lab_leaves_no_wide_gap_on_a_wide_screen(page: Page, server: str) -> None:
    page.set_viewport_size({"width": 1440, "height": 900})
    page.goto(lab(server))
    expect(page.get_by_test_id("losses")).to_be_visible()
    tiles = [tile.bounding_box() for tile in page.locator("[data-path*='blocks.0.attn']").all()]
    stream = page.locator("[data-path='fwd/blocks.0.resid_mid']").bounding_box()
    last = tiles[-1]
    assert last
    assert stream
    assert stream["x"] - (last["x"] + last["width"]) < last["width"]
    edits, predictions = (page.get_by_role("region", name=n) for n in ("Edits", "Predictions"))
    loss = page.get_by_role("region", name="Loss").bounding_box()
    left, right = edits.bounding_box(), predictions.bounding_box()
    assert loss
    assert left
    assert right
    assert loss["x"] == left["x"] < right["x"]


@pytest.mark.heavy
def test_an_unknown_word_of_the_other_text_is_said_to_be(page: Page, server: str) -> None:
    page.goto(lab(server, way="patch"))
    page.get_by_label("Another text").fill("the zebra is")
    said = page.get_by_role("region", name="Edits").get_by_test_id("unknown")
    expect(said).to_contain_text("The model doesn't know “zebra”")
    page.get_by_label("Another text").fill(OTHER)
    expect(said).to_have_count(0)
