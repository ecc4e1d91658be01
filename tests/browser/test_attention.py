"""The attention view: every head's picture, words and arcs are those of the recorded pattern."""

import re
from pathlib import Path
from urllib.parse import urlencode

import pytest
import torch
from playwright.sync_api import Page, expect

from glassformer.formula.spelling import number
from glassformer.lab import attribution
from glassformer.server.record import record
from glassformer.server.schemas import TraceOptions
from glassformer.trace import Trace
from glassformer.training.train_state import TrainState, open_train_state
from tests.browser.test_page import problems

PROMPT = "the easiest trick to teach a dog is"
WORDS = PROMPT.split()
LONG = " ".join(["the dog ran to the hill ."] * 9)


@pytest.fixture(scope="module")
def state(run_folder: Path) -> TrainState:
    return open_train_state(str(run_folder))


@pytest.fixture(scope="module")
def trace(state: TrainState) -> Trace:
    return record(state, TraceOptions(prompt=PROMPT)).trace


def visit(page: Page, server: str, **fields: object) -> None:
    page.goto(f"{server}#/attention?{urlencode({'prompt': PROMPT, **fields})}")
    page.get_by_test_id("summary").wait_for()


def head_of(trace: Trace, block: int, head: int):
    """The recorded pattern of one head [query, key]."""
    return trace[f"fwd/blocks.{block}.attn.pattern"][head]


def sentence(trace: Trace, block: int, head: int, query: int) -> str:
    row = head_of(trace, block, head)[query]
    best = int(row.argmax())
    return f"“{WORDS[query]}” looks most at “{WORDS[best]}”, {number(float(row[best]), 2)}"


@pytest.mark.parametrize("query", [3, pytest.param(7, marks=pytest.mark.heavy)])
def test_every_head_says_what_a_token_looks_at_most(
    page: Page, server: str, trace: Trace, state: TrainState, query: int
) -> None:
    visit(page, server, pos=query, block=0, head=0)
    config = state.model.config
    for block in range(config.n_layers):
        for head in range(config.n_heads):
            expect(page.locator(f"[data-head='{block}.{head}']")).to_have_attribute(
                "aria-label", f"block {block}, head {head}: {sentence(trace, block, head, query)}"
            )
    expect(page.get_by_test_id("summary")).to_contain_text(
        f"Head 0 of block 0: {sentence(trace, 0, 0, query)}"
    )


def by_key(trace: Trace, block: int, head: int, row: torch.Tensor) -> torch.Tensor:
    """A head's share of the answer's logit, by the tokens it came from (the norm is RMSNorm)."""
    answer, scope = int(trace["logits"][-1].argmax()), f"blocks.{block}.attn"
    wrote = row[:, None] * trace[f"fwd/{scope}.v"][:, head] @ trace[f"weight/{scope}.W_O"][head]
    normed = wrote / trace["ln_final.scale"][-1] * trace["weight/ln_final.w"]
    return normed @ trace["unembed.W_U"][:, answer]


def test_the_head_that_wrote_most_to_the_answer_is_named_with_the_tokens_that_it_came_from(
    page: Page, server: str, trace: Trace, state: TrainState
) -> None:
    visit(page, server)
    heads = {
        match.groups(): share.logits
        for share in attribution(state.model, trace).shares
        if (match := re.fullmatch(r"layer (\d+) head (\d+)", share.part))
    }
    (block, head), wrote = max(heads.items(), key=lambda one: one[1])
    row = head_of(trace, int(block), int(head))[-1]
    gave = by_key(trace, int(block), int(head), row)
    assert float(gave.sum()) == pytest.approx(wrote, rel=1e-3)
    most, looked = int(gave.argmax()), int(row.argmax())

    def said_of(key: int) -> str:
        return rf"“{WORDS[key]}” \({100 * float(row[key]):.1f}%"

    told = page.get_by_test_id("wrote")
    expect(told).to_contain_text(
        re.compile(rf"its logit by itself is head {head} of block {block}")
    )
    expect(told).to_contain_text(re.compile("comes from " + said_of(most)))
    also = "where it looks most" if most == looked else "looks most at " + said_of(looked)
    expect(told).to_contain_text(re.compile(also))
    numbers = re.findall(r" ([+-]\d\S*?)[:,.](?:\s|$)", told.inner_text())
    stated = [wrote, float(gave[most]), *([] if most == looked else [float(gave[looked])])]
    assert [float(one) for one in numbers] == pytest.approx(stated, rel=1e-3, abs=1e-5)
    expect(page.get_by_test_id("head")).to_have_text(f"Head {head} of block {block}")
    expect(page.locator(f"[data-head='{block}.{head}']")).to_have_attribute("aria-selected", "true")
    page.get_by_role("group", name="The sentence").get_by_role("button", name="dog").click()
    expect(told).to_contain_text("after “dog”")
    expect(page.get_by_test_id("head")).to_have_text(f"Head {head} of block {block}")
    another = told.get_by_role("link", name="head")
    another.click()
    expect(page.get_by_test_id("head")).to_have_text(another.inner_text().capitalize())


@pytest.mark.heavy
def test_pointing_shows_a_head_and_a_click_stays_with_it(page: Page, server: str) -> None:
    visit(page, server, block=0, head=0)
    large = page.get_by_test_id("head")
    page.locator("[data-head='1.2']").hover()
    expect(large).to_have_text("Head 2 of block 1")
    page.get_by_role("heading", name="Where every token looks").hover()
    expect(large).to_have_text("Head 0 of block 0")
    page.locator("[data-head='1.2']").click()
    page.get_by_role("heading", name="Where every token looks").hover()
    expect(large).to_have_text("Head 2 of block 1")
    page.reload()
    expect(large).to_have_text("Head 2 of block 1")


def test_the_keyboard_moves_between_heads(page: Page, server: str) -> None:
    visit(page, server)
    page.locator("[data-head='0.0']").focus()
    for key in ("ArrowDown", "End", "ArrowLeft"):
        page.keyboard.press(key)
    expect(page.locator("[data-head='1.2']")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator("[data-head='1.2']")).to_have_attribute("aria-selected", "true")
    assert "block=1&head=2" in page.url


def test_the_arcs_of_a_token_are_its_shares(page: Page, server: str, trace: Trace) -> None:
    visit(page, server, block=0, head=0)
    sentence = page.get_by_role("group", name="The sentence")
    sentence.get_by_role("button", name="dog").click()
    shares = head_of(trace, 0, 0)[6][:7].tolist()
    assert sentence.get_by_role("link").all_inner_texts() == [number(s, 2) for s in shares]
    expect(sentence.locator("path")).to_have_count(sum(share >= 0.01 for share in shares))
    page.reload()
    dog = sentence.get_by_role("button", name="dog")
    expect(dog).to_have_attribute("aria-pressed", "true")
    dog.press("ArrowLeft")
    expect(page.get_by_test_id("summary")).to_contain_text("“a” looks most at")
    sentence.get_by_role("link").first.click()
    expect(page.get_by_test_id("value")).to_be_visible()


def test_scores_shares_and_gradients_are_seen_in_the_same_place(
    page: Page, server: str, trace: Trace
) -> None:
    visit(page, server, block=1, head=3)
    for button, path in (
        ("Scores", "fwd/blocks.1.attn.attn_scores"),
        ("Pattern: shares", "fwd/blocks.1.attn.pattern"),
        ("Gradient of the pattern", "bwd/blocks.1.attn.pattern"),
    ):
        page.get_by_role("button", name=button).click()
        grid = page.get_by_role("grid", name=path)
        for key in ("Control+Home", "ArrowDown", "ArrowDown", "ArrowRight"):
            grid.press(key)
        value = float(trace[path][3][2][1])
        expect(grid.get_by_role("gridcell")).to_have_text(
            f"query 2 trick, key 1 easiest, {number(value)}"
        )
    assert problems(page) == []


@pytest.mark.heavy
def test_what_the_mask_hides_is_said_to_be_masked(page: Page, server: str) -> None:
    visit(page, server, block=0, head=0)
    grid = page.get_by_role("grid", name="fwd/blocks.0.attn.pattern")
    grid.press("ArrowRight")
    expect(grid.get_by_role("gridcell")).to_have_text("query 0 the, key 1 easiest, masked")


@pytest.mark.heavy
def test_a_long_text_fits_a_telephone(page: Page, server: str) -> None:
    page.set_viewport_size({"width": 390, "height": 844})
    visit(page, server, prompt=LONG, pos=40)
    assert page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0
    assert problems(page) == []
