"""The walk that is played: what it says of a prompt, and how it is stopped, stepped and left."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from urllib.parse import quote, urlencode

import pytest
from playwright.sync_api import Page, expect

from glassformer.formula.spelling import number
from glassformer.lab import attribution
from glassformer.server.record import record
from glassformer.server.schemas import TraceOptions
from glassformer.training.train_state import open_train_state
from tests.browser.test_page import problems

PROMPT = "the easiest trick to teach a"
LINK = urlencode({"run": "small", "prompt": PROMPT, "play": 1})
PICTURE = "document.querySelector('dialog canvas').toDataURL()"
DRAWN = "new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))"
# what is written on a canvas, and where it ends
WRITTEN = """window.written = [];
const write = CanvasRenderingContext2D.prototype.fillText;
CanvasRenderingContext2D.prototype.fillText = function (words, x, y) {
  const {a, e} = this.getTransform(), wide = this.measureText(words).width;
  const before = {left: 0, center: 0.5, right: 1}[this.textAlign] * wide;
  window.written.push([words, (e + a * (x + wide - before)) / devicePixelRatio]);
  return write.call(this, words, x, y);
};"""


def per_cent(p: float) -> re.Pattern[str]:
    return re.compile(rf"\b{100 * p:.1f}")


def test_every_scene_says_what_python_recorded_of_this_prompt(
    page: Page, server: str, run_folder: Path
) -> None:
    state = open_train_state(str(run_folder))
    trace = record(state, TraceOptions(prompt=PROMPT)).trace
    probs = trace["probs[batch=0,pos=5]"]
    best = int(probs.argmax())
    shares = attribution(state.model, trace).shares
    heads = [share for share in shares if " head " in share.part]
    most = max(heads, key=lambda share: share.logits)
    _, block, _, head = most.part.split()
    row = trace[f"blocks.{block}.attn.pattern[batch=0,head={head},query=5]"]
    neurons = trace[f"blocks.{block}.mlp.post[batch=0,pos=5]"]
    checks: dict[str, Callable[[], object]] = {
        "Tokens": lambda: expect(caption).to_contain_text("6 tokens"),
        "Query and keys": lambda: expect(caption).to_contain_text(f"head {head} of block {block}"),
        "Softmax": lambda: expect(caption).to_contain_text(per_cent(float(row.max()))),
        "Mix of values": lambda: expect(caption).to_contain_text("The largest part for"),
        "Neurons": lambda: expect(caption).to_contain_text(
            f"{int((neurons > 0).sum())} of them answer above zero; neuron {int(neurons.argmax())}"
        ),
        "Logits": lambda: expect(caption).to_contain_text(
            number(float(trace[f"logits[batch=0,pos=5,vocab={best}]"]), 3)
        ),
        "Probabilities": lambda: expect(caption).to_contain_text(per_cent(float(probs[best]))),
    }
    page.goto(f"{server}#/story?{LINK}")
    dialog, caption = page.get_by_role("dialog"), page.locator(".caption")
    expect(caption).to_contain_text("trained numbers")
    page.keyboard.press("Space")
    expect(dialog.get_by_role("button", name="Play")).to_be_visible()
    met = set()
    for _ in range(14):
        title = dialog.locator(".where b").inner_text()
        if title in checks:
            checks[title]()
            met.add(title)
        page.keyboard.press("ArrowRight")
    assert met == set(checks)
    expect(dialog.get_by_role("link", name="Why this token?")).to_be_visible()
    page.keyboard.press("ArrowLeft")
    expect(page).to_have_url(re.compile("play=choice"))
    page.keyboard.press("Escape")
    expect(dialog).to_have_count(0)


@pytest.mark.parametrize("size", [pytest.param((1440, 900), marks=pytest.mark.heavy), (390, 844)])
def test_the_walk_moves_and_axe_finds_nothing_wrong(
    page: Page, server: str, size: tuple[int, int]
) -> None:
    page.set_viewport_size({"width": size[0], "height": size[1]})
    page.goto(f"{server}#/story?{LINK}".replace("play=1", "play=scores"))
    expect(page.get_by_role("dialog").locator(".where b")).to_have_text("Scores")
    before = page.evaluate(PICTURE)
    page.wait_for_function(f"before => {PICTURE} !== before", arg=before)
    page.keyboard.press("Space")
    assert problems(page) == []
    page.emulate_media(color_scheme="dark")
    assert problems(page) == []


@pytest.mark.heavy
def test_who_wants_no_motion_is_shown_still_pictures(page: Page, server: str) -> None:
    page.emulate_media(reduced_motion="reduce")
    page.goto(f"{server}#/story?{LINK}".replace("play=1", "play=mix"))
    expect(page.get_by_role("dialog").locator(".where b")).to_have_text("Mix of values")
    page.evaluate(DRAWN)
    before = page.evaluate(PICTURE)
    page.wait_for_timeout(800)
    assert page.evaluate(PICTURE) == before
    page.keyboard.press("ArrowRight")
    expect(page.get_by_role("dialog").locator(".where b")).to_have_text("Addition")
    page.wait_for_function(f"before => {PICTURE} !== before", arg=before)
    page.evaluate(DRAWN)
    stepped = page.evaluate(PICTURE)
    # who paused it is shown the same picture of that scene, whole
    page.emulate_media(reduced_motion="no-preference")
    page.goto("about:blank")
    page.goto(f"{server}#/story?{LINK}".replace("play=1", "play=mix"))
    expect(page.get_by_role("dialog").locator(".where b")).to_have_text("Mix of values")
    page.keyboard.press("Space")
    page.keyboard.press("ArrowRight")
    expect(page.get_by_role("dialog").locator(".where b")).to_have_text("Addition")
    page.evaluate(DRAWN)
    assert page.evaluate(PICTURE) == stepped


def test_on_a_phone_the_chances_beside_the_bars_are_whole(page: Page, server: str) -> None:
    page.set_viewport_size({"width": 390, "height": 844})
    page.add_init_script(WRITTEN)
    page.emulate_media(reduced_motion="reduce")
    edits = quote(json.dumps({"fwd/logits[batch=0,pos=5,vocab=9]": 20.0}))
    page.goto(f"{server}#/story?{LINK}&edits={edits}".replace("play=1", "play=probabilities"))
    expect(page.get_by_role("dialog").locator(".where b")).to_have_text("Probabilities")
    page.wait_for_timeout(300)
    written = page.evaluate("window.written")
    assert any(words.startswith("1\u00a0in\u00a0") for words, _ in written)
    assert [words for words, end in written if end > 390] == []
