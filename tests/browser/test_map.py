"""The whole model on one screen: tiles, a block opened in place, and the zoom between levels."""

from collections.abc import Iterator

import pytest
import torch
from playwright.sync_api import Page, expect

from glassformer.interop import save
from glassformer.model import Config, Decoder
from glassformer.text.tokenizer import Tokenizer
from tests.browser.serving import serve
from tests.browser.test_page import problems

BLOCKS = 24
COUNTED = """() => {
  const own = document.startViewTransition.bind(document);
  window.zooms = 0;
  document.startViewTransition = (change) => {
    window.zooms++;
    const transition = own(change);
    const names = () => document.getAnimations().map((one) => one.effect.pseudoElement);
    transition.ready.then(() => (window.faded = names()), () => {});
    return transition;
  };
  window.glided = [];
  const animate = Element.prototype.animate;
  Element.prototype.animate = function (...how) {
    if (this.className === "gliding digits") window.glided.push(this.textContent);
    return animate.apply(this, how);
  };
}"""


@pytest.fixture(scope="module")
def deep(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server of a model with as many blocks as GPT-2 medium has."""
    folder = tmp_path_factory.mktemp("deep") / "deep"
    tokenizer = Tokenizer.from_words(["the", "easiest", "trick", "to", "teach", "a", "dog"])
    config = Config(tokenizer.vocab_size, n_ctx=16, d_model=16, n_layers=BLOCKS, n_heads=4)
    torch.manual_seed(0)
    save(Decoder(config), tokenizer, folder)
    with serve(str(folder)) as url:
        yield url


@pytest.mark.heavy
def test_a_model_of_24_blocks_is_on_one_screen_with_one_block_opened_in_place(
    page: Page, deep: str
) -> None:
    page.set_viewport_size({"width": 1440, "height": 900})
    page.goto(f"{deep}#/map?prompt=the+easiest+trick+to+teach+a")
    tiles = page.get_by_role("list", name="The blocks of the model")
    expect(tiles.get_by_role("link", name="Open block")).to_have_count(BLOCKS)
    # the lens is on: a guess after every block, for the followed token
    expect(page.get_by_label("Its guess at blocks.23.resid_post")).to_be_visible()
    tiles.get_by_role("link", name="Open block 20").click()
    block = page.get_by_role("region", name="Block 20")
    expect(block.get_by_role("link", name="pattern")).to_be_visible()
    for name in ("q", "attn_out", "resid_mid", "post", "mlp_out", "resid_post"):
        expect(block.get_by_role("link", name=name, exact=True)).to_be_visible()
    box = block.bounding_box()
    assert box
    assert box["y"] + box["height"] <= 900
    assert page.evaluate("document.documentElement.scrollHeight") <= 900
    assert problems(page) == []


@pytest.mark.heavy
def test_levels_zoom_into_each_other_unless_no_motion_is_wanted(page: Page, server: str) -> None:
    page.goto(f"{server}#/map?run=miniature&prompt=the+cat+sat")
    expect(page.get_by_role("region", name="Block 0")).to_be_visible()
    page.evaluate(COUNTED)
    page.get_by_role("link", name="pattern", exact=True).click()
    expect(page.get_by_role("heading", level=2)).to_have_text("blocks.0.attn.pattern")
    assert page.evaluate("window.zooms") == 1
    # the picture's dots faded into the cells that they stand for
    faded = page.wait_for_function("window.faded").json_value()
    for side in ("old", "new"):
        assert f"::view-transition-{side}(zoom-fwd-blocks-0-attn-pattern)" in faded
    page.get_by_role("grid").press("Enter")  # a number is on the level of its value
    expect(page.get_by_test_id("value")).to_be_visible()
    number = page.get_by_test_id("value").inner_text()
    assert page.evaluate("window.glided") == [number]
    page.go_back()
    expect(page.get_by_test_id("value")).to_have_count(0)
    page.wait_for_function("() => window.glided.length === 2")  # and back into its cell
    assert page.evaluate("window.glided") == [number, number]
    assert page.evaluate("window.zooms") == 1
    page.evaluate("location.hash = location.hash.replace('map', 'story')")  # to the sentence
    expect(page.get_by_role("heading", name="It starts with a text")).to_be_visible()
    assert page.evaluate("window.zooms") == 2
    page.emulate_media(reduced_motion="reduce")
    page.go_back()
    page.get_by_role("grid").press("Enter")
    expect(page.get_by_test_id("value")).to_be_visible()
    page.evaluate("location.hash = '#/map?run=miniature&prompt=the+cat+sat'")
    expect(page.get_by_role("heading", level=2)).to_have_text("The whole model")
    assert page.evaluate("[window.zooms, window.glided.length]") == [2, 2]
