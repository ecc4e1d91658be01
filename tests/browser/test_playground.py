"""The playground: what the page computes from recorded scores is what Python computes and draws."""

import json
import math
import re
from dataclasses import asdict
from pathlib import Path
from urllib.parse import quote, unquote

import httpx
import pytest
import torch
from playwright.sync_api import Page, expect

import glassformer as gf
from glassformer.generation.sampling import Sampling
from glassformer.kernels.choose import uniform
from glassformer.server.record import record
from glassformer.server.schemas import SamplingOptions, TraceOptions
from glassformer.trace import Trace
from glassformer.training.train_state import TrainState, open_train_state
from tests.browser.serving import serve
from tests.browser.test_page import problems
from tests.calculator import gives
from tests.pages import export

PROMPT = "the easiest trick to teach a dog is"
SHOWN = 50

SETTINGS = [
    Sampling(),
    Sampling(temperature=0.3),
    Sampling(temperature=2.5, top_k=7),
    Sampling(top_p=0.9),
    Sampling(min_p=0.2),
    Sampling(repetition_penalty=1.8),
    Sampling(temperature=1.4, top_k=20, top_p=0.7, min_p=0.05, repetition_penalty=0.8),
]


@pytest.fixture(scope="module")
def state(run_folder: Path) -> TrainState:
    return open_train_state(str(run_folder))


def recorded(state: TrainState, sampling: Sampling, seed=0, index=0, prompt=PROMPT) -> Trace:
    how = SamplingOptions(**asdict(sampling), seed=seed, index=index)
    return record(state, TraceOptions(prompt=prompt, sampling=how)).trace


def visit(page: Page, server: str, **fields: object) -> None:
    values = {"prompt": PROMPT, **fields}
    query = "&".join(f"{name}={quote(_text(value))}" for name, value in values.items())
    page.goto(f"{server}#/playground?{query}")
    page.get_by_test_id("token").wait_for()


def _text(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def bars(page: Page) -> dict[int, float]:
    """What may be drawn, by token id, as the table has it in full."""
    rows = page.locator("tr[data-token]").evaluate_all(
        "rows => rows.map((r) => [r.dataset.token, r.querySelector('data')?.value ?? null])"
    )
    return {int(token): float(value) for token, value in rows if value is not None}


def chosen(page: Page) -> int:
    return int(page.get_by_test_id("token").get_attribute("data-id") or "")


@pytest.mark.parametrize(
    "sampling",
    [
        *(pytest.param(one, marks=pytest.mark.heavy) for one in SETTINGS[:-1]),
        SETTINGS[-1],
    ],
    ids=Sampling.summary,
)
def test_the_bars_and_the_token_are_those_that_python_computes(
    page: Page, server: str, state: TrainState, sampling: Sampling
) -> None:
    trace = recorded(state, sampling, seed=3)
    visit(page, server, sampling={**vars(sampling), "seed": 3})
    page.get_by_role("button", name=f"show {SHOWN}").click()
    order, probs = trace["choose/order"].tolist(), trace["choose/probs"].tolist()
    kept = {token: probs[token] for token in order[:SHOWN] if probs[token] > 0}
    result = bars(page)
    assert list(result) == list(kept)
    assert result == pytest.approx(kept, rel=1e-12)
    assert chosen(page) == int(trace["choose/token"])


def test_greedy_takes_the_most_probable_token(page: Page, server: str, state: TrainState) -> None:
    trace = recorded(state, Sampling(temperature=0))
    visit(page, server, sampling={"temperature": 0})
    assert chosen(page) == int(trace["choose/token"])
    assert bars(page) == {chosen(page): 1.0}
    expect(page.get_by_text("greedy: only the first")).not_to_have_count(0)


def test_a_slider_moves_the_bars_without_asking_the_server(
    page: Page, server: str, state: TrainState
) -> None:
    visit(page, server)
    page.wait_for_load_state("networkidle")  # the page has the model now, and runs it by itself
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.get_by_label("Temperature", exact=True).press("ArrowRight")
    expected = recorded(state, Sampling(temperature=1.05))["choose/probs"]
    assert bars(page) == pytest.approx({t: float(expected[t]) for t in bars(page)}, rel=1e-12)
    assert "1.05" in page.url
    assert asked == []


def test_what_was_cut_says_which_setting_cut_it(page: Page, server: str) -> None:
    visit(page, server, sampling={"top_k": 5})
    assert len(bars(page)) == 5
    expect(page.get_by_text("outside the top 5")).to_have_count(7)
    visit(page, server, sampling={"top_p": 0.05})
    expect(page.get_by_text("beyond 0.05 together").first).to_be_visible()
    visit(page, server, sampling={"min_p": 0.9})
    expect(page.get_by_text("below 0.9 × the highest").first).to_be_visible()


@pytest.mark.parametrize(
    ("seed", "added", "first"),
    [
        (0, 1, 0),
        *(
            pytest.param(*each, marks=pytest.mark.heavy)
            for each in ((0, 0, 0), (424242, 0, 0), (2**53 - 1, 0, 0), (5, 1, -1), (5, 1, 7))
        ),
    ],
)
def test_the_number_drawn_is_that_of_the_seed_and_the_place_and_no_prompt_is_taken_back(
    page: Page, server: str, seed: int, added: int, first: int
) -> None:
    start = PROMPT.removesuffix(" is") if added else PROMPT
    drawn = {"start": start, "at": added, "first": first, "tokens": [[3, " is"]] * added}
    visit(page, server, sampling={"seed": seed}, drawn=drawn)
    assert float(page.get_by_test_id("u").inner_text()) == uniform(seed, first + added)
    assert page.get_by_role("button", name="Undo").is_enabled() == (added > 0 and first >= 0)


def test_moving_the_number_by_hand_moves_the_choice_along_the_line(
    page: Page, server: str, state: TrainState
) -> None:
    trace = recorded(state, Sampling())
    visit(page, server)
    line = page.get_by_role("slider", name="The drawn number u")
    for u in (0.0, 0.25, 0.75):
        line.fill(str(u))
        rank = int((trace["choose/cumulative"] <= u).sum())
        assert chosen(page) == int(trace["choose/order"][rank])
    page.get_by_role("button", name="back to the seed's own number").click()
    assert chosen(page) == int(trace["choose/token"])


def test_the_reason_for_an_improbable_token_is_given_with_its_numbers(
    page: Page, server: str
) -> None:
    visit(page, server, sampling={"u": 0.99})
    expect(page.get_by_text("and not the most probable one?")).to_contain_text("u = 0.99 lies")


def test_sampling_on_can_be_undone_and_redone_and_is_what_generate_would_draw(
    page: Page, server: str, state: TrainState
) -> None:
    visit(page, server, sampling={"seed": 5})
    texts, ids = [PROMPT], state.tokenizer.encode(PROMPT)
    for index in range(3):
        expected = int(recorded(state, Sampling(), 5, index, texts[-1])["choose/token"])
        assert chosen(page) == expected
        page.get_by_role("button", name="and go on").click()
        ids.append(expected)
        texts.append(state.tokenizer.decode(ids))
        expect(page.get_by_role("textbox", name="Prompt")).to_have_value(texts[-1])
        expect(page.get_by_text("Running the model again")).to_have_count(0)
    for name, text in [("Undo", texts[2]), ("Undo", texts[1]), ("Redo", texts[2])]:
        page.get_by_role("button", name=name).click()
        expect(page.get_by_role("textbox", name="Prompt")).to_have_value(text)
    page.reload()
    expect(page.get_by_role("textbox", name="Prompt")).to_have_value(texts[2])
    page.get_by_role("button", name="Redo").click()
    expect(page.get_by_role("textbox", name="Prompt")).to_have_value(texts[3])
    page.go_back()
    expect(page.get_by_role("textbox", name="Prompt")).to_have_value(texts[2])


def test_the_link_of_an_answers_token_stands_at_its_draw_and_what_follows_can_be_recorded(
    page: Page, server: str
) -> None:
    how = {"temperature": 1.2, "seed": 8, "max_tokens": 4, "glass": True}
    asked = {"model": "small", "prompt": PROMPT, **how}
    *_, third, fourth = httpx.post(f"{server}v1/completions", json=asked).json()["choices"][0][
        "glass"
    ]
    page.goto(third["link"].replace("#/story", "#/playground"))
    expect(page.get_by_test_id("recorded")).to_have_attribute("data-agrees", "true")
    assert chosen(page) == third["token"]
    assert float(page.get_by_test_id("u").inner_text()) == uniform(8, 2)
    page.get_by_role("button", name="and go on").click()
    page.get_by_role("button", name="Record this choice").click()
    expect(page.get_by_test_id("recorded")).to_have_attribute("data-agrees", "true")
    assert chosen(page) == fourth["token"]
    page.get_by_role("link", name="choose/u", exact=True).click()
    expect(page.get_by_test_id("value")).to_have_text(re.compile(r"^0\.\d+"))


@pytest.mark.heavy
def test_two_texts_are_compared_with_signed_differences(
    page: Page, server: str, state: TrainState
) -> None:
    other = PROMPT.replace("dog", "cat")
    visit(page, server, **{"with": {"prompt": other}})
    table = page.get_by_role("table").filter(has_text="difference")
    expect(table.locator("tbody tr")).to_have_count(12)
    before, after = (
        recorded(state, Sampling(), prompt=text)["fwd/probs"][-1].double()
        for text in (PROMPT, other)
    )
    for row in table.locator("tbody tr").all():
        token = state.tokenizer.encode(row.locator("th").inner_text())[0]
        gap = row.locator("data").get_attribute("value")
        assert float(gap or "nan") == float(after[token] - before[token])
        was, now = (link.inner_text().rstrip("%") for link in row.locator("a").all())
        assert gives(f"{was} + {row.locator('data').inner_text()}", now)
    expect(page.get_by_text("difference: the second minus the first")).to_be_visible()
    assert problems(page) == []


@pytest.mark.heavy
def test_texts_of_different_length_are_compared_at_the_last_position_only(
    page: Page, server: str
) -> None:
    visit(page, server, **{"with": {"prompt": "the dog"}})
    expect(page.get_by_text("only the last position is compared")).to_be_visible()
    expect(page.get_by_text("The texts have 8 and 2 tokens")).to_be_visible()


@pytest.mark.heavy
def test_a_training_step_and_another_run_can_stand_beside(page: Page, server: str) -> None:
    visit(page, server)
    kinds = page.get_by_label("Compare with")
    kinds.select_option("another training step")
    page.get_by_label("The training step").select_option("after 0 steps")
    expect(page.get_by_role("columnheader", name="step 0")).to_be_visible()
    kinds.select_option("another run")
    page.get_by_label("The other run").select_option("miniature")
    expect(page.get_by_text("'easiest' is not one of this tokenizer's")).to_be_visible()


def test_without_a_server_the_sliders_work_and_going_on_says_what_it_needs(
    page: Page,
    run_folder: Path,
    state: TrainState,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("glassformer.server.runnable.MODEL_BYTES", 0)  # a page of recorded numbers
    out = tmp_path / "page.html"
    export(str(run_folder), PROMPT, out)
    visit(page, out.as_uri(), sampling={"temperature": 0.7, "seed": 4})
    assert chosen(page) == int(recorded(state, Sampling(temperature=0.7), 4)["choose/token"])
    expect(page.get_by_role("button", name="and go on")).to_be_disabled()
    expect(page.get_by_text("Going on needs the model")).to_be_visible()
    expect(page.get_by_text("A second trace needs the model")).to_be_visible()
    assert problems(page) == []


@pytest.mark.heavy
def test_an_unknown_word_of_the_other_text_is_said_to_be(page: Page, server: str) -> None:
    visit(page, server, **{"with": {"prompt": "the zebra is"}})
    said = page.get_by_role("region", name="Side by side").get_by_test_id("unknown")
    expect(said).to_contain_text("The model doesn't know “zebra”")


@pytest.mark.heavy
def test_on_a_wide_screen_the_blocks_stand_beside_the_difference(page: Page, server: str) -> None:
    page.set_viewport_size({"width": 1440, "height": 900})
    visit(page, server, **{"with": {"prompt": PROMPT.replace("dog", "cat")}})
    difference = page.get_by_text("difference: the second minus the first")
    expect(difference).to_be_visible()
    left = difference.bounding_box()
    right = page.get_by_role("heading", name="Block by block").bounding_box()
    assert left
    assert right
    assert right["x"] > left["x"] + 400
    assert abs(right["y"] - left["y"]) < 40
    view, main = page.locator(".playground").bounding_box(), page.locator("main").bounding_box()
    assert view
    assert main
    assert view["width"] == main["width"]


def test_it_fits_a_telephone(page: Page, server: str) -> None:
    page.set_viewport_size({"width": 390, "height": 844})
    visit(page, server, sampling={"top_k": 3}, **{"with": {"prompt": "the dog"}})
    expect(page.get_by_role("heading", name="Block by block")).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0


@pytest.mark.parametrize(
    "drawn",
    ["oops", *(pytest.param(d, marks=pytest.mark.heavy) for d in ({"tokens": [5]}, 7))],
)
def test_drawn_tokens_that_cannot_be_read_are_said_and_left_out(
    page: Page, server: str, drawn: object
) -> None:
    visit(page, server, drawn=json.dumps(drawn))
    expect(page.get_by_role("alert").filter(has_text="cannot be read")).to_be_visible()
    expect(page.get_by_role("button", name="Redo")).to_be_disabled()


@pytest.mark.heavy
def test_another_prompt_does_not_offer_the_tokens_of_the_last_one(page: Page, server: str) -> None:
    visit(page, server)
    page.get_by_role("button", name="and go on").click()
    page.get_by_role("button", name="Undo").click()
    expect(page.get_by_role("button", name="Redo")).to_be_enabled()
    page.get_by_role("button", name="Edit prompt").click()
    page.locator("#prompt").fill("the dog")
    page.locator("#prompt").press("Enter")
    expect(page.get_by_role("textbox", name="Prompt")).to_have_value("the dog")
    expect(page.get_by_role("button", name="Redo")).to_be_disabled()
    assert "drawn=" not in page.url


@pytest.mark.heavy
def test_two_steps_of_one_run_share_a_vocabulary(page: Page, server: str) -> None:
    visit(page, server, **{"with": {"at_step": 0}})
    table = page.get_by_role("table").filter(has_text="difference")
    expect(table.locator("tbody tr")).to_have_count(12)
    expect(table.get_by_text("not in its vocabulary")).to_have_count(0)
    expect(table.locator("tbody a")).to_have_count(24)


@pytest.fixture(scope="module")
def other_run(state: TrainState, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Another Storyland model: the same words, other weights."""
    folder = tmp_path_factory.mktemp("other") / "other"
    torch.manual_seed(1)
    gf.save(gf.Decoder(state.model.config), state.tokenizer, folder)
    return folder


@pytest.mark.heavy
def test_two_runs_are_compared_number_by_number(
    page: Page, run_folder: Path, other_run: Path, state: TrainState
) -> None:
    page.set_viewport_size({"width": 1440, "height": 900})
    traces = [recorded(of, Sampling()) for of in (state, open_train_state(str(other_run)))]
    with serve(str(run_folder), str(other_run)) as url:
        visit(page, url)
        page.get_by_label("Compare with").select_option("another run")
        page.get_by_label("The other run").select_option("other")
        table = page.get_by_role("table").filter(has_text="difference")
        expect(table.get_by_role("columnheader")).to_have_text(
            ["token", "small", "other", "difference"]
        )
        before, after = (trace["fwd/probs"][-1].double() for trace in traces)
        for row in table.locator("tbody tr").all():
            token = state.tokenizer.encode(row.locator("th").inner_text())[0]
            shown = [float(link.get_attribute("title") or "") for link in row.locator("a").all()]
            assert shown == pytest.approx([float(before[token]), float(after[token])], rel=1e-3)
            gap = row.locator("data").get_attribute("value")
            assert float(gap or "nan") == float(after[token] - before[token])
        grid = page.get_by_role("grid", name="attn.pattern").last
        grid.focus()
        grid.press("Control+End")
        first, second = (trace["blocks.0.attn.pattern"][0, 7, 7].double() for trace in traces)
        cell = grid.get_by_role("gridcell")
        expect(cell).not_to_contain_text("…")
        assert float(cell.inner_text().split(", ")[-1]) == pytest.approx(
            float(second - first), rel=1e-3
        )
        moved = page.get_by_role("row").filter(has_text="blocks.1.resid_post").locator("td").nth(1)
        was, now = (trace["blocks.1.resid_post"].double() for trace in traces)
        length = float((now - was).norm() / was.norm())
        assert float(moved.inner_text()) == pytest.approx(length, rel=1e-3)
        assert problems(page) == []


@pytest.mark.heavy
def test_of_a_peaked_prediction_every_bar_is_seen_and_the_line_has_room_for_the_rest(
    page: Page, server: str, state: TrainState
) -> None:
    prompt = "Once there"
    trace = recorded(state, Sampling(), prompt=prompt)
    ranked = trace["fwd/probs"][-1].double().sort(descending=True)
    assert ranked.values[0] > 0.9
    visit(page, server, prompt=prompt)
    scale = page.get_by_label("bars on a log scale")
    expect(scale).not_to_be_checked()
    scale.check()
    decades = math.floor(1 - math.log10(ranked.values[11]))
    bars = page.locator("tr[data-token] i")
    for i, p in enumerate(ranked.values[:12].tolist()):
        width = float((bars.nth(i).get_attribute("style") or "").split(":")[1].rstrip("%; "))
        assert width == pytest.approx(100 * (1 + math.log10(p) / decades), abs=0.01)
    line = page.get_by_role("slider", name="The drawn number u")
    for u in (0.5, 0.99, 0.999):
        line.fill(str(-math.log10(1 - u) / decades))
        rank = int((trace["choose/cumulative"] <= u).sum())
        assert chosen(page) == int(trace["choose/order"][rank])
    scale.uncheck()
    expect(page.get_by_text("Bars go from 0 to 100%.")).to_be_visible()
    line.fill("0.5")  # the line stays wide towards 1, however the bars are drawn
    page.wait_for_url(lambda url: f'"u":{1 - 10 ** (-0.5 * decades)}' in unquote(url))
    assert "bars=log" not in page.url
