"""Why this token: a logit in the parts that Python splits it into, what a swapped word changes."""

from decimal import Decimal
from pathlib import Path
from urllib.parse import urlencode

import pytest
from playwright.sync_api import Page, expect

from glassformer.formula.spelling import number
from glassformer.lab import attribution
from glassformer.server.record import record
from glassformer.server.schemas import TraceOptions
from glassformer.training.train_state import TrainState, open_train_state
from tests.browser.test_page import problems
from tests.pages import export

PROMPT = "the easiest trick to teach a"


@pytest.fixture(scope="module")
def state(run_folder: Path) -> TrainState:
    return open_train_state(str(run_folder))


@pytest.fixture(scope="module")
def file(run_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    out = tmp_path_factory.mktemp("why") / "page.html"
    return export(str(run_folder), PROMPT, out).as_uri()


def check_bars(page: Page, wanted: list[float], error: float) -> None:
    """The parts in the waterfall, its total last: rounded alike, so that they add up as printed."""
    rows = page.get_by_role("list", name="What each part wrote").locator("li > .digits")
    *parts, total = map(Decimal, rows.all_inner_texts())
    assert sum(parts) == total
    unit = Decimal(1).scaleb(int(total.as_tuple().exponent))
    assert [*map(float, parts)] == pytest.approx(wanted[:-1], abs=0.5 * float(unit) + error)
    assert float(total) == pytest.approx(wanted[-1], rel=1e-3)  # of four digits at least


@pytest.mark.parametrize("served", [True, pytest.param(False, marks=pytest.mark.heavy)])
def test_the_bars_of_a_logit_are_what_python_says_each_part_wrote(
    page: Page, request: pytest.FixtureRequest, state: TrainState, served: bool
) -> None:
    trace = record(state, TraceOptions(prompt=PROMPT)).trace
    one = attribution(state.model, trace)
    second = int(trace["probs[batch=0,pos=5]"].argsort(descending=True)[1])
    two = attribution(state.model, trace, second)
    query = urlencode({"run": "small", "prompt": PROMPT} if served else {})
    url = request.getfixturevalue("server" if served else "file")
    page.goto(f"{url}#/story?{query}&stage=why")
    expect(page.get_by_test_id("why")).to_contain_text(f"is {number(one.logit)}")
    wanted = [*(share.logits for share in one.shares), one.logit]
    check_bars(page, wanted, 1e-6)
    page.get_by_role("group", name="And why not").get_by_role("button").first.click()
    expect(page.get_by_test_id("why")).to_contain_text("times as probable")
    pairs = zip(one.shares, two.shares, strict=True)
    wanted = [*(a.logits - b.logits for a, b in pairs), one.logit - two.logit]
    # two engines' float32 passes: of logits about 1
    check_bars(page, wanted, 1e-5)
    page.get_by_role("button", name="neurons").last.click()
    expect(page.get_by_role("link", name="neuron")).to_have_count(6)
    page.get_by_role("link", name="Head 1 of block 1").click()
    expect(page.get_by_test_id("head")).to_have_text("Head 1 of block 1")


@pytest.mark.heavy
def test_one_click_swaps_a_word_and_maps_where_the_answer_comes_back(
    page: Page, file: str, state: TrainState
) -> None:
    page.goto(f"{file}#/story?stage=why")
    page.get_by_role("button", name="Swap one word").click()
    expect(page.get_by_role("button", name="Again", exact=True)).to_be_visible()
    region = page.get_by_role("region", name="Map of what came back")
    assert problems(page) == []
    # the last block's stream at the last token is all that the answer is made of
    expect(region.get_by_role("link").last).to_have_text("100%")
    cell = region.get_by_role("link").first
    shown = int(cell.inner_text().removesuffix("%"))
    cell.click()
    expect(page.get_by_text("values compared differ")).to_be_visible()
    other = page.locator(".rail .token:not(.next) .text").all_inner_texts()
    was = PROMPT.split()
    swaps = [i for i, (a, b) in enumerate(zip(was, other, strict=True)) if a != b]
    assert len(swaps) == 1
    address = f"fwd/blocks.0.resid_post[pos={swaps[0]}]"
    clean = record(state, TraceOptions(prompt=PROMPT)).trace
    corrupt = record(state, TraceOptions(prompt=" ".join(other))).trace
    patched = record(state, TraceOptions(prompt=" ".join(other)), {address: clean[address]}).trace
    logits = [t["logits[batch=0,pos=5]"] for t in (clean, corrupt, patched)]
    token = int(logits[0].argmax())
    ranked = logits[1].argsort(descending=True).tolist()
    rival = next(one for one in ranked if one != token)
    lead = [float(row[token] - row[rival]) for row in logits]
    back = (lead[2] - lead[1]) / (lead[0] - lead[1])
    assert shown == pytest.approx(100 * back, abs=0.6)  # whole per cent
