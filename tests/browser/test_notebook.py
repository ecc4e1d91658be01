"""A trace in a notebook is the page itself, in a frame that can't reach the notebook."""

from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

import glassformer as gf
from glassformer.trace import Trace

ADDRESS = "blocks.0.attn.pattern"


@pytest.fixture
def trace() -> Trace:
    return gf.watch("miniature", "the cat sat on a", target="mat")


def test_a_trace_shows_itself_as_the_page(page: Page, tmp_path: Path, trace: Trace) -> None:
    notebook = tmp_path / "notebook.html"
    shown = trace._repr_html_()
    assert len(shown.encode()) <= 300_000  # so much of a notebook is a trace of a small model
    notebook.write_text(f"<!doctype html><title>cell</title>{shown}")
    page.goto(notebook.as_uri())
    frame = page.frame_locator("iframe")
    expect(frame.get_by_role("heading", level=1)).to_contain_text("the cat sat on a")
    frame.get_by_role("link", name="Map", exact=True).click()
    frame.get_by_role("link", name="pattern", exact=True).first.click()
    frame.get_by_role("grid").press("Enter")
    value = trace[f"{ADDRESS}[head=0,query=0,key=0]"].item()
    expect(frame.get_by_test_id("value")).to_have_text(f"{value:.5f}")
    page.keyboard.press("Escape")
    expect(frame.get_by_test_id("value")).to_have_count(0)


def test_a_trace_too_large_for_a_notebook_says_how_to_see_the_whole_page(
    trace: Trace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("glassformer.server.notebook.OUTPUT_BYTES", 1000)
    shown = trace._repr_html_()
    assert "The most probable next tokens" in shown
    assert "glassformer.page(trace), which adds 0.3 MB to the notebook" in shown
    assert "<iframe" not in shown
    assert "<iframe" in gf.page(trace)._repr_html_()


@pytest.mark.heavy
def test_a_run_shows_its_loss_and_the_page_with_its_snapshots(
    page: Page, tmp_path: Path, run_folder: Path
) -> None:
    run = gf.load_run(run_folder)
    assert list(run.of("loss")) == list(range(1, 61))
    notebook = tmp_path / "notebook.html"
    notebook.write_text(f"<!doctype html><title>cell</title>{run._repr_html_()}")
    page.goto(notebook.as_uri())
    expect(page.get_by_role("img", name="The loss by step")).to_be_visible()
    frame = page.frame_locator("iframe")
    frame.get_by_role("link", name="Training", exact=True).click()
    slider = frame.get_by_role("slider", name="after step")
    slider.press("Home")
    expect(frame.get_by_test_id("step")).to_have_text("after step 0")


@pytest.mark.heavy
def test_a_run_too_large_for_a_notebook_is_shown_without_the_page(
    run_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("glassformer.server.notebook.VALUE_BYTES", 1000)
    html = gf.load_run(run_folder)._repr_html_()
    assert "<iframe" not in html
    assert "held out" in html
