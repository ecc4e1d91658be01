"""The story and the map as a reader goes through them: stages, the logit lens, round again."""

import re
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from urllib.parse import urlencode

import pytest
import torch
from playwright.sync_api import Locator, Page, Position, expect

from glassformer.course.glossary import glossary
from glassformer.formula.spelling import number
from glassformer.interop import save
from glassformer.lab.logit_lens import additions
from glassformer.model import Config, Decoder
from glassformer.server.record import record
from glassformer.server.schemas import TraceOptions
from glassformer.text.tokenizer import Tokenizer
from glassformer.training.train_state import open_train_state
from tests.browser.serving import serve
from tests.browser.test_page import problems, settle
from tests.calculator import gives
from tests.pages import export

PROMPT = "the easiest trick to teach a dog is"
SMALL = urlencode({"run": "small", "prompt": PROMPT})


def test_beside_every_addition_stands_what_the_lens_of_python_says_there(
    page: Page, server: str, run_folder: Path
) -> None:
    state = open_train_state(str(run_folder))
    trace = record(state, TraceOptions(prompt=PROMPT)).trace
    page.set_viewport_size({"width": 1440, "height": 900})
    start, *added = additions(state.model.config)
    page.goto(f"{server}#/map?{SMALL}")
    token = int(trace[f"lens.{start}.best_token[batch=0,pos=7]"])
    expect(page.get_by_label(f"Its guess at {start}").first).to_contain_text(
        state.tokenizer.token(token)
    )
    for point in added:
        page.goto(f"{server}#/map?{SMALL}&block={point.split('.')[1]}")
        tokens = trace[f"lens.{point}.best_token[batch=0]"].tolist()
        probs = trace[f"lens.{point}.best_prob[batch=0]"].tolist()
        said = page.get_by_role("list", name=f"What it would say at {point}").get_by_role("link")
        expect(said).to_have_count(len(tokens))
        expected = [
            f"{state.tokenizer.token(token)}{number(prob, 3)}"
            for token, prob in zip(tokens, probs, strict=True)
        ]
        assert said.all_text_contents() == expected


@pytest.mark.heavy
def test_a_guess_opens_the_arithmetic_of_its_probability(page: Page, server: str) -> None:
    page.goto(f"{server}#/map?{SMALL}&pos=2&block=0")
    at = page.get_by_role("list", name="What it would say at blocks.0.resid_mid")
    link = at.get_by_role("link").nth(0)
    shown = link.locator(".digits").inner_text()
    link.click()
    card = page.locator("[data-address^='fwd/lens.blocks.0.resid_mid.probs']")
    expect(card.get_by_test_id("check")).to_have_attribute("data-agrees", "true")
    assert number(float(card.get_by_test_id("value").inner_text()), 3) == shown


def test_the_next_token_joins_the_prompt_with_one_key_and_the_story_starts_anew(
    page: Page, server: str
) -> None:
    page.goto(f"{server}#/story?run=miniature&prompt=the+cat+sat&stage=choice")
    settle(page)
    chosen = page.locator(".rail .next .text").inner_text()
    page.keyboard.press("r")
    expect(page.get_by_role("heading", level=1)).to_contain_text(f"“the cat sat {chosen}”")
    expect(page).to_have_url(re.compile("stage=text"))
    page.locator(".rail .next").click()
    expect(page.locator(".rail .token:not(.next)")).to_have_count(5)


@pytest.mark.heavy
def test_the_walk_ends_where_the_context_does(page: Page, server: str) -> None:
    prompt = "+".join(["the"] * 6)  # all that fits into miniature
    page.goto(f"{server}#/story?run=miniature&prompt={prompt}&stage=choice")
    expect(page.get_by_text("6 tokens are all that fit this model")).to_be_visible()
    expect(page.locator(".rail .next")).to_be_disabled()


@pytest.mark.parametrize("run", [pytest.param("small", marks=pytest.mark.heavy), "miniature"])
def test_every_example_prompt_is_of_words_that_the_model_knows(
    page: Page, server: str, run: str
) -> None:
    page.goto(f"{server}#/story?run={run}")
    settle(page)
    page.get_by_role("button", name="Edit prompt").click()
    examples = page.locator(".rail form .small button")
    texts = examples.all_inner_texts()
    assert len(texts) > 1
    page.get_by_role("button", name="Cancel").click()
    for text in texts:
        page.get_by_role("button", name="Edit prompt").click()
        examples.get_by_text(text, exact=True).click()
        expect(page.get_by_role("heading", level=1)).to_contain_text(f"“{text}”")
        assert "<unk>" not in page.locator(".rail .token .text").all_inner_texts()


VIEWS = ["story", "map", "attention", "playground", "lab", "training"]


@pytest.mark.parametrize(
    "view", ["story", *(pytest.param(view, marks=pytest.mark.heavy) for view in VIEWS[1:])]
)
def test_a_word_outside_the_vocabulary_is_said_to_be(page: Page, server: str, view: str) -> None:
    page.goto(f"{server}#/{view}?run=small&prompt=the+zebra+is")
    said = page.get_by_test_id("unknown").first
    expect(said).to_be_visible()
    expect(said).to_contain_text("The model doesn't know “zebra”")
    page.goto(f"{server}#/{view}?{SMALL}")
    expect(page.locator(".rail .token").nth(7)).to_be_visible()
    expect(said).to_have_count(0)


@pytest.mark.parametrize(
    "view",
    ["map", *(pytest.param(view, marks=pytest.mark.heavy) for view in ("story", "attention"))],
)
def test_a_place_that_there_is_not_is_answered(page: Page, server: str, view: str) -> None:
    alert = page.locator("main").get_by_role("alert")
    for asked, good, message in (
        ("block=9", "block=1", "There is no block 9: they go from 0 to 1. This is block 1."),
        ("head=-1", "head=0", "There is no head -1: they go from 0 to 3. This is head 0."),
        ("pos=1.5", "pos=1", "There is no token 1.5: they go from 0 to 7. This is token 1."),
        ("pos=x", "pos=7", "There is no token x: they go from 0 to 7. This is token 7."),
    ):
        page.goto(f"{server}#/{view}?{SMALL}&{asked}")
        expect(alert).to_have_text(message)
        page.goto(f"{server}#/{view}?{SMALL}&{good}")
        expect(alert).to_have_count(0)


@pytest.mark.heavy
def test_a_stage_that_there_is_not_is_answered(page: Page, server: str) -> None:
    page.goto(f"{server}#/story?{SMALL}&stage=nonsense")
    alert = page.locator("main").get_by_role("alert")
    page.wait_for_timeout(500)  # the story has found its place
    expect(alert).to_have_text("There is no stage “nonsense” in this story. This is its beginning.")
    page.keyboard.press("j")
    expect(alert).to_have_count(0)


@pytest.mark.parametrize("width", [pytest.param(1440, marks=pytest.mark.heavy), 390])
def test_the_stage_that_a_link_names_is_in_sight_and_marked(
    page: Page, server: str, width: int
) -> None:
    page.set_viewport_size({"width": width, "height": 844})
    page.goto(f"{server}#/story?{SMALL}&stage=update")
    marked = page.get_by_role("navigation", name="Stages of the story").locator("[aria-current]")
    title = page.get_by_role("heading", level=2, name="Every weight takes a small step")
    page.wait_for_timeout(1500)  # what is drawn late has pushed the page about
    expect(marked).to_have_text("Every weight takes a small step")
    for seen in (marked, title):
        expect(seen).to_be_in_viewport()
        box = seen.bounding_box()
        assert box is not None
        assert 0 <= box["y"] < 844
        assert 0 <= box["x"] < width


def test_before_plus_change_is_after(page: Page, server: str) -> None:
    page.goto(f"{server}#/story?{SMALL}&stage=update")
    rows = page.locator("[data-stage=update] tbody tr").filter(has=page.get_by_role("rowheader"))
    expect(rows.first).to_be_visible()
    for row in rows.all():
        before, change, after = map(Decimal, row.get_by_role("link").all_inner_texts()[:3])
        assert before + change == after


def test_probabilities_surprises_and_the_loss_follow_from_each_other_as_printed(
    page: Page, server: str
) -> None:
    page.goto(f"{server}#/story?{SMALL}&stage=loss")
    stage = page.locator("[data-stage=loss]")
    rows = stage.locator("tbody tr")
    expect(rows.first).to_be_visible()
    surprises = []
    for row in rows.all():
        probability, surprise = row.get_by_role("link").all_inner_texts()
        if probability.endswith("%"):
            assert gives(f"-log({probability.rstrip('%')} / 100)", surprise)
        surprises.append(surprise)
    loss = stage.locator(".big").get_by_role("link").inner_text()
    assert gives(f"({' + '.join(surprises)}) / {len(surprises)}", loss)


def test_the_story_has_every_stage_of_the_way(page: Page, server: str) -> None:
    page.goto(f"{server}#/story?{SMALL}")
    settle(page)
    stages = page.locator("[data-stage]").evaluate_all("all => all.map((s) => s.dataset.stage)")
    assert stages == [
        *("text", "tokens", "ids", "embedding", "norm-1", "qkv", "qk-norm", "rotary", "scores"),
        *("mask", "softmax", "mix", "merge", "resid-mid", "norm-2", "mlp", "resid-post", "blocks"),
        *(
            "guess",
            "final-norm",
            "logits",
            "probabilities",
            "choice",
            "why",
            "loss",
            "gradients",
            "update",
        ),
    ]


BAD = """() => {
    const bad = [0xb3, 0x26, 0x1e];
    return [...document.querySelectorAll("[data-stage=softmax] li canvas")].map((canvas) => {
        const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
        return data.some((_, i) => i % 4 === 0 && bad.every((part, k) => data[i + k] === part));
    });
}"""


@pytest.mark.heavy
def test_a_thumbnail_of_numbers_shows_no_color_of_what_is_none(page: Page, server: str) -> None:
    page.goto(f"{server}#/story?{SMALL}&stage=softmax")
    expect(page.locator("[data-stage=softmax] li canvas")).to_have_count(3)
    page.wait_for_timeout(800)
    assert page.evaluate(BAD) == [False, False, False]


@pytest.fixture(scope="module")
def wide(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server of a model whose vocabulary is so large that the lens is not recorded unasked."""
    folder = tmp_path_factory.mktemp("wide") / "wide"
    words = [f"word{i}" for i in range(30_000)]
    tokenizer = Tokenizer.from_words(words)
    config = Config(tokenizer.vocab_size, n_ctx=32, d_model=8, n_layers=2, n_heads=2)
    torch.manual_seed(0)
    save(Decoder(config), tokenizer, folder)
    with serve(str(folder)) as url:
        yield url


@pytest.mark.heavy
def test_a_large_models_stream_is_read_early_on_request(page: Page, wide: str) -> None:
    prompt = " ".join(f"word{i}" for i in range(20))
    page.set_viewport_size({"width": 1440, "height": 900})
    page.goto(f"{wide}#/map?{urlencode({'prompt': prompt})}")
    ask = page.get_by_role("button", name="Read the stream early")
    expect(page.get_by_text("About 28.8 MB more")).to_be_visible()
    # for the followed token the server says it unasked, from what was recorded
    guess = page.get_by_label("Its guess at blocks.1.resid_post")
    expect(guess).to_contain_text("word")
    unasked = guess.inner_text()
    ask.click()
    expect(page.get_by_role("link", name="Its guess at blocks.1.resid_post")).to_be_visible()
    assert guess.inner_text() == unasked
    page.get_by_role("link", name="all values of this block").click()
    said = page.get_by_role("list", name="What it would say at blocks.0.resid_mid")
    expect(said.get_by_role("link")).to_have_count(8)
    expect(ask).to_have_count(0)
    assert problems(page) == []


def test_bars_are_linear_and_small_chances_are_said_in_words_unless_a_reader_asks_for_a_log_scale(
    page: Page, server: str
) -> None:
    page.goto(f"{server}#/story?run=small&prompt=Once+there")  # one token has nearly all
    intro = page.locator(".intro")
    expect(intro.get_by_text("Bars go from 0 to 100%.")).to_be_visible()
    expect(intro.locator("li").last).to_contain_text(re.compile(r"%|1\sin\s[\d,]+"))
    intro.get_by_label("bars on a log scale").check()
    expect(page).to_have_url(re.compile("bars=log"))
    expect(intro.get_by_text("on a log scale, in steps of ten times")).to_be_visible()
    grown = "all => Promise.all(all.flatMap((bar) => bar.getAnimations()).map((a) => a.finished))"
    intro.locator(".fill").evaluate_all(f"all => ({grown})(all).then(() => null)")
    widths = intro.locator(".fill").evaluate_all("all => all.map((b) => b.clientWidth)")
    assert len(widths) == 5
    assert widths[1] > 10
    assert min(widths) > 1


@pytest.mark.heavy
def test_the_digits_of_a_weight_show_that_it_changed(page: Page, server: str) -> None:
    page.goto(f"{server}#/story?{SMALL}&stage=update")
    rows = page.locator("[data-stage=update] tbody tr").filter(has=page.get_by_role("rowheader"))
    expect(rows.first).to_be_visible()
    for row in rows.all():
        before, change, after = map(float, row.get_by_role("link").all_inner_texts()[:3])
        assert after - before == pytest.approx(change, rel=0.2)  # its first digit is seen


@pytest.mark.heavy
def test_the_last_stage_and_one_with_the_focus_are_in_sight_at_once(
    page: Page, server: str
) -> None:
    page.set_viewport_size({"width": 1440, "height": 844})
    page.goto(f"{server}#/story?{SMALL}")
    settle(page)
    page.keyboard.press("End")
    marked = page.get_by_role("navigation", name="Stages of the story").locator("[aria-current]")
    expect(marked).to_have_text("Every weight takes a small step", timeout=500)
    expect(marked).to_be_in_viewport(timeout=500)
    page.set_viewport_size({"width": 390, "height": 844})
    stages = page.get_by_role("navigation", name="Stages of the story").get_by_role("button")
    for stage in stages.all()[::-1][:8]:
        stage.focus()
        expect(stage).to_be_in_viewport(ratio=0.9)


@pytest.mark.heavy
def test_a_term_says_what_it_means_when_it_is_pressed_or_the_keyboard_comes_to_it(
    page: Page, server: str, run_folder: Path, tmp_path: Path
) -> None:
    means = glossary()["vocabulary"]
    file = export(str(run_folder), PROMPT, tmp_path / "page.html", snapshots=0)
    for url in (f"{server}#/tokens?{SMALL}", f"{file.as_uri()}#/tokens"):
        page.set_viewport_size({"width": 390, "height": 844})
        page.goto(url)
        term = page.get_by_role("main").get_by_role("button", name="vocabulary", exact=True).first
        expect(term).to_have_attribute("title", means)
        term.click()
        note = page.get_by_role("note").filter(has_text=means)
        expect(note).to_be_in_viewport(ratio=1)
        page.keyboard.press("Escape")
        expect(note).to_have_count(0)
        page.keyboard.press("Shift+Tab")
        page.keyboard.press("Tab")
        expect(note).to_be_visible()
        settle(page)
        assert problems(page) == []


FOCUSED = "link => link === document.activeElement"
HELD = 700  # milliseconds that a finger rests on a link


def hold(page: Page, link: Locator) -> None:
    """Rest a finger on it, and lift it again."""
    box = link.bounding_box()
    assert box
    fingers = [{"x": box["x"] + box["width"] / 2, "y": box["y"] + box["height"] / 2}]
    session = page.context.new_cdp_session(page)
    session.send("Input.dispatchTouchEvent", {"type": "touchStart", "touchPoints": fingers})
    page.wait_for_timeout(HELD)
    session.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})
    session.detach()


@pytest.mark.heavy
def test_a_term_is_explained_in_labels_links_and_the_walk_too(page: Page, server: str) -> None:
    def explained(term: str) -> Locator:
        return page.get_by_role("note").filter(has_text=glossary()[term])

    page.goto(f"{server}#/playground?run=miniature&prompt=the+cat+sat")
    word: Position = {"x": 8, "y": 8}  # a label may be wider than its text
    page.get_by_text("Temperature", exact=True).hover(position=word)
    expect(explained("temperature")).to_be_in_viewport(ratio=1)
    page.get_by_text("Top-k", exact=True).hover(position=word)
    expect(page.get_by_role("note")).to_have_count(1)
    expect(explained("top-k")).to_be_in_viewport(ratio=1)
    page.get_by_role("link", name="Attention", exact=True).hover()
    expect(explained("attention")).to_be_in_viewport(ratio=1)
    page.mouse.move(2, 2)
    expect(page.get_by_role("note")).to_have_count(0)
    page.keyboard.press("Tab")  # from the link that the mouse was at to the next ones
    for _ in range(12):
        if page.get_by_role("link", name="Attention", exact=True).evaluate(FOCUSED):
            break
        page.keyboard.press("Tab")
    expect(explained("attention")).to_be_in_viewport(ratio=1)
    page.keyboard.press("Escape")
    expect(page.get_by_role("note")).to_have_count(0)
    hold(page, page.get_by_role("link", name="Attention", exact=True))
    expect(explained("attention")).to_be_in_viewport(ratio=1)
    expect(page).to_have_url(re.compile("#/playground"))  # a finger that rests follows no link
    page.goto(f"{server}#/story?run=miniature&prompt=the+cat+sat&play=softmax")
    page.get_by_role("dialog").get_by_role("button", name="Softmax", exact=True).click()
    expect(explained("softmax")).to_be_in_viewport(ratio=1)
    expect(page.get_by_role("button", name="Play", exact=True)).to_be_visible()  # it waits
