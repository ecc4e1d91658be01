"""What the page says when something is missing, late or gone."""

import json
import re
import shutil
from pathlib import Path
from urllib.parse import urlencode

import pytest
from playwright.sync_api import Page, expect

from tests.browser.serving import serve
from tests.browser.test_lab import BACKGROUND
from tests.pages import export

PROMPT = "the easiest trick to teach a dog is"


def test_a_server_that_is_gone_is_named_and_the_page_goes_on_when_it_is_back(
    page: Page, server: str
) -> None:
    page.goto(f"{server}#/training?run=small&prompt=the+dog")
    expect(page.get_by_role("heading", name="Train it here")).to_be_visible()
    page.wait_for_load_state("networkidle")  # a picture still on its way would be the first to fail
    page.route("**/api/**", lambda route: route.abort())
    page.goto(f"{server}#/story?run=small&prompt=the+cat")  # a small model is in the page by now
    expect(page.get_by_role("heading", level=1)).to_contain_text("“the cat”")
    page.goto(f"{server}#/story?run=small&prompt=the+cat&step=8")  # its past is not
    alert = page.locator("main").get_by_role("alert")
    expect(alert).to_contain_text("The server is gone")
    page.unroute("**/api/**")
    page.get_by_role("button", name="Try again").click()
    expect(page.get_by_role("heading", level=1)).to_contain_text("“the cat”")


@pytest.mark.heavy
def test_a_run_that_was_deleted_while_it_was_open_is_named(
    page: Page, run_folder: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "doomed"
    shutil.copytree(run_folder, folder)
    with serve(str(folder)) as url:
        page.goto(f"{url}#/story?prompt=the+dog")
        page.wait_for_selector(".rail .token")
        shutil.rmtree(folder)
        page.goto(f"{url}#/story?{urlencode({'prompt': 'the dog is', 'step': 1})}")
        expect(page.locator("main").get_by_role("alert")).to_contain_text("doomed")


def test_a_link_that_was_cut_within_an_escape_still_opens_the_page(page: Page, server: str) -> None:
    page.route("**/api/course", lambda route: route.abort())  # a text of its own takes a while
    page.goto(f"{server}#/learn/3%")
    expect(page.get_by_text("The lessons could not be opened")).to_be_visible()
    page.unroute("**/api/course")


@pytest.mark.heavy
def test_a_gradient_is_checked_by_a_finite_difference_on_the_button(
    page: Page, server: str
) -> None:
    cell = "bwd/blocks.0.mlp.W_in[d_model=1,d_mlp=5]"
    fields = {"run": "small", "prompt": PROMPT, "target": "sit", "at": cell}
    page.goto(f"{server}#/map?{urlencode(fields)}")
    page.get_by_role("button", name="Check by a finite difference").click()
    card = page.locator("[data-address]")
    expect(card).to_contain_text("in float64, with h =")
    gradient = float(page.get_by_test_id("value").inner_text())
    said = card.inner_text().split("/ 2h = ")[1].split(" ±")[0]
    assert abs(float(said) - gradient) <= 1e-4 * abs(gradient)


@pytest.mark.heavy
def test_numbers_that_cannot_be_read_are_never_shown_under_another_address(
    page: Page, server: str
) -> None:
    start = f"{server}#/map?run=miniature&prompt=the+cat+sat&at="
    page.goto(f"{start}fwd/logits[pos=1,vocab=2]")
    expect(page.get_by_test_id("value")).to_be_visible()
    page.route("**/values", lambda route: route.abort())
    page.goto(f"{start}weight/blocks.0.mlp.W_in[d_model=0,d_mlp=3]")
    expect(page.locator("main").get_by_role("alert")).to_contain_text("The server is gone")
    expect(page.get_by_test_id("value")).to_have_count(0)
    page.unroute("**/values")
    page.get_by_role("button", name="Try again").click()
    expect(page.locator("[data-address]")).to_contain_text("A trained parameter")


@pytest.mark.heavy
def test_a_trace_that_the_server_let_go_is_recorded_again(page: Page, server: str) -> None:
    page.goto(f"{server}#/map?run=miniature&prompt=the+cat+sat&at=fwd/logits[pos=1,vocab=2]")
    expect(page.get_by_test_id("value")).to_be_visible()
    gone = '{"error": {"code": "unknown_trace", "message": "no trace is named so"}}'
    page.route("**/values", lambda route: route.fulfill(status=404, body=gone), times=1)
    page.goto(
        f"{server}#/map?run=miniature&prompt=the+cat+sat&at=weight/embed.W_E[vocab=0,d_model=1]"
    )
    expect(page.locator("[data-address]")).to_contain_text("A trained parameter")


@pytest.mark.heavy
def test_the_last_of_two_runs_asked_for_is_the_one_that_is_shown(page: Page, server: str) -> None:
    page.goto(f"{server}#/weights?run=small")
    page.wait_for_selector(".rail .token")
    page.route(
        "**/api/runs/miniature", lambda route: (page.wait_for_timeout(900), route.continue_())
    )
    page.evaluate("location.hash = '#/weights?run=miniature'")
    page.wait_for_timeout(100)
    page.evaluate("location.hash = '#/weights?run=small'")
    page.wait_for_timeout(1500)
    page.get_by_role("button", name="Tools").click()
    expect(page.get_by_label("Run")).to_have_value("small")
    expect(page.locator("main")).to_contain_text("109,440 numbers")


@pytest.mark.heavy
def test_another_run_begins_without_what_was_of_the_last_one(page: Page, server: str) -> None:
    of_one_run = "prompt=the+dog&side=other&pos=1"
    page.goto(f"{server}#/weights?run=small&{of_one_run}&sort=name")
    page.wait_for_selector(".rail .token")
    page.get_by_role("button", name="Tools").click()
    page.get_by_label("Run").select_option("miniature")
    expect(page).to_have_url(f"{server}#/weights?run=miniature&sort=name")


@pytest.mark.heavy
def test_going_on_to_another_matrix_begins_at_its_first_number(page: Page, server: str) -> None:
    page.goto(f"{server}#/map?run=miniature&prompt=the+cat+sat&at=fwd/blocks.0.mlp.pre")
    page.get_by_role("grid").press("Control+End")
    page.goto(f"{server}#/map?run=miniature&prompt=the+cat+sat&at=fwd/blocks.0.resid_mid")
    expect(page.get_by_role("gridcell")).to_contain_text("pos 0 the, d_model 0")


@pytest.mark.heavy
def test_a_run_that_has_steps_left_is_called_unfinished(
    page: Page, run_folder: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "stopped"
    shutil.copytree(run_folder, folder)
    rows = (folder / "metrics.jsonl").read_text().splitlines(keepends=True)
    done = "".join(row for row in rows if json.loads(row)["step"] <= 20)
    (folder / "metrics.jsonl").write_text(done)
    progress = "unfinished: 20 of the 60 steps planned"
    with serve(str(run_folder), str(folder)) as url:
        page.goto(f"{url}#/training?run=stopped&prompt=the+dog")
        expect(page.locator("main header")).to_contain_text(f"It is {progress}.")
        page.get_by_role("button", name="Tools").click()
        options = page.get_by_label("Run").locator("option")
        expect(options).to_have_text(
            ["small · 109,440 parameters", f"stopped · {progress} · 109,440 parameters"]
        )
        page.goto(f"{url}#/training?run=small&prompt=the+dog")
        expect(page.locator("main header")).to_contain_text("small was trained here")
        expect(page.locator("main header")).not_to_contain_text("unfinished")
        page.goto(f"{url}#/playground?run=small&prompt=the+dog")
        page.get_by_label("Compare with").select_option("run")
        others = page.get_by_label("The other run").locator("option")
        expect(others).to_have_text(["choose a run", f"stopped · {progress}"])


@pytest.mark.heavy
@pytest.mark.usefixtures("recorded")
def test_without_a_model_the_prompt_is_seen_and_its_fields_only_read(
    page: Page, run_folder: Path, tmp_path: Path
) -> None:
    file = tmp_path / "page.html"
    export(str(run_folder), PROMPT, file)
    page.goto(f"{file.as_uri()}#/playground")
    for width in (1440, 390):
        page.set_viewport_size({"width": width, "height": 844})
        page.reload()
        expect(page.locator(".rail .token").nth(7)).to_be_in_viewport()
    ground = page.locator("body").evaluate(BACKGROUND)
    for name in ("Prompt", "The other text"):
        field = page.get_by_role("textbox", name=name, exact=True)
        expect(field).not_to_be_editable()
        expect(field).to_have_accessible_description(re.compile("needs the model: open the run"))
        assert field.evaluate(BACKGROUND) == ground
