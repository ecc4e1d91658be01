"""A file that runs its model by itself: any prompt, edits and draws, with no server."""

import json
import re
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
from playwright.sync_api import Page, expect

from glassformer.server.record import record
from glassformer.server.schemas import SamplingOptions, TraceOptions
from glassformer.training.train_state import TrainState, open_train_state
from tests.pages import export

PROMPT, OTHER = "the easiest trick to teach a dog is", "The dog is wug . The easiest trick is"
HEAD = "fwd/blocks.0.attn.z[head=1]"
CELLS = ["fwd/loss", "fwd/blocks.1.mlp.post[batch=0,pos=3,d_mlp=7]", "opt/grad_norm"]
CELLS += ["bwd/blocks.0.attn.W_Q[head=1,d_model=2,d_head=3]"]


@pytest.fixture(scope="module")
def state(run_folder: Path) -> TrainState:
    return open_train_state(str(run_folder))


@pytest.fixture(scope="module")
def file(run_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return export(str(run_folder), PROMPT, tmp_path_factory.mktemp("alive") / "page.html")


def opened(page: Page, file: Path, view: str = "story", **fields: Any) -> None:
    written = {k: v if isinstance(v, str) else json.dumps(v) for k, v in fields.items()}
    page.goto(f"{file.as_uri()}#/{view}?{urlencode(written)}")
    page.wait_for_selector(".rail .token", state="attached")


def shown(page: Page) -> float:
    return float(page.get_by_test_id("value").inner_text().replace("−", "-"))


def close_to(value: float) -> Any:
    return pytest.approx(value, rel=1e-3, abs=1e-7)  # the card has six digits, both have float32


def test_a_file_reads_another_prompt_and_explains_every_number_of_it(
    page: Page, file: Path, state: TrainState
) -> None:
    opened(page, file)
    expect(page.get_by_text("every number was computed here")).to_be_visible()
    page.get_by_role("button", name="Edit prompt").click()
    page.get_by_role("textbox", name="Prompt").fill(OTHER)
    page.keyboard.press("Enter")
    trace = record(state, TraceOptions(prompt=OTHER)).trace
    best = state.tokenizer.token(int(trace["choose/token"]))
    expect(page.get_by_role("heading", level=1)).to_contain_text(f"goes on with “{best}”")
    for address in CELLS:
        opened(page, file, "map", prompt=OTHER, at=address)
        expect(page.locator(f'[data-address="{address}"]')).to_be_visible()
        assert shown(page) == close_to(trace[address].item())
        expect(page.get_by_test_id("check")).to_have_attribute("data-agrees", "true")


def test_a_file_edits_patches_and_draws_by_itself(
    page: Page, file: Path, state: TrainState
) -> None:
    address = "fwd/logits[batch=0,pos=7,vocab=3]"
    edits = {HEAD: 0, "fwd/blocks.1.mlp.mlp_out": {"prompt": OTHER, "address": "fwd/embed[pos=0]"}}
    opened(page, file, "map", prompt=PROMPT, at=address, edits={HEAD: 0})
    trace = record(state, TraceOptions(prompt=PROMPT), {HEAD: 0.0}).trace
    expect(page.locator(f'[data-address="{address}"]')).to_be_visible()
    assert shown(page) == close_to(trace[address].item())
    page.goto(f"{file.as_uri()}#/lab?{urlencode({'edits': json.dumps(edits)})}")
    expect(page.get_by_role("main").get_by_role("alert")).to_contain_text("give one number")
    how = SamplingOptions(temperature=0.8, top_k=5, seed=3)
    options = TraceOptions(prompt=PROMPT, sampling=how)
    drawn = record(state, options).trace
    draw = {"temperature": 0.8, "top_k": 5, "top_p": None, "min_p": None}
    draw |= {"repetition_penalty": 1, "seed": 3, "index": 0}
    opened(page, file, "map", prompt=PROMPT, at="choose/token", draw=draw)
    assert shown(page) == int(drawn["choose/token"])


def test_a_word_that_the_model_lacks_is_named(page: Page, file: Path) -> None:
    other = page.context.new_page()  # what can't be asked is said, and noted in the console
    opened(other, file)
    other.goto(f"{file.as_uri()}#/story?{urlencode({'prompt': PROMPT, 'target': 'xyzzy'})}")
    said = other.locator("main").get_by_role("alert")
    expect(said).to_contain_text(re.compile("“xyzzy” is not one of the 169 tokens"))


@pytest.fixture(scope="module")
def miniature(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("miniature") / "page.html"
    return export("miniature", "the cat sat on a", out, target="mat")


def chance(page: Page, word: str) -> float:
    """The probability of a word, in per cent, as the page that trains says it; 0 if not shown."""
    bar = page.get_by_test_id("expects").locator("li", has_text=re.compile(rf"^\s*{word}\b"))
    said = bar.first.inner_text() if bar.count() else "0%"
    result = re.search(r"([\d.]+)%", said)
    return float(result[1]) if result else 0.0


def test_the_miniature_learns_before_the_eyes_and_is_opened_as_it_is_then(
    page: Page, miniature: Path
) -> None:
    opened(page, miniature, "training")
    trained = page.get_by_test_id("trained")
    page.get_by_role("button", name="One step").click()
    expect(trained).to_have_attribute("data-step", "1")
    assert chance(page, "mat") < 50
    page.get_by_role("button", name="Train", exact=True).click()
    expect(trained).to_have_attribute("data-step", re.compile(r"^([2-9]\d\d|\d{4,})$"))
    page.get_by_role("button", name="Pause").click()
    expect(page.get_by_role("button", name="Train", exact=True)).to_be_visible()
    assert chance(page, "mat") > 90
    page.get_by_role("button", name="Open it as it is now").click()
    page.get_by_role("link", name="Story", exact=True).click()
    expect(page.get_by_role("heading", level=1)).to_contain_text("goes on with “mat”")
    page.get_by_role("link", name="Training", exact=True).click()
    page.get_by_role("button", name="Back to the start").click()
    expect(trained).to_have_attribute("data-step", "0")
    expect(page.get_by_test_id("expects").locator("li").first).to_contain_text("12.5%")
