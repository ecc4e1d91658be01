"""Training on the page: its past under a slider, one number's life, a run started from it."""

import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest
import torch
from playwright.sync_api import Locator, Page, Route, expect

from glassformer.lab.biography import biography
from glassformer.trace import Address
from glassformer.training.run import read_metrics
from glassformer.training.train_state import open_train_state
from tests.browser.serving import serve
from tests.browser.test_page import problems
from tests.calculator import gives
from tests.pages import export

PROMPT = "the easiest trick to teach a dog is"
WEIGHT = "weight/blocks.0.mlp.W_out[d_mlp=3,d_model=5]"
POEM = "the cat sat on the mat and the dog sat on the log. " * 60
SECONDS = 1000  # milliseconds


@pytest.fixture
def fresh_server(tmp_path: Path) -> Iterator[str]:
    """A server whose new runs go to a folder of the test."""
    with serve("miniature", folder=tmp_path / "runs") as url:
        yield url


def training(url: str, **fields: str) -> str:
    query = {"run": "small", "prompt": PROMPT, **fields}
    return f"{url}#/training?" + "&".join(f"{name}={quote(value)}" for name, value in query.items())


def probabilities(folder: Path, step: int) -> dict[str, float]:
    """How probable each next token is by the model after that step, the most probable first."""
    state = open_train_state(str(folder), step)
    trace = state.model.watch(torch.tensor([state.tokenizer.encode(PROMPT)]))
    p = trace.value_of(trace.node("fwd/probs"))[0, -1]
    return {state.tokenizer.token(int(token)): float(p[token]) for token in p.argsort().flip(0)}


def tokens_after(page: Page, step: int) -> Locator:
    """The page's list of next tokens, once it is that of the model after that step."""
    expect(page.get_by_test_id("step")).to_have_text(f"after step {step}", timeout=30 * SECONDS)
    expect(page.get_by_text("reading …")).to_have_count(0, timeout=30 * SECONDS)
    return page.get_by_role("list", name="The most probable next tokens")


def predicts(page: Page, folder: Path, step: int) -> None:
    """The page's next tokens are those of the model after that step."""
    p = probabilities(folder, step)
    best = [*p][:8]
    rows = tokens_after(page, step)
    expect(rows.locator(".token")).to_have_text(best)
    shown = [float(text) for text in rows.locator("a").all_inner_texts()]
    assert shown == pytest.approx([*p.values()][:8], rel=1e-3)


def test_a_training_that_is_not_heard_any_more_says_so(page: Page, server: str) -> None:
    page.route("**/api/trainings/*/events", lambda route: route.abort())
    page.goto(training(server, training="one"))
    expect(page.get_by_text("Connection lost, trying again")).to_be_visible()


@pytest.mark.heavy
def test_the_slider_lets_the_younger_model_read(page: Page, server: str, run_folder: Path) -> None:
    page.goto(training(server))
    slider = page.get_by_role("slider", name="after step")
    predicts(page, run_folder, 60)
    slider.press("Home")
    predicts(page, run_folder, 0)
    for _ in range(4):
        slider.press("ArrowRight")
    predicts(page, run_folder, 8)
    assert "step=8" in page.url
    page.reload()
    predicts(page, run_folder, 8)


@pytest.mark.heavy
def test_embeddings_and_the_followed_number_move_with_the_slider_too(
    page: Page, server: str, run_folder: Path
) -> None:
    page.goto(training(server, at=WEIGHT))
    followed = page.get_by_test_id("followed")
    expect(followed).not_to_contain_text("saved steps are read", timeout=60 * SECONDS)
    canvas = page.get_by_role("img", name="tokens as dots").locator("canvas")
    slider = page.get_by_role("slider", name="after step")
    pictures = set()
    slider.press("Home")
    for step in (0, 1, 2, 4, 8):
        expect(page.get_by_test_id("step")).to_have_text(f"after step {step}")
        expect(followed).to_contain_text(f"After step {step} it is")
        value = open_train_state(str(run_folder), step).model.weights()["blocks.0.mlp.W_out"][3, 5]
        shown = float(followed.locator("b").inner_text())
        assert shown == pytest.approx(value.item(), rel=1e-5)
        pictures.add(canvas.evaluate("(canvas) => canvas.toDataURL()"))
        slider.press("ArrowRight")
    assert len(pictures) == 5


@pytest.mark.heavy
def test_the_tables_say_what_the_charts_draw(page: Page, server: str, run_folder: Path) -> None:
    page.set_viewport_size({"width": 390, "height": 844})
    page.goto(training(server, log="1"))
    predicts(page, run_folder, 60)
    for table in page.get_by_text("As a table").all():
        table.click()
    rows = read_metrics(run_folder / "metrics.jsonl")
    held = {str(row["step"]): row["val_loss"] for row in rows if "val_loss" in row}
    shown = {
        row.locator("td").first.inner_text(): row.locator("td").last.inner_text()
        for row in page.get_by_role("region", name="The loss as a table").locator("tbody tr").all()
    }
    for step, loss in held.items():
        assert float(shown[step]) == pytest.approx(loss, rel=1e-3)
    assert problems(page) == []
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


@pytest.mark.heavy
def test_attention_moves_with_the_slider(page: Page, server: str, run_folder: Path) -> None:
    page.goto(training(server, step="0", block="1", head="2"))
    grid = page.get_by_role("grid", name="attn.pattern")
    cell = grid.get_by_role("gridcell")
    expect(cell).not_to_contain_text("…")
    for step in (0, 32):
        page.goto(training(server, step=str(step), block="1", head="2"))
        predicts(page, run_folder, step)
        grid.focus()
        grid.press("Control+End")
        state = open_train_state(str(run_folder), step)
        trace = state.model.watch(torch.tensor([state.tokenizer.encode(PROMPT)]))
        share = trace["blocks.1.attn.pattern[head=2,query=7,key=7]"].item()
        shown = float(cell.inner_text().split(", ")[-1])
        assert shown == pytest.approx(share, rel=1e-3)


@pytest.mark.heavy
def test_the_life_of_a_weight_and_the_batch_that_moved_it(
    page: Page, server: str, run_folder: Path
) -> None:
    page.goto(training(server, at=WEIGHT, step="16"))
    result = biography(run_folder, Address.parse(WEIGHT))
    by_step = {point.step: point.value.item() for point in result.points}
    expect(page.get_by_test_id("followed")).to_contain_text("After step 16 it is")
    shown = float(page.get_by_test_id("followed").locator("b").inner_text())
    assert shown == pytest.approx(by_step[16], rel=1e-5)
    page.get_by_role("button", name="Which batch moved it most?").click()
    moved = page.get_by_test_id("moved")
    searched = page.get_by_test_id("searched")
    expect(searched).to_contain_text("All 60 updates were made again", timeout=90 * SECONDS)
    expect(moved).to_contain_text(f"The update of step {result.turn.step}")
    was, now, change = moved.locator("span.digits").all_inner_texts()
    assert gives(f"{was} + {change}", now)
    state = open_train_state(str(run_folder))
    first = state.tokenizer.decode(result.turn.batches[0].ids[0].tolist())
    expect(moved.get_by_role("listitem").first).to_have_text(first)


@pytest.mark.heavy
def test_the_search_for_a_batch_can_be_stopped_and_says_how_far_it_came(
    page: Page, server: str, run_folder: Path
) -> None:
    asked: list[Route] = []

    def first_only(route: Route) -> None:
        asked.append(route)
        if len(asked) == 1:
            route.continue_()

    page.route("**/api/biography", first_only)
    page.goto(training(server, at=WEIGHT))
    page.get_by_role("button", name="Which batch moved it most?").click()
    result = biography(run_folder, Address.parse(WEIGHT), seconds=0)
    moved = page.get_by_test_id("moved")
    expect(moved).to_contain_text(f"So far, the update of step {result.turn.step}")
    expect(page.get_by_text(f"{result.updates} of 60 updates made again")).to_be_visible()
    page.get_by_role("button", name="Stop", exact=True).click()
    expect(page.get_by_role("button", name="Which batch moved it most?")).to_be_enabled()
    expect(page.get_by_test_id("searched")).to_contain_text(f"{result.updates} of the 60 updates")
    assert len(asked) == 2


@pytest.mark.heavy
def test_what_was_found_of_one_run_is_not_shown_of_another(
    page: Page, run_folder: Path, tmp_path: Path
) -> None:
    twin = shutil.copytree(run_folder, tmp_path / "twin")
    with serve(str(run_folder), str(twin)) as url:
        moved = page.get_by_test_id("moved")
        search = page.get_by_role("button", name="Which batch moved it most?")
        page.goto(training(url, at=WEIGHT))
        search.click()
        expect(moved).to_be_visible(timeout=60 * SECONDS)
        page.goto(training(url, at=WEIGHT, run="twin"))
        page.get_by_role("button", name="Tools").click()
        expect(page.get_by_label("Run")).to_have_value("twin")
        expect(page.get_by_test_id("followed")).to_be_visible()
        expect(moved).to_have_count(0)
        search.click()
        expect(moved).to_be_visible(timeout=60 * SECONDS)
        page.goto(training(url, at=WEIGHT, run="twin", prompt="the dog"))
        expect(page.get_by_test_id("followed")).to_be_visible()
        expect(moved).to_have_count(0)


@pytest.mark.heavy
def test_of_two_updates_that_moved_it_as_far_the_first_is_named(page: Page, server: str) -> None:
    def stretch(since: int, step: int, change: float) -> dict[str, object]:
        moved = {
            "from": 0,
            "to": change,
            "change": change,
            "step": step,
            "batch": [[{"text": "a text", "asked": True}]],
        }
        points = [{"step": step, "value": 0.0} for step in (0, 32, 60)]
        ends = {"since": since, "until": 60 if since else 32, "others": [0]}
        return {"address": WEIGHT, "points": points, "moved": moved, **ends}

    def answer(route: Route) -> None:
        first = (route.request.post_data_json or {}).get("since") is None
        route.fulfill(json=stretch(32, 40, 0.5) if first else stretch(0, 7, -0.5))

    page.route("**/api/biography", answer)
    page.goto(training(server, at=WEIGHT))
    page.get_by_role("button", name="Which batch moved it most?").click()
    expect(page.get_by_test_id("searched")).to_contain_text("All 60 updates")
    expect(page.get_by_test_id("moved")).to_contain_text("The update of step 7 moved it most")


@pytest.mark.heavy
def test_two_equal_held_out_losses_in_a_row_are_two_points(page: Page, server: str) -> None:
    row = {"steps": 9, "loss": 2.0, "held_out": 1.5, "floor": None, "tokens_per_second": 1.0}
    row["whole_text"] = None
    events = [
        {**row, "kind": "progress", "step": step, "measured": step % 3 == 0} for step in range(10)
    ]
    body = "".join(f"data: {json.dumps(event)}\n\n" for event in events)
    page.route(
        "**/api/trainings/*/events",
        lambda route: route.fulfill(content_type="text/event-stream", body=body),
    )
    page.goto(training(server, training="flat"))
    chart = page.get_by_role("img", name="The loss of flat so far")
    expect(chart.locator("circle")).to_have_count(4)


@pytest.mark.heavy
def test_a_run_is_started_stopped_resumed_and_opened(page: Page, fresh_server: str) -> None:
    page.goto(f"{fresh_server}#/training")
    page.get_by_role("textbox", name="Text", exact=True).fill(POEM)
    page.get_by_label("Name").fill("cats & dogs")
    page.get_by_label("Recipe").select_option("storyland")
    page.get_by_role("spinbutton", name="Steps").fill("120")
    page.get_by_role("button", name="Start training").click()
    live = page.get_by_test_id("live")
    status = live.get_by_role("status")
    expect(status).to_have_text(re.compile(r"training, step \d+ of 120"), timeout=60 * SECONDS)
    page.get_by_role("button", name="Stop").click()
    expect(live).to_have_attribute("data-state", "stopped", timeout=60 * SECONDS)
    stopped = int(re.findall(r"step (\d+) of", status.inner_text())[0])
    assert stopped < 120
    page.reload()  # the link leads back to this training
    expect(live).to_have_attribute("data-state", "stopped", timeout=60 * SECONDS)
    page.get_by_role("button", name="Go on").click()
    expect(live).to_have_attribute("data-state", "done", timeout=120 * SECONDS)
    expect(status).to_contain_text("step 120 of 120")
    expect(live.get_by_role("listitem").first).to_contain_text("step")
    assert problems(page) == []
    page.get_by_role("button", name="Open it", exact=True).click()
    page.get_by_role("button", name="Tools").click()
    expect(page.get_by_label("Run")).to_have_value("cats-dogs")
    expect(page.get_by_test_id("step")).to_have_text("after step 120")


def test_a_second_training_is_refused_beside_the_form(
    page: Page, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("glassformer.server.trainings.TRAIN", ["sh", "-c", "exec sleep 600"])
    long = {"text": POEM, "name": "first", "steps": 3000, "preset": "storyland"}
    with serve("miniature", folder=tmp_path / "runs") as url:
        assert page.request.post(f"{url}api/trainings", data=long).ok
        page.goto(f"{url}#/training")
        page.get_by_role("textbox", name="Text", exact=True).fill(POEM)
        page.get_by_role("button", name="Start training").click()
        refused = page.get_by_role("alert").filter(has_text="'first' is being trained")
        expect(refused).to_be_visible()


@pytest.mark.heavy
def test_a_text_too_large_is_refused_before_it_is_sent(page: Page, server: str) -> None:
    page.goto(f"{server}#/training")
    page.get_by_role("textbox", name="Text", exact=True).evaluate(
        "(area) => { area.value = 'x'.repeat(1000001); area.dispatchEvent(new Event('input')); }"
    )
    expect(page.get_by_text("The text has 1,000,001 characters")).to_be_visible()
    expect(page.get_by_role("button", name="Start training")).to_be_disabled()


@pytest.mark.heavy
def test_a_preset_has_no_past_and_the_page_says_so(page: Page, server: str) -> None:
    page.goto(f"{server}#/training?run=miniature")
    expect(page.get_by_text("is a preset: it has no training to look at")).to_be_visible()
    expect(page.get_by_role("slider", name="after step")).to_have_count(0)


@pytest.mark.heavy
def test_an_exported_page_has_its_snapshots(page: Page, run_folder: Path, tmp_path: Path) -> None:
    file = tmp_path / "page.html"
    export(str(run_folder), PROMPT, file)
    page.goto(f"{file.as_uri()}#/training?at={quote(WEIGHT)}")
    slider = page.get_by_role("slider", name="after step")
    predicts(page, run_folder, 60)
    slider.press("Home")
    rows = tokens_after(page, 0)
    expect(page.get_by_test_id("followed")).to_contain_text("After step 0 it is")
    said = page.get_by_text("moves no probability by more than").inner_text()
    result = re.search(r"by more than ([\d.]+\d)", said)
    assert result
    most = 1.05 * float(result[1])  # it is said in two digits
    p = probabilities(run_folder, 0)
    for row in rows.get_by_role("listitem").all():
        shown = float(row.get_by_role("link").get_attribute("title") or "nan")
        assert shown == pytest.approx(p[row.locator(".token").inner_text()], abs=most)
    expect(page.get_by_role("heading", name="Train it here")).to_be_visible()
    expect(page.get_by_role("button", name="Which batch moved it most?")).to_be_disabled()
